# What is measured is measured with all kernels there.
Application.put_env(:mlx, :kernels, :wait)

defmodule Bench.Rounds do
  @moduledoc false
  # Runs rounds of a benchmark by turns here and in Python, so that what else the machine does strikes both alike.

  # The caches of the processor are cold after the other side's turn, so a round of something short is the best of several
  # repetitions.
  @repetitions 10

  @doc "The best of each measurement of both sides, `{ours, theirs}`, or another choice of it than the least."
  def compare(script, arguments, count, ours, choose \\ &Enum.min/1) do
    {ours, theirs} = script |> alternate(arguments, count, ours) |> Enum.unzip()
    {Enum.zip_with(ours, choose), Enum.zip_with(theirs, choose)}
  end

  @doc "The measurement in the middle."
  def median(measurements), do: measurements |> Enum.sort() |> Enum.at(div(length(measurements), 2))

  @doc "The results of both sides, a list of `{ours, theirs}`. The script answers each line that it gets with a line."
  def alternate(script, arguments, count, ours) do
    python = System.fetch_env!("MLX_ORACLE_PYTHON")
    script = Path.join(__DIR__, script)

    options = [
      :binary,
      :exit_status,
      line: 10_000,
      args: [script | arguments],
      env: for({name, value} <- environment(), do: {to_charlist(name), to_charlist(value)})
    ]

    port = Port.open({:spawn_executable, python}, options)

    rounds = for _round <- 1..count, do: {ours.(), ask(port)}
    Port.close(port)
    rounds
  end

  @doc "How often `best_repetition/1` repeats."
  def repetitions, do: @repetitions

  @doc "The best of each measurement that the function makes, of several repetitions."
  def best_repetition(measure) do
    repetitions =
      for _repetition <- 1..@repetitions do
        :erlang.garbage_collect()
        measure.()
      end

    Enum.zip_with(repetitions, &Enum.min/1)
  end

  @doc "How long the function takes, in microseconds, and its result."
  def time(fun) do
    start = System.monotonic_time(:nanosecond)
    result = fun.()
    {(System.monotonic_time(:nanosecond) - start) / 1000, result}
  end

  @doc "How long a call takes of so many."
  def time_of_one(count, fun) do
    {us, :ok} = time(fn -> repeat(count, fun) end)
    us / count
  end

  defp repeat(0, _fun), do: :ok

  defp repeat(count, fun) do
    fun.()
    repeat(count - 1, fun)
  end

  @doc "The environment of Python's side. BENCH_MLX is the MLX that it uses on Linux in place of its own."
  @spec environment() :: [{String.t(), String.t()}]
  def environment do
    case System.get_env("BENCH_MLX") do
      nil -> []
      path -> [{"LD_PRELOAD", path}]
    end
  end

  defp ask(port) do
    Port.command(port, "round\n")

    receive do
      {^port, {:data, {:eol, line}}} -> line |> String.split(" ") |> Enum.map(&String.to_float/1)
      {^port, {:exit_status, status}} -> raise "Python ended with exit status #{status}"
    end
  end
end
