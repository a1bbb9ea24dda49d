defmodule Mac.Scenario do
  @moduledoc false
  # What the scenarios of this folder are written with. Each is a script of its own, which bin/mac_check runs in a virtual
  # machine of its own, on any platform:
  #
  #     elixir -pa "_build/test/lib/*/ebin" test/mac/deep.exs
  #
  # The last line that it prints is "ok NAME: FIGURES", or "skipped NAME: REASON"; the exit status is not 0 when it fails.

  @doc "Runs a scenario: a function that returns its figures as a string, or `{:skipped, reason}`."
  def run(name, scenario) do
    case scenario.() do
      {:skipped, reason} -> IO.puts("skipped #{name}: #{reason}")
      figures -> IO.puts("ok #{name}: #{figures}")
    end
  end

  @doc "Raises where a condition does not hold."
  def demand(true, _what), do: :ok
  def demand(false, what), do: raise(what)

  @doc "The device of the scenario, as it is named by MLX."
  def device do
    device = Mlx.Device.default()
    Map.get(Mlx.Device.info(device), "device_name", to_string(device))
  end

  @doc "The time that a function takes in milliseconds, and what it returns."
  def time(fun) do
    {microseconds, result} = :timer.tc(fun)
    {div(microseconds, 1000), result}
  end

  @doc """
  Calls a function in `count` processes again and again, for as long as `body` runs, and returns how often that was and
  what `body` returns. The function is given the number of the process; when it raises, so does this.
  """
  def beside(count, fun, body) do
    rounds = :counters.new(1, [])
    over = :atomics.new(1, [])
    tasks = for number <- 1..count, do: Task.async(fn -> again(fn -> fun.(number) end, rounds, over) end)
    result = body.()
    :atomics.put(over, 1, 1)
    Task.await_many(tasks, :infinity)
    {:counters.get(rounds, 1), result}
  end

  defp again(fun, rounds, over) do
    fun.()
    :counters.add(rounds, 1, 1)
    if :atomics.get(over, 1) == 0, do: again(fun, rounds, over)
  end

  @doc "A computation whose value is known: a product of matrices of small integers. Raises when it is wrong."
  def exact(number) do
    size = 64
    a = Mlx.full({size, size}, rem(number, 7) + 1, type: :f32)
    sum = a |> Mlx.matmul(a) |> Mlx.add(number) |> Mlx.sum() |> Mlx.to_number()
    expected = size * size * (size * (rem(number, 7) + 1) ** 2 + number)
    demand(sum == expected, "a sum is #{inspect(sum)} and not #{expected}")
  end

  @doc """
  The same, where a command buffer may fail that the computation shares with another one: then its own error says so, and
  is counted.
  """
  def exact_or_failed(number, failures) do
    exact(number)
  rescue
    error in Mlx.Error ->
      demand(error.message =~ ~r/command buffer/i, "another error: #{error.message}")
      :counters.add(failures, 1, 1)
  end
end
