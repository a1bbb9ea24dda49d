defmodule Mlx.LM.Server.Runner do
  @moduledoc false
  # The process that computes. It is told which requests to work on and which to leave, and tells what comes of them:
  # `{Mlx.LM.Server.Runner, pid, [{ref, events}]}`, where an error is `{:error, reason, text}`.

  alias Mlx.LM.Generation

  @doc "Starts a runner of the calling server."
  @spec start_link(Mlx.LM.t(), map()) :: pid()
  def start_link(lm, _settings) do
    server = self()
    spawn_link(fn -> idle(%{lm: lm, server: server}) end)
  end

  @doc "Gives a request to the runner."
  @spec admit(pid(), reference(), Mlx.LM.Server.Request.t()) :: :ok
  def admit(runner, ref, request) do
    send(runner, {:admit, ref, request})
    :ok
  end

  @doc "Has the runner leave a request."
  @spec drop(pid(), reference()) :: :ok
  def drop(runner, ref) do
    send(runner, {:drop, ref})
    :ok
  end

  defp idle(state) do
    receive do
      {:admit, ref, request} -> generate(state, ref, request)
      {:drop, _ref} -> :ok
    end

    idle(state)
  end

  defp generate(state, ref, request) do
    options =
      [max_tokens: request.most, stop: request.stop.strings, stop_ids: Enum.to_list(request.end_ids)] ++
        [keep_special: request.keep_special] ++ request.sampling

    state.lm
    |> Generation.events(request.ids, options)
    |> Enum.reduce_while(:ok, fn event, :ok ->
      event = with {:done, response} <- event, do: {:done, %{response | context: nil}}
      send(state.server, {__MODULE__, self(), [{ref, [event]}]})

      receive do
        {:drop, ^ref} -> {:halt, :ok}
      after
        0 -> {:cont, :ok}
      end
    end)
  end
end
