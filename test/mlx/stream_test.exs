defmodule Mlx.StreamTest do
  use ExUnit.Case, async: false

  doctest Mlx.Stream
  doctest Mlx.Device
  doctest Mlx.Metal
  doctest Mlx.CUDA

  defp device, do: Mlx.Stream.current() && Mlx.Stream.current().device

  test "with_device/2 holds inside the function, nests, and ends however the function ends" do
    assert device() == nil

    assert Mlx.with_device(:cpu, fn ->
             assert device() == :cpu
             stream = Mlx.Stream.new(:cpu)
             Mlx.with_stream(stream, fn -> assert Mlx.Stream.current() == stream end)
             assert device() == :cpu
             assert Mlx.Stream.current() != stream
             :result
           end) == :result

    assert device() == nil
    assert_raise RuntimeError, fn -> Mlx.with_device(:cpu, fn -> raise "stop" end) end
    assert device() == nil
    assert catch_throw(Mlx.with_device(:cpu, fn -> throw(:stop) end)) == :stop
    assert device() == nil
  end

  test "the choice is that of one process" do
    Mlx.with_device(:cpu, fn ->
      assert Task.await(Task.async(fn -> Mlx.Stream.current() end)) == nil
    end)
  end

  test "every stream gives the same values, also across streams" do
    [first, second] = [Mlx.Stream.new(:cpu), Mlx.Stream.new(:cpu)]
    assert first.index != second.index
    a = Mlx.add(Mlx.array([1, 2]), 1, stream: first)
    b = Mlx.multiply(a, a, stream: second)
    assert Mlx.to_list(Mlx.add(a, b, stream: :cpu)) == [6, 12]
    assert Mlx.with_stream(second, fn -> Mlx.to_number(Mlx.sum(b)) end) == 13
  end

  test "the option comes before the choice of the process" do
    [outer, inner] = [Mlx.Stream.new(:cpu), Mlx.Stream.new(:cpu)]

    Mlx.with_stream(outer, fn ->
      assert Mlx.Stream.resolve([], "Mlx.add") == nil
      assert Mlx.Stream.resolve([stream: inner], "Mlx.add") == inner
      assert Mlx.Stream.resolve([stream: nil], "Mlx.add") == nil
      assert Mlx.Stream.resolve([stream: :cpu], "Mlx.add").device == :cpu
    end)
  end

  test "f64 stays on a stream of the CPU, and other types where they are" do
    [asked, chosen] = [Mlx.Stream.new(:cpu), Mlx.Stream.new(:cpu)]

    for type <- [:f64, :f32] do
      assert Mlx.Stream.for_type(asked, type) == asked
      assert Mlx.with_stream(chosen, fn -> Mlx.Stream.for_type(asked, type) end) == asked
    end

    assert Mlx.with_stream(chosen, fn -> Mlx.Stream.for_type(nil, :f64) end) == chosen
    assert Mlx.with_stream(chosen, fn -> Mlx.Stream.for_type(nil, :f32) end) == nil

    if Mlx.Device.available?(:gpu) do
      gpu = Mlx.Stream.new(:gpu)
      assert Mlx.Stream.for_type(gpu, :f64).device == :cpu
      assert Mlx.Stream.for_type(gpu, :f32) == gpu
    end
  end

  test "operations run on the stream that the process chose, and behind others' work only without one" do
    busy = fn -> Enum.reduce(1..30, Mlx.ones({1024, 1024}), fn _, x -> Mlx.matmul(x, x) |> Mlx.divide(1024) end) end
    chosen = Mlx.Stream.new(:cpu)

    # A GPU would be done at once.
    behind = Mlx.with_device(:cpu, fn -> Mlx.async_eval(busy.()) end)
    assert Mlx.with_stream(chosen, fn -> Mlx.to_number(Mlx.add(1, 2)) end) == 3
    refute Mlx.Native.is_available(behind)

    # Killed inside, a process takes its choice along.
    {killed, monitor} = spawn_monitor(fn -> Mlx.with_stream(chosen, fn -> Process.sleep(:infinity) end) end)
    Process.exit(killed, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^killed, :killed}

    assert Mlx.with_device(:cpu, fn -> Mlx.to_number(Mlx.add(1, 2)) end) == 3
    assert Mlx.Native.is_available(behind)
  end

  test "no scheduler waits for what a recorded function computes on another stream" do
    other = Mlx.Stream.new(:cpu)
    x = Mlx.eval(Mlx.Random.uniform({1, 8 * 1024 * 1024}, key: Mlx.Random.key(0)))
    sorted = Mlx.vmap(&Mlx.sort(&1, stream: other))

    # Both on one scheduler.
    test = self()
    spawn = fn fun -> :erlang.spawn_opt(fun, [:link, scheduler: 1]) end
    ticker = spawn.(fn -> send(test, {:longest_pause, tick(System.monotonic_time(:microsecond), 0)}) end)

    spawn.(fn ->
      {taken, sorted} = :timer.tc(fn -> Mlx.eval(sorted.(x)) end)
      assert Mlx.to_number(sorted[[0, 0]]) == Mlx.to_number(Mlx.reduce_min(x))
      send(test, {:taken, taken})
      send(ticker, :stop)
    end)

    assert_receive {:taken, taken}, 60_000
    assert_receive {:longest_pause, pause}, 60_000
    assert pause < taken * 3 / 4
  end

  defp tick(before, longest) do
    receive do
      :stop -> longest
    after
      1 ->
        now = System.monotonic_time(:microsecond)
        tick(now, max(longest, now - before))
    end
  end

  test "set_default/1 holds for the process, and a choice for a function goes before it and ends" do
    stream = Mlx.Stream.new(:cpu)

    Task.await(
      Task.async(fn ->
        assert Mlx.Stream.set_default(stream) == :ok
        assert {Mlx.Stream.current(), Mlx.Stream.default(:cpu), Mlx.Device.default()} == {stream, stream, :cpu}
        other = Mlx.Stream.new(:cpu)
        Mlx.with_stream(other, fn -> assert Mlx.Stream.default() == other end)
        assert Mlx.Stream.current() == stream
        assert Mlx.to_number(Mlx.add(1, 2)) == 3
      end)
    )

    assert Mlx.Stream.current() == nil

    Task.await(
      Task.async(fn ->
        assert Mlx.Device.set_default(:cpu) == :ok
        assert Mlx.Device.default() == :cpu
      end)
    )
  end

  test "wrong streams and devices" do
    assert_raise ArgumentError, "Mlx.Device.set_default: expected :cpu or :gpu, got: :tpu", fn ->
      Mlx.Device.set_default(:tpu)
    end

    assert_raise ArgumentError, "Mlx.add: expected :stream to be a Mlx.Stream, :cpu or :gpu, got: :tpu", fn ->
      Mlx.add(1, 2, stream: :tpu)
    end

    assert_raise ArgumentError, "Mlx.with_device: expected :cpu or :gpu, got: :tpu", fn ->
      Mlx.with_device(:tpu, fn -> :ok end)
    end

    assert_raise ArgumentError, "Mlx.with_stream: expected a Mlx.Stream, got: :cpu", fn ->
      Mlx.with_stream(:cpu, fn -> :ok end)
    end
  end

  test "a device that is not there" do
    if not Mlx.Device.available?(:gpu) do
      assert_raise Mlx.Error, fn -> Mlx.with_device(:gpu, fn -> :ok end) end
      assert_raise Mlx.Error, fn -> Mlx.Stream.new(:gpu) end
    end

    refute Mlx.Device.available?(:cpu, 1000)
  end

  test "synchronize/1 takes a stream" do
    stream = Mlx.Stream.new(:cpu)
    Mlx.async_eval(Mlx.add(1, 2, stream: stream))
    assert Mlx.Stream.synchronize(stream) == :ok
  end

  test "inspect/1 shows the device" do
    assert inspect(Mlx.Stream.default(:cpu)) =~ ~r/^#Mlx.Stream<cpu -?\d+>$/
  end
end
