defmodule Mlx.PressureTest do
  # Active memory and the configuration are those of the whole VM.
  use ExUnit.Case, async: false

  @megabytes 8

  setup do
    on_exit(fn -> Application.delete_env(:mlx, :gc_threshold) end)
  end

  # A process whose heap is large enough to hold many dead arrays, which it never collects of itself.
  defp greatest_growth(threshold, count) do
    Application.put_env(:mlx, :gc_threshold, threshold)

    # Garbage of earlier tests would count as shrinkage.
    Mlx.MemoryProbe.settle()

    task = fn ->
      start = Mlx.Memory.active()

      Enum.reduce(1..count, 0, fn _, greatest ->
        Mlx.eval(Mlx.zeros({@megabytes * 1024 * 1024}, type: :u8))
        max(greatest, Mlx.Memory.active() - start)
      end)
    end

    parent = self()
    :erlang.spawn_opt(fn -> send(parent, {:growth, task.()}) end, min_heap_size: 1_000_000)
    assert_receive {:growth, bytes}, 60_000
    bytes
  end

  test "dead arrays are collected once they hold the threshold" do
    # Three thresholds, since MLX frees in the background.
    assert greatest_growth(64 * 1024 * 1024, 60) < 3 * 64 * 1024 * 1024
  end

  test "many small dead arrays are collected before they are too many for Metal" do
    parent = self()

    task = fn ->
      start = Mlx.Memory.info().arrays

      most =
        Enum.reduce(1..40_000, 0, fn index, most ->
          for offset <- 0..9, do: Mlx.array(index + offset)
          max(most, Mlx.Memory.info().arrays - start)
        end)

      send(parent, {:most, most})
    end

    # The virtual machine itself sees no need to collect it, neither for its heap nor for what this refers to.
    :erlang.spawn_opt(task, min_heap_size: 50_000_000, min_bin_vheap_size: 1_000_000_000)
    assert_receive {:most, most}, 60_000
    assert most in 50_000..150_000
  end

  test "an evaluation that gets no buffer is tried once more, when all that is dead has been given back" do
    messages = [
      "[metal::malloc] Resource limit (499000) exceeded.",
      "[malloc] Unable to allocate 16 bytes.",
      "cudaMallocAsync(&data, size, stream) failed: out of memory"
    ]

    for message <- messages do
      parent = self()

      # Holds a dead array until somebody collects it.
      holder =
        :erlang.spawn_opt(
          fn ->
            Mlx.eval(Mlx.zeros({32 * 1024 * 1024}, type: :u8))
            send(parent, :held)
            Process.sleep(:infinity)
          end,
          min_heap_size: 1_000_000
        )

      assert_receive :held
      before = Mlx.Memory.active()

      result =
        Mlx.Pressure.watch(fn ->
          if Process.put(:tried, true), do: Mlx.Memory.active(), else: raise(Mlx.Error, message)
        end)

      assert before - result >= 32 * 1024 * 1024
      Process.delete(:tried)
      Process.exit(holder, :kill)

      assert_raise Mlx.Error, message, fn -> Mlx.Pressure.watch(fn -> raise Mlx.Error, message end) end
    end
  end

  # A process that nobody collects, with a dead array of 32 MiB.
  defp hold_dead_array do
    parent = self()

    hold = fn ->
      Mlx.eval(Mlx.zeros({32 * 1024 * 1024}, type: :u8))
      send(parent, :held)
      Process.sleep(:infinity)
    end

    holder = :erlang.spawn_opt(hold, [:link, min_heap_size: 1_000_000])
    assert_receive :held, 60_000
    holder
  end

  defp with_limit(bytes, fun) do
    previous = Mlx.Memory.set_limit(bytes)

    try do
      fun.()
    after
      Mlx.Memory.set_limit(previous)
    end
  end

  test "a limit that is exceeded already has all processes collected, and the free buffers given back" do
    hold_dead_array()
    Mlx.deallocate(Mlx.eval(Mlx.ones({1_000_000})))
    before = Mlx.Memory.active()

    with_limit(before - 16 * 1024 * 1024, fn ->
      assert before - Mlx.Memory.active() >= 32 * 1024 * 1024
      assert Mlx.Memory.cache() == 0
    end)
  end

  test "a limit that is not exceeded leaves the free buffers" do
    Mlx.deallocate(Mlx.eval(Mlx.ones({1_000_000})))
    Mlx.Stream.synchronize()
    before = Mlx.Memory.cache()
    assert before >= 4_000_000
    with_limit(Mlx.Memory.limit() - 1, fn -> assert Mlx.Memory.cache() == before end)
  end

  test "memory that grows beyond the limit has all processes collected, and a small limit sooner" do
    Mlx.Pressure.collect()
    before = Mlx.Memory.active()

    with_limit(before + 64 * 1024 * 1024, fn ->
      for _ <- 1..3, do: hold_dead_array()
      assert Mlx.Memory.active() - before <= 2 * 32 * 1024 * 1024

      # A process that collects itself is enough below the limit.
      Mlx.Pressure.collect()
      assert greatest_growth(nil, 20) <= 64 * 1024 * 1024
    end)
  end

  @tag skip: Mlx.Device.default() == :gpu && "of a GPU, MLX keeps no free buffers beyond the limit"
  test "memory that stays beyond the limit has all processes collected once" do
    array = Mlx.eval(Mlx.ones({4_000_000}))

    with_limit(Mlx.Memory.active() - 8_000_000, fn ->
      Mlx.deallocate(Mlx.eval(Mlx.ones({1_000_000})))
      Mlx.Stream.synchronize()
      before = Mlx.Memory.cache()
      assert before >= 4_000_000
      for _ <- 1..10, do: Task.await(Task.async(fn -> Mlx.to_number(Mlx.add(1, 2)) end))
      assert_in_delta Mlx.Memory.cache(), before, 100_000

      # What holds the memory has not changed, so only growth counts.
      hold_dead_array()
      assert Mlx.Memory.cache() < before
    end)

    assert Mlx.to_number(array[0]) == 1.0
  end

  test "an evaluation that fails for another reason is not tried again" do
    assert_raise Mlx.Error, "no", fn ->
      Mlx.Pressure.watch(fn ->
        refute Process.put(:tried, true)
        raise Mlx.Error, "no"
      end)
    end
  end

  test "nothing is collected when the threshold is infinite" do
    assert greatest_growth(:infinity, 20) >= 20 * @megabytes * 1024 * 1024
  end
end
