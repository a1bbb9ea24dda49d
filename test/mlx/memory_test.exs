defmodule Mlx.MemoryTest do
  use ExUnit.Case

  alias Mlx.Memory

  doctest Mlx.Memory

  # The memory is that of the whole virtual machine, and what tests before used is freed after their end.
  setup do
    wait_until_calm(Memory.info())
  end

  defp wait_until_calm(before) do
    Process.sleep(50)
    now = Memory.info()
    if now == before, do: :ok, else: wait_until_calm(now)
  end

  test "active memory follows what is in use" do
    before = Memory.active()
    array = Mlx.eval(Mlx.ones({1_000_000}))
    assert Memory.active() - before >= 4_000_000
    assert Memory.peak() >= Memory.active()
    Mlx.deallocate(array)
    Mlx.Stream.synchronize()
    assert Memory.active() - before < 4_000_000
  end

  test "the cache keeps freed buffers until it is cleared" do
    array = Mlx.eval(Mlx.ones({1_000_000}))
    Mlx.deallocate(array)
    assert Memory.clear_cache() == :ok
    assert Memory.cache() == 0
  end

  test "the cache has room for what a step of a model uses" do
    code = quote(do: IO.puts(Mlx.Memory.set_cache_limit(0)))
    assert {:exit, 0, output} = Mlx.ChildVM.run(code)
    {limit, "\n"} = Integer.parse(output)
    assert limit >= min(256 * 1024 * 1024, div(Memory.limit(), 16))
  end

  test "the peak can be measured anew" do
    Mlx.deallocate(Mlx.eval(Mlx.ones({2_000_000})))
    peak = Memory.peak()
    Memory.reset_peak()
    assert Memory.peak() < peak
  end

  test "what a function takes is measured, with the arrays of its result computed" do
    Memory.clear_cache()

    {%{kept: kept, other: :other}, taken} =
      Memory.measure(fn ->
        kept = Mlx.ones({1_000_000})
        Mlx.eval(Mlx.add(Mlx.concatenate([kept, kept, kept]), 1))
        %{kept: kept, other: :other}
      end)

    assert_in_delta taken.active, 4_000_000, 100_000
    assert taken.peak in 16_000_000..40_100_000
    assert taken.cache in 0..36_000_000
    assert Mlx.to_number(kept[999_999]) == 1.0

    assert {:ok, %{active: given_back, peak: 0}} = Memory.measure(fn -> Mlx.deallocate(kept) end)
    assert_in_delta given_back, -4_000_000, 100_000
    assert_raise RuntimeError, "stop", fn -> Memory.measure(fn -> raise "stop" end) end
  end

  describe "many results" do
    setup do
      layers =
        Mlx.eval(for seed <- 1..80, do: Mlx.multiply(Mlx.Random.normal({256, 256}, key: Mlx.Random.key(seed)), 0.05))

      x = Mlx.eval(Mlx.ones({16, 256}))
      loss = fn layers -> layers |> Enum.reduce(x, &Mlx.tanh(Mlx.matmul(&2, &1))) |> Mlx.sum() end
      extremes = &[Mlx.reduce_max(&1, axes: [0]), Mlx.reduce_min(&1, axes: [0])]

      # Calls `meanwhile` when there are all gradients and none of the results.
      results = fn meanwhile ->
        gradients = Mlx.grad(loss).(layers)
        meanwhile.()
        Enum.flat_map(gradients, extremes)
      end

      expected = Enum.map(results.(fn -> :ok end), &Mlx.to_binary/1)
      # What is freed while memory is measured would count as less need, so garbage goes before, and the layers stay.
      Mlx.MemoryProbe.settle()
      on_exit(fn -> Enum.each(layers, &Mlx.deallocate/1) end)
      %{results: results, expected: expected}
    end

    # A gradient has 262,144 bytes, and all of them 21 MB. They are computed about seven layers ahead at most.
    defp assert_little_memory(results, order, expected, meanwhile \\ fn -> :ok end) do
      in_order = fn values -> Enum.map(order, &Enum.at(values, &1)) end
      {computed, taken} = Memory.measure(fn -> in_order.(results.(meanwhile)) end)
      assert taken.peak in 4_000_000..10_000_000
      assert Enum.map(computed, &Mlx.to_binary/1) == in_order.(expected)
    end

    test "need no more memory in one order than in another", %{results: results, expected: expected} do
      for order <- [Enum.to_list(0..159), Enum.to_list(159..0//-1), Enum.sort_by(0..159, &:erlang.phash2/1)] do
        assert_little_memory(results, order, expected)
      end
    end

    test "need no more memory when the collector comes while they are built", %{results: results, expected: expected} do
      collector = Mlx.Values.Garbage.Collector

      assert_little_memory(results, 0..159, expected, fn ->
        send(collector, :memory_grew)
        :sys.get_state(collector)
      end)
    end
  end

  test "limits" do
    limit = Memory.limit()
    assert Memory.set_limit(2 ** 30) == limit
    assert Memory.limit() == 2 ** 30
    assert Memory.set_limit(limit) == 2 ** 30
    assert %{active: _, cache: _, peak: _, limit: ^limit} = Memory.info()
    assert_raise ArgumentError, fn -> Memory.set_limit(-1) end

    cache_limit = Memory.cache_limit()
    assert Memory.set_cache_limit(2 ** 20) == cache_limit
    assert Memory.cache_limit() == 2 ** 20
    assert Memory.set_cache_limit(cache_limit) == 2 ** 20
    assert %{cache_limit: ^cache_limit} = Memory.info()
  end

  test "limits are lowered to what a process gets of the machine's memory, and not raised" do
    code =
      quote do
        for room <- [10 ** 9, 2 ** 60] do
          Mlx.Native.keep_within_room(room)
          IO.inspect([Mlx.Memory.limit(), Mlx.Memory.array_limit(), Mlx.Memory.cache_limit()])
        end
      end

    lowered = "[800000000, 800000000, 50000000]\n"
    assert Mlx.ChildVM.run(code) == {:exit, 0, lowered <> lowered}
  end

  describe "wired memory" do
    test "has the largest limit of those who ask for it, until they are done" do
      assert Memory.set_wired_limit(500) == 0
      parent = self()

      sizes = [300, 1000, 700]

      processes =
        for bytes <- sizes do
          spawn_link(fn ->
            Memory.with_wired(bytes, fn ->
              send(parent, :held)
              receive do: (:go -> :ok)
            end)

            send(parent, :released)
          end)
        end

      for _ <- sizes, do: assert_receive(:held)
      assert Memory.wired_limit() == 1000
      assert Memory.info().wired_limit == 1000

      for {process, left} <- Enum.zip(processes, [1000, 700, 500]) do
        send(process, :go)
        assert_receive :released
        assert Memory.wired_limit() == left
      end

      assert Memory.set_wired_limit(0) == 500
      assert Memory.wired_limit() == 0
    end

    test "is released when the function raises, and when the process is killed" do
      assert_raise RuntimeError, fn -> Memory.with_wired(1000, fn -> raise "oops" end) end
      assert Memory.wired_limit() == 0
      parent = self()

      process =
        spawn(fn ->
          Memory.with_wired(1000, fn ->
            send(parent, :held)
            Process.sleep(:infinity)
          end)
        end)

      assert_receive :held
      assert Memory.wired_limit() == 1000
      Process.exit(process, :kill)
      wait_until_calm(Memory.info())
      assert Memory.wired_limit() == 0
    end

    test "takes a number of bytes" do
      assert_raise ArgumentError, ~r/expected a number of bytes or :recommended, got: -1/, fn ->
        Memory.with_wired(-1, fn -> :ok end)
      end
    end
  end

  test "what exceeds the limit is computed all the same" do
    limit = Memory.set_limit(1000)

    try do
      x = Enum.reduce(1..80, Mlx.ones({512, 512}), fn _, x -> Mlx.add(x, 1) end)
      assert x |> Mlx.equal(81) |> Mlx.all() |> Mlx.to_number() == true
    after
      Memory.set_limit(limit)
    end
  end

  test "an array that exceeds its limit is not made" do
    limit = Memory.array_limit()
    assert Memory.set_array_limit(2 ** 30) == limit

    try do
      assert_raise Mlx.Error, ~r/array limit of 1.1 GB/, fn -> Mlx.zeros({2 ** 30}) end
      assert Mlx.broadcast(1.0, {2 ** 30}).shape == {2 ** 30}
      # The other limit is no way around it.
      memory_limit = Memory.set_limit(2 ** 50)
      assert_raise Mlx.Error, fn -> Mlx.zeros({2 ** 30}) end
      Memory.set_limit(memory_limit)
    after
      Memory.set_array_limit(limit)
    end

    assert Memory.array_limit() == limit
    assert_raise ArgumentError, fn -> Memory.set_array_limit(-1) end
  end
end
