defmodule Mlx.LM.Server.Intake do
  @moduledoc false
  # Makes a request of a prompt and options, in a process of its own, so that the server and the others do not wait for it.
  # The server gets `{Mlx.LM.Server.Intake, ref, result}` with that of `Mlx.LM.Server.Request.new/4`.

  alias Mlx.LM.Server.{About, Request}

  @doc "Starts it for the calling server. Returns the process and its monitor."
  @spec start(reference(), Mlx.LM.prompt(), keyword(), String.t()) :: {pid(), reference()}
  def start(ref, prompt, options, called) do
    server = self()

    spawn_monitor(fn ->
      # It ends with the server.
      Process.link(server)
      send(server, {__MODULE__, ref, Request.new(About.get(server), prompt, options, called)})
      Process.unlink(server)
    end)
  end
end
