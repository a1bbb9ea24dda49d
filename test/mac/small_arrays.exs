# 600,000 arrays of 16 bytes that are dead but not collected. Metal allows 499,000 buffers, and their bytes are too few to
# call for a collection. First they are all garbage of one process whose heap never fills, then of idle ones. Both heaps,
# that of terms and that of what terms refer to, are so large that the virtual machine itself collects nothing.
Code.require_file("scenario.exs", __DIR__)
alias Mac.Scenario

defmodule Mac.SmallArrays do
  @at_once 500

  def make(count, start) do
    ones = Mlx.eval(Mlx.ones({4}))

    for first <- start..(start + count - 1)//@at_once do
      Mlx.eval(for i <- first..(first + @at_once - 1), do: Mlx.add(ones, i))
      :ok
    end

    :ok
  end

  # With a heap that is large enough for all of them.
  def in_idle_process(count, start) do
    parent = self()

    {pid, reference} =
      :erlang.spawn_opt(
        fn ->
          make(count, start)
          send(parent, {:done, self()})
          receive do: (:end -> :ok)
        end,
        [:monitor, min_heap_size: 80 * count, min_bin_vheap_size: 1_000 * count]
      )

    receive do
      {:done, ^pid} -> pid
      {:DOWN, ^reference, :process, ^pid, reason} -> raise "a process ended: #{inspect(reason)}"
    end
  end
end

Scenario.run("small_arrays", fn ->
  count = 600_000
  idle = 6

  {alone, pid} = Scenario.time(fn -> Mac.SmallArrays.in_idle_process(count, 1) end)
  active = Mlx.Memory.active()
  send(pid, :end)

  {others, pids} =
    Scenario.time(fn ->
      for n <- 1..idle, do: Mac.SmallArrays.in_idle_process(div(count, idle), n)
    end)

  Scenario.exact(1)
  for pid <- pids, do: send(pid, :end)

  "#{count} of one process in #{alone} ms (#{div(active, 1024)} KiB active at its end), " <>
    "of #{idle} idle ones in #{others} ms, on #{Scenario.device()}"
end)
