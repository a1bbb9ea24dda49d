defmodule Mlx.Stress.Kernels do
  @moduledoc false
  # One process makes new kernels all the time, beside others that read what was computed before, and must not be held up.

  alias Mlx.Stress.{Chains, Latencies, Report}

  # In milliseconds. Long work belongs on dirty schedulers.
  @longest_on_scheduler 1
  @elements 8

  @spec run(%{seconds: pos_integer()}) :: [Report.outcome()]
  def run(%{seconds: seconds}) do
    errors = :ets.new(:errors, [:public])
    wrong = :ets.new(:wrong, [:public])
    kernels = Latencies.new()
    # Few enough to leave processors to the rest.
    readers = max(div(System.schedulers_online(), 4), 2)
    reads = Latencies.new()
    evaluations = Latencies.new()
    nothing = Latencies.new()
    settled = settled()
    start = fn body -> spawn_link(fn -> forever(body) end) end
    watcher = watch()

    pids = %{
      readers: for(_ <- 1..readers, do: start.(fn -> read(settled, reads, errors, wrong) end)),
      # Are as busy without Mlx, so as to tell what else the machine does.
      controls: for(_ <- 1..readers, do: start.(fn -> Latencies.measure(nothing, fn -> count(500) end) end)),
      others: [
        start.(fn -> evaluate(evaluations, errors, wrong) end),
        spawn_link(fn -> make_kernels(1, kernels, errors, wrong) end)
      ]
    }

    for {kind, pids} <- pids, pid <- pids, do: send(watcher, {:watch, kind, pid})
    wait(seconds, kernels, reads)
    for {_kind, pids} <- pids, pid <- pids, do: stop(pid)
    report(long(watcher), kernels, reads, nothing, evaluations, errors, wrong)
  end

  defp wait(seconds, kernels, reads) do
    for left <- Enum.take_every(seconds..1//-1, 10) do
      Report.figure("#{left} s to go: #{Latencies.count(kernels)} kernels, #{Latencies.count(reads)} reads")
      Process.sleep(min(left, 10) * 1000)
    end
  end

  defp stop(pid) do
    Process.unlink(pid)
    Process.exit(pid, :kill)
  end

  defp forever(body) do
    body.()
    # So that what one scheduling takes is what one round takes.
    :erlang.yield()
    forever(body)
  end

  # As long as a round of reads takes.
  defp count(0), do: 0
  defp count(n), do: 1 + count(n - 1)

  defp report(long, kernels, reads, nothing, evaluations, errors, wrong) do
    {error_count, error_text} = Report.errors(errors)
    {wrong_count, wrong_text} = Report.errors(wrong)
    Report.figure("kernels made: #{Latencies.describe(kernels)}")
    Report.figure("reads: #{Latencies.describe(reads)}")
    Report.figure("rounds without Mlx: #{Latencies.describe(nothing)}")
    Report.figure("evaluations by kernels that were there: #{Latencies.describe(evaluations)}")

    for kind <- [:readers, :controls, :others],
        do: Report.figure("long on a scheduler, #{kind}: #{describe(long[kind])}")

    [
      Report.check("something was done", Latencies.count(kernels) > 1 and Latencies.count(reads) > 1000, "see above"),
      schedulers_check(long[:readers] || [], long[:controls] || []),
      Report.check("wrong values", wrong_count == 0, wrong_text),
      Report.check("errors", error_count == 0, error_text)
    ]
  end

  # A machine whose processors are all busy takes them from everybody for some milliseconds. Then those that only count are
  # held up as often and as long.
  defp schedulers_check(readers, controls) do
    what = "readers that keep a scheduler for #{@longest_on_scheduler} ms"
    {count, excuses} = {length(readers), length(controls)}
    {longest, excuse} = {longest(readers), longest(controls)}

    cond do
      readers == [] ->
        Report.check(what, true, "none")

      count <= 2 * excuses + 3 and longest <= 2 * excuse ->
        text =
          "#{count} times, up to #{longest} ms; without Mlx #{excuses} times, up to #{excuse} ms: the machine is busy"

        Report.check(what, true, text)

      true ->
        Report.check(what, false, describe(readers))
    end
  end

  defp longest(events), do: events |> Enum.map(& &1.ms) |> Enum.max(fn -> 0 end)

  defp describe(events) when events in [nil, []], do: "none"

  defp describe(events) do
    places =
      events
      |> Enum.frequencies_by(&{&1.in, &1.out})
      |> Enum.sort_by(fn {_, count} -> -count end)
      |> Enum.take(3)
      |> Enum.map_join("", fn {{from, to}, count} -> "\n        #{count} x from #{mfa(from)} to #{mfa(to)}" end)

    "#{length(events)}, the longest #{longest(events)} ms#{places}"
  end

  defp mfa({module, function, arity}), do: Exception.format_mfa(module, function, arity)
  defp mfa(other), do: inspect(other)

  # The process that the virtual machine tells of long schedulings.
  defp watch do
    pid = spawn_link(fn -> collect(%{}, %{}) end)
    :erlang.system_monitor(pid, [{:long_schedule, @longest_on_scheduler}])
    pid
  end

  defp collect(kinds, long) do
    receive do
      {:watch, kind, pid} ->
        collect(Map.put(kinds, pid, kind), long)

      {:monitor, pid, :long_schedule, info} when is_pid(pid) ->
        event = %{ms: info[:timeout], in: info[:in], out: info[:out]}
        collect(kinds, Map.update(long, kinds[pid], [event], &[event | &1]))

      {:monitor, _port, :long_schedule, _info} ->
        collect(kinds, long)

      {:get, from} ->
        send(from, {:long, long})
    end
  end

  defp long(watcher) do
    # What it is told last.
    Process.sleep(200)
    :erlang.system_monitor(:undefined)
    send(watcher, {:get, self()})

    receive do
      {:long, long} -> long
    end
  end

  # Computed and read before.
  defp settled do
    scalars = for value <- 1..16, do: {Mlx.eval(Mlx.add(Mlx.array(value * 1.0), 1)), value + 1.0}
    small = for value <- 1..16, do: {Mlx.eval(Mlx.add(Mlx.arange(4), value)), for(index <- 0..3, do: index + value)}
    for {array, value} <- scalars, do: ^value = Mlx.to_number(array)
    for {array, values} <- small, do: ^values = Mlx.to_list(array)
    binaries = for {array, values} <- small, do: {array, for(value <- values, into: <<>>, do: <<value::32-native>>)}
    {List.to_tuple(scalars), List.to_tuple(binaries)}
  end

  defp read({scalars, binaries}, reads, errors, wrong) do
    guarded(errors, fn ->
      {scalar, value} = elem(scalars, :rand.uniform(16) - 1)
      if Latencies.measure(reads, fn -> Mlx.to_number(scalar) end) != value, do: wrong(wrong, "a number")
      {small, binary} = elem(binaries, :rand.uniform(16) - 1)
      if Latencies.measure(reads, fn -> Mlx.to_binary(small) end) != binary, do: wrong(wrong, "a binary")
    end)
  end

  defp evaluate(evaluations, errors, wrong) do
    guarded(errors, fn ->
      by = :rand.uniform(100)
      array = Mlx.add(Mlx.array([1, 2, 3]), by)

      if Latencies.measure(evaluations, fn -> Mlx.to_list(array) end) != [1 + by, 2 + by, 3 + by],
        do: wrong(wrong, "a sum")
    end)
  end

  # Every eighth kernel on a GPU is that of a product with a quantized matrix, which takes half a minute.
  defp make_kernels(round, kernels, errors, wrong) do
    quantized? = Mlx.Device.default() == :gpu and rem(round, 8) == 2

    guarded(errors, fn ->
      if quantized?, do: quantized_product(div(round, 8), kernels, wrong), else: fused(kernels, wrong)
    end)

    make_kernels(round + 1, kernels, errors, wrong)
  end

  defp fused(kernels, wrong) do
    chain = Chains.random()
    input = Enum.to_list(1..@elements)
    array = Mlx.array(input, type: :f32)
    fun = Mlx.compile(&Chains.apply_to(chain, &1))
    # The first calls may run as they are.
    results = Latencies.measure(kernels, fn -> for _ <- 1..3, do: Mlx.to_list(fun.(array)) end)

    if Enum.any?(results, &(&1 != for(x <- input, do: Chains.value(chain, x)))),
      do: wrong(wrong, "a fused function of #{inspect(chain)}")
  end

  # Of ones, which quantize to themselves.
  defp quantized_product(index, kernels, wrong) do
    kinds =
      for type <- [:f16, :bf16, :f32], bits <- [4, 8, 2, 6], group_size <- [64, 32, 128], do: {type, bits, group_size}

    {type, bits, group_size} = Enum.at(kinds, rem(index, length(kinds)))
    options = [bits: bits, group_size: group_size]
    {weights, scales, biases} = Mlx.quantize(Mlx.ones({256, 256}, type: type), options)
    x = Mlx.ones({64, 256}, type: type)

    product =
      Latencies.measure(kernels, fn -> Mlx.eval(Mlx.quantized_matmul(x, weights, scales, biases, options)) end)

    off = Mlx.to_number(Mlx.reduce_max(Mlx.abs(Mlx.subtract(product, 256))))
    if off != 0, do: wrong(wrong, "a product with a matrix of #{inspect(options)} in #{type}, by #{off}")
  end

  defp guarded(errors, fun) do
    fun.()
  rescue
    error -> Report.count_error(errors, "#{inspect(error.__struct__)}: #{Exception.message(error)}")
  end

  defp wrong(table, what), do: Report.count_error(table, what)
end
