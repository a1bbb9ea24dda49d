defmodule Mlx.LM.Server.Intake do
  @moduledoc false
  # Makes a request of a prompt and options, in a process of its own, so that the server and the others do not wait for it.
  # The server gets `{Mlx.LM.Server.Intake, ref, result}` with that of `Mlx.LM.Server.Request.new/4`.

  alias Mlx.LM.Server.{About, Request}

  @doc "Starts it for the calling server. Returns the process and its monitor."
  @spec start(reference(), Mlx.LM.prompt(), keyword(), String.t()) :: {pid(), reference()}
  def start(ref, prompt, options, called) do
    server = self()

    read = fn ->
      # Of a server that has ended there is nothing to know, and nobody waits.
      with %About{} = about <- About.get(server),
           do: send(server, {__MODULE__, ref, Request.new(about, prompt, options, called)})
    end

    # It ends with the server. Many long prompts at once do not hold up the runner.
    :erlang.spawn_opt(read, [:link, :monitor, priority: :low])
  end
end
