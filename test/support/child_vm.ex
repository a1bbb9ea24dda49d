defmodule Mlx.ChildVM do
  @moduledoc """
  Another virtual machine with the same code, for what may end one.

      {:exit, 0, "3\\n"} = Mlx.ChildVM.run(quote do: IO.puts(1 + 2))
  """

  @default_timeout 60_000

  @type outcome :: {:exit, status :: non_neg_integer(), output :: String.t()} | {:timeout, output :: String.t()}

  @doc """
  Evaluates quoted code in a new virtual machine and waits for its end, or kills it after `:timeout` milliseconds.

  `:env` adds environment variables, a list of `{name, value}`, and `:megabytes` bounds the memory of the machine where
  the system can do that. `:through` is a command that starts the machine, a list of its name and arguments. `:kernels` is where fused
  kernels are made, see `Mlx.Transforms.KernelMaking`.
  """
  @spec run(Macro.t(), keyword()) :: outcome()
  def run(quoted, options \\ []) do
    timeout = Keyword.get(options, :timeout, @default_timeout)
    deadline = System.monotonic_time(:millisecond) + timeout
    collect(start(quoted, options), deadline, [])
  end

  defp start(quoted, options) do
    elixir = System.find_executable("elixir")
    paths = Enum.flat_map(:code.get_path(), &["-pa", to_string(&1)])
    env = Keyword.get(options, :env, [])

    Port.open({:spawn_executable, System.find_executable("sh")}, [
      :binary,
      :exit_status,
      :stderr_to_stdout,
      :hide,
      args:
        ["-c", limit(options[:megabytes]) <> ~S(exec "$@"), "sh"] ++
          Keyword.get(options, :through, []) ++
          [elixir] ++ paths ++ ["-e", kernels(options), "-e", Macro.to_string(quoted)],
      env: for({name, value} <- env, do: {to_charlist(name), to_charlist(value)})
    ])
  end

  defp kernels(options), do: "Application.put_env(:mlx, :kernels, #{inspect(Keyword.get(options, :kernels, :wait))})"

  defp limit(nil), do: ""
  defp limit(megabytes), do: "ulimit -v #{megabytes * 1024} 2>/dev/null; "

  defp collect(port, deadline, output) do
    receive do
      {^port, {:data, data}} -> collect(port, deadline, [output, data])
      {^port, {:exit_status, status}} -> {:exit, status, IO.iodata_to_binary(output)}
    after
      max(deadline - System.monotonic_time(:millisecond), 0) ->
        kill(port)
        {:timeout, IO.iodata_to_binary(output)}
    end
  end

  defp kill(port) do
    with {:os_pid, os_pid} <- Port.info(port, :os_pid) do
      System.cmd("kill", ["-KILL", to_string(os_pid)], stderr_to_stdout: true)
    end

    receive do
      {^port, {:exit_status, _status}} -> :ok
    after
      5_000 -> Port.close(port)
    end
  end
end
