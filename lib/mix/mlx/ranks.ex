defmodule Mix.Mlx.Ranks do
  @moduledoc false
  # The virtual machines of `mix mlx.launch`: each is a command that a shell runs, and its output comes line by line.

  # The standard input of the shell ends with this virtual machine, in whatever way it ends, or when the port is closed. Then
  # the command is killed.
  @shell ~S"""
  exec 3<&0
  "$@" </dev/null 3<&- &
  command=$!
  (while read -r line; do :; done; kill -KILL "$command") <&3 >/dev/null 2>&1 &
  watch=$!
  wait "$command"
  status=$?
  kill -KILL "$watch" 2>/dev/null
  exit "$status"
  """

  @line_length 65_536

  @typedoc "A command with its arguments, and the variables of its environment."
  @type command :: {[String.t(), ...], [{String.t(), String.t()}]}

  @type failure :: {rank :: non_neg_integer(), status :: pos_integer()}

  @doc """
  Runs the commands, of the ranks from 0 on, until all have ended. `write` gets each line with its rank.

  When one fails, the others have `patience` milliseconds to end by themselves, and are killed then. Returns the first one
  that a signal ended, because its peers fail of that and may be seen to end before it, or else the one that failed first.
  """
  @spec run([command()], (non_neg_integer(), String.t() -> term()), non_neg_integer()) :: :ok | {:error, failure()}
  def run(commands, write, patience) do
    commands
    |> Enum.with_index()
    |> Map.new(fn {command, rank} -> {start(command), rank} end)
    |> collect(write, %{patience: patience, deadline: nil, failure: nil})
  end

  defp start({[_ | _] = command, env}) do
    Port.open({:spawn_executable, System.find_executable("sh")}, [
      :binary,
      :exit_status,
      :stderr_to_stdout,
      :hide,
      line: @line_length,
      args: ["-c", @shell, "sh" | command],
      env: for({name, value} <- env, do: {to_charlist(name), to_charlist(value)})
    ])
  end

  defp collect(ranks, _write, %{failure: nil}) when ranks == %{}, do: :ok
  defp collect(ranks, _write, %{failure: failure}) when ranks == %{}, do: {:error, failure}

  defp collect(ranks, write, state) do
    receive do
      {port, {:data, {_whole_or_part, line}}} when is_map_key(ranks, port) ->
        write.(ranks[port], line)
        collect(ranks, write, state)

      {port, {:exit_status, 0}} when is_map_key(ranks, port) ->
        collect(Map.delete(ranks, port), write, state)

      {port, {:exit_status, status}} when is_map_key(ranks, port) ->
        {rank, others} = Map.pop!(ranks, port)
        collect(others, write, failed(state, rank, status))
    after
      left(state) ->
        for {port, _rank} <- ranks, do: Port.close(port)
        {:error, state.failure}
    end
  end

  defp failed(%{failure: nil, patience: patience} = state, rank, status),
    do: %{state | failure: {rank, status}, deadline: now() + patience}

  defp failed(%{failure: {_rank, before}} = state, rank, status) when before <= 128 and status > 128,
    do: %{state | failure: {rank, status}}

  defp failed(state, _rank, _status), do: state

  defp left(%{deadline: nil}), do: :infinity
  defp left(%{deadline: deadline}), do: max(deadline - now(), 0)

  defp now, do: System.monotonic_time(:millisecond)
end
