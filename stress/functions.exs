defmodule Mlx.Stress.Functions do
  @moduledoc false
  # Processes call compiled functions, whose kernels are made meanwhile, and ask servers for arrays, while some are killed and
  # what they leave is collected.

  alias Mlx.Stress.{Chains, Crowd, Report}
  alias Mlx.Values.Ahead

  @kill_every 20
  @servers 4
  @shared 40
  @elements 500_000
  # What may stay in use after all: a process that was killed while it evaluated is done with that later.
  @bytes_left 32_000_000
  # What the virtual machine, MLX and the C++ compiler's libraries take beside arrays.
  @resident_left 600_000_000

  @spec run(%{seconds: pos_integer(), processes: pos_integer()}) :: [Report.outcome()]
  def run(%{seconds: seconds, processes: processes}) do
    errors = :ets.new(:errors, [:public])
    wrong = :ets.new(:wrong, [:public])
    counters = :counters.new(3, [:write_concurrency])
    shared = for _ <- 1..@shared, do: with_function(Chains.random())
    servers = for _ <- 1..@servers, do: spawn_link(fn -> serve(Mlx.zeros({@elements}), 0) end)
    state = %{shared: List.to_tuple(shared), servers: List.to_tuple(servers), counters: counters, wrong: wrong}
    for _ <- 1..20, do: step(0, state)
    {active, resident} = {Report.settle_memory(0, 5), Report.resident()}

    result =
      Crowd.run(processes, seconds * 1000, errors, &step(&1, state),
        kill_every: @kill_every,
        progress: fn -> :counters.get(counters, 1) end,
        say: fn -> "#{count(counters)}, #{Mlx.Native.open_kernels()} kernels to be made; #{Report.memory()}" end
      )

    left = Report.settle_memory(active + @bytes_left) - active
    Report.figure("#{count(counters)}, #{result.killed} kills; #{Report.memory()}")
    {error_count, error_text} = Report.errors(errors)
    {wrong_count, wrong_text} = Report.errors(wrong)

    [
      Report.check("something was done", Enum.all?(counts(counters), &(&1 > 50)), count(counters)),
      Report.check("wrong values", wrong_count == 0, wrong_text),
      Report.check("errors", error_count == 0, error_text),
      Report.check("processes that never end", result.stuck == 0 and not result.stalled, "#{result.stuck}"),
      Report.check("servers at the end", Enum.all?(servers, &Process.alive?/1), "#{length(servers)}"),
      Report.check("memory in use at the end", left <= @bytes_left, "#{Report.megabytes(left)} more than at the start"),
      resident_check(resident, Report.resident())
    ]
  end

  defp counts(counters), do: for(index <- 1..3, do: :counters.get(counters, index))

  defp count(counters) do
    [calls, replies, updates] = counts(counters)
    "#{calls} calls, #{replies} replies, #{updates} updates in place"
  end

  defp with_function(chain), do: {Mlx.compile(&Chains.apply_to(chain, &1)), chain}

  # Most functions are those of all processes, and some are called by one process and then gone.
  defp step(_number, state) do
    case :rand.uniform(10) do
      1 -> call(with_function(Chains.random()), state)
      n when n <= 5 -> call(elem(state.shared, :rand.uniform(@shared) - 1), state)
      n when n <= 7 -> ask(elem(state.servers, :rand.uniform(@servers) - 1), state)
      8 -> update_ahead(state)
      _ -> update_in_place(state)
    end
  end

  # Arrays whose elements lie in another order have another kernel.
  defp call({fun, chain}, state) do
    {rows, columns} = {Enum.random([1, 3, 50]), Enum.random([1, 4, 40])}
    array = Mlx.reshape(Mlx.arange(rows * columns, type: :f32), {rows, columns})
    array = if :rand.uniform(2) == 1, do: Mlx.transpose(array), else: array
    expected = for value <- Mlx.to_list(Mlx.flatten(array)), do: Chains.value(chain, value)

    for _ <- 1..3 do
      if Mlx.to_list(Mlx.flatten(fun.(array))) != expected, do: wrong(state, "a function of #{inspect(chain)}")
      :counters.add(state.counters, 1, 1)
    end
  end

  # A server adds what it is sent to an array, and replies with that, evaluated or not. Its state tells what it comes to.
  defp serve(array, sum) do
    receive do
      {:add, from, number} ->
        array = Mlx.add(array, number)
        array = if :rand.uniform(2) == 1, do: Mlx.async_eval(array), else: array
        send(from, {:reply, array, sum + number})
        # As far as f32 holds all integers.
        if sum > 10_000_000, do: serve(Mlx.zeros({@elements}), 0), else: serve(array, sum + number)

      {:look, other} ->
        serve(Mlx.add(array, Mlx.multiply(other, 0)), sum)
    end
  end

  defp ask(server, state) do
    send(server, {:add, self(), :rand.uniform(100)})

    receive do
      {:reply, array, sum} ->
        # Some go without having read the reply.
        if :rand.uniform(4) > 1 and Mlx.to_number(Mlx.reduce_max(array)) != sum, do: wrong(state, "a reply")
        :counters.add(state.counters, 2, 1)
    after
      60_000 -> wrong(state, "no reply")
    end
  end

  # Buffers that are given up, as those of caches are when text is generated.
  defp update_in_place(state) do
    update = Mlx.compile(fn sums, x -> {Mlx.add(sums, x), Mlx.sum(x)} end, donate: [0])

    {sums, total} =
      Enum.reduce(1..10, {Mlx.zeros({@elements}), 0}, fn number, {sums, total} ->
        {sums, _x} = update.(sums, Mlx.array(number * 1.0))
        :counters.add(state.counters, 3, 1)
        {sums, total + number}
      end)

    if Mlx.to_number(sums[Enum.random([0, @elements - 1])]) != total, do: wrong(state, "a sum in place")
  end

  # Each step is built on one that is not scheduled yet, and read when the next one is on its way.
  defp update_ahead(state) do
    update = Mlx.compile(fn sums, total -> {Mlx.add(sums, Mlx.add(total, 1)), Mlx.add(total, 1)} end, donate: [0])

    Enum.reduce(1..20, {Mlx.zeros({@elements}), Mlx.array(0.0), nil}, fn number, {sums, total, shown} ->
      {{sums, total}, next} = ahead(update.(sums, total))
      if shown && Mlx.to_number(shown) != number - 1, do: wrong(state, "a number ahead")
      if number == 20, do: check_sum(sums, total, state)
      :counters.add(state.counters, 3, 1)
      {sums, total, next}
    end)
  end

  defp ahead({_sums, total} = state), do: Ahead.start(state, total, "Mlx.Stress.Functions")

  # Also together with arrays of others, or sent to them.
  defp check_sum(sums, total, state) do
    send(elem(state.servers, :rand.uniform(@servers) - 1), {:look, sums})
    if Mlx.to_number(Mlx.add(total, sums[0])) != 20 + 210, do: wrong(state, "a sum ahead")
  end

  defp wrong(state, what), do: Report.count_error(state.wrong, what)

  defp resident_check(nil, _), do: Report.skip("memory of the process at the end", "this system has no /proc")

  defp resident_check(before, now) do
    Report.check(
      "memory of the process at the end",
      now - before <= @resident_left,
      "#{Report.megabytes(now - before)} more"
    )
  end
end
