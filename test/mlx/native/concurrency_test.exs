defmodule Mlx.Native.ConcurrencyTest do
  # Arrays in many processes: shared, evaluated, deallocated and dropped in any order, by processes that may be killed.
  use ExUnit.Case, async: false

  @moduletag timeout: 300_000

  # Sums stay small integers, so that every value is exact.
  @modulus 1009

  describe "a storm of 64 processes" do
    @duration 60_000
    @workers 64
    @slots 256

    test "builds, shares, evaluates and reads right values while processes are killed" do
      pool = :ets.new(:pool, [:public, read_concurrency: true])
      counters = :counters.new(2, [])
      values = Enum.to_list(1..8)
      for slot <- 1..@slots, do: :ets.insert(pool, {slot, Mlx.array(values), values})

      parent = self()
      start = fn -> spawn(fn -> work(pool, counters, parent) end) end
      workers = for _ <- 1..@workers, into: %{}, do: {start.(), true}
      killed = kill_at_random(Map.keys(workers), start, System.monotonic_time(:millisecond) + @duration, 0)

      refute_received {:wrong, _, _, _}
      read = :counters.get(counters, 2)
      IO.puts("\n#{:counters.get(counters, 1)} operations, #{read} values read, #{killed} processes killed")
      assert killed > 500
      assert read > 1_000

      for {_slot, array, expected} <- :ets.tab2list(pool), do: assert(Mlx.to_list(array) == expected)
    end

    defp kill_at_random(workers, start, deadline, killed) do
      if System.monotonic_time(:millisecond) > deadline do
        Enum.each(workers, &Process.exit(&1, :kill))
        killed
      else
        Process.sleep(10)
        {victims, survivors} = workers |> Enum.shuffle() |> Enum.split(2)
        Enum.each(victims, &Process.exit(&1, :kill))
        kill_at_random(Enum.map(victims, fn _ -> start.() end) ++ survivors, start, deadline, killed + 2)
      end
    end

    defp work(pool, counters, parent) do
      [{_, a, x}] = :ets.lookup(pool, :rand.uniform(@slots))
      [{_, b, y}] = :ets.lookup(pool, :rand.uniform(@slots))
      {c, z} = combine(:rand.uniform(4), {a, x}, {b, y})
      :counters.add(counters, 1, 1)

      case :rand.uniform(6) do
        1 -> Mlx.eval(c)
        2 -> Mlx.async_eval(c)
        n when n in [3, 4] -> verify(c, z, counters, parent)
        _lazy -> :ok
      end

      :ets.insert(pool, {:rand.uniform(@slots), c, z})
      work(pool, counters, parent)
    end

    defp combine(1, {a, x}, {b, y}), do: {modulo(Mlx.add(a, b)), Enum.zip_with(x, y, &rem(&1 + &2, @modulus))}
    defp combine(2, {a, x}, {b, y}), do: {modulo(Mlx.multiply(a, b)), Enum.zip_with(x, y, &rem(&1 * &2, @modulus))}
    defp combine(3, {a, x}, _b), do: {Mlx.take(a, [7, 6, 5, 4, 3, 2, 1, 0]), Enum.reverse(x)}
    defp combine(4, {a, x}, _b), do: {Mlx.sort(a), Enum.sort(x)}

    defp modulo(array), do: Mlx.remainder(array, @modulus)

    defp verify(array, expected, counters, parent) do
      case Mlx.to_list(array) do
        ^expected -> :counters.add(counters, 2, 1)
        got -> send(parent, {:wrong, array, got, expected})
      end
    end
  end

  describe "building an operation while another process evaluates" do
    @most_microseconds 1_000

    test "a chain of matrix products" do
      size = 512
      x = Mlx.eval(Mlx.divide(Mlx.Random.normal({size, size}, key: Mlx.Random.key(0)), size))
      Mlx.eval(Mlx.matmul(x, x))
      {micros, _} = :timer.tc(fn -> Mlx.eval(Mlx.matmul(x, x)) end)
      products = max(div(1_500_000, micros), 12)

      assert_building_is_quick("#{products} products of #{size}x#{size}", fn ->
        repeat(x, products, &Mlx.matmul(&1, x))
      end)
    end

    test "many tasks in the queue of MLX's scheduler" do
      x = Mlx.eval(Mlx.ones({300_000}))
      {micros, _} = :timer.tc(fn -> Mlx.eval(repeat(x, 10, &Mlx.sin/1)) end)
      tasks = max(div(1_500_000 * 10, micros), 100)
      assert_building_is_quick("#{tasks} queued tasks", fn -> repeat(x, tasks, &Mlx.sin/1) end)
    end

    test "several graphs at once" do
      x = Mlx.eval(Mlx.ones({200_000}))

      work = fn ->
        1..4
        |> Enum.map(fn _ -> Task.async(fn -> Mlx.eval(repeat(x, 200, &Mlx.sin/1)) end) end)
        |> Task.await_many(:infinity)
      end

      assert_building_is_quick("4 graphs of 200 tasks", work)
    end

    defp repeat(array, times, fun), do: Enum.reduce(1..times, array, fn _, acc -> fun.(acc) end)

    defp assert_building_is_quick(what, build) do
      a = Mlx.eval(Mlx.ones({4, 4}))
      b = Mlx.eval(Mlx.ones({4, 4}))
      task = Task.async(fn -> :timer.tc(fn -> Mlx.eval(build.()) end) end)
      samples = sample(task.pid, fn -> Mlx.add(a, b) end, [])
      {micros, _} = Task.await(task, :infinity)

      sorted = Enum.sort(samples)
      count = length(sorted)
      at = fn share -> Enum.at(sorted, min(trunc(count * share), count - 1)) / 1000 end

      IO.puts(
        "\nbuilding beside #{what} (#{div(micros, 1000)} ms): p50 #{at.(0.5)} us, p99 #{at.(0.99)} us, " <>
          "max #{at.(1.0)} us of #{count}"
      )

      assert count > 1_000
      assert at.(0.99) < @most_microseconds
    end

    # In nanoseconds, for as long as the process lives.
    defp sample(pid, fun, samples) do
      if Process.alive?(pid) do
        some = for _ <- 1..20, do: nanoseconds(fun)
        :erlang.yield()
        sample(pid, fun, some ++ samples)
      else
        samples
      end
    end

    defp nanoseconds(fun) do
      start = :erlang.monotonic_time(:nanosecond)
      fun.()
      :erlang.monotonic_time(:nanosecond) - start
    end
  end

  test "one array is evaluated and read by many processes at once" do
    for round <- 1..50 do
      array = Enum.reduce(1..100, Mlx.array([round]), fn _, acc -> Mlx.add(acc, 1) end)

      readers = [
        fn -> Mlx.to_list(array) end,
        fn -> [Mlx.to_number(array)] end,
        fn -> Mlx.to_list(Mlx.eval(array)) end,
        fn -> Mlx.to_list(Mlx.async_eval(array)) end,
        fn -> Mlx.to_list(Mlx.multiply(array, 1)) end
      ]

      results = 1..40 |> Enum.map(&Task.async(Enum.at(readers, rem(&1, 5)))) |> Task.await_many(60_000)
      assert Enum.uniq(results) == [[round + 100]]
    end
  end

  test "deallocation races with use" do
    outcomes =
      for round <- 1..200 do
        array = Mlx.add(Mlx.array([round, round]), 1)
        if rem(round, 2) == 0, do: Mlx.eval(array)

        users =
          for n <- 1..8 do
            Task.async(fn ->
              try do
                {:ok, if(rem(n, 2) == 0, do: Mlx.to_list(array), else: Mlx.to_list(Mlx.multiply(array, 1)))}
              rescue
                error in ArgumentError -> {:raised, error.message}
              end
            end)
          end

        killer = Task.async(fn -> Mlx.deallocate(array) end)
        results = Task.await_many(users, 60_000)
        assert Task.await(killer) == :ok

        for result <- results do
          case result do
            {:ok, values} -> assert values == [round + 1, round + 1]
            {:raised, message} -> assert message =~ "deallocated"
          end
        end

        assert_raise ArgumentError, ~r/deallocated/, fn -> Mlx.add(array, 1) end
        Enum.frequencies_by(results, &elem(&1, 0))
      end

    assert Enum.any?(outcomes, &Map.has_key?(&1, :ok))
  end

  test "a failure is raised where it is evaluated and nowhere else" do
    singular = Mlx.eval(Mlx.zeros({3, 3}))
    parent = self()

    healthy =
      for n <- 1..32 do
        Task.async(fn ->
          for i <- 1..50 do
            scaled = Mlx.multiply(Mlx.eye(3), n + i)

            array =
              if rem(i, 5) == 0, do: Mlx.Linalg.invert(Mlx.Linalg.invert(scaled)), else: Mlx.matmul(scaled, Mlx.eye(3))

            sum = Mlx.to_number(Mlx.sum(array))
            if abs(sum - 3 * (n + i)) > 0.01, do: send(parent, {:wrong, n, i, sum})
          end
        end)
      end

    failing =
      for _ <- 1..8 do
        Task.async(fn ->
          for _ <- 1..20 do
            inverse = Mlx.Linalg.invert(singular)
            assert_raise Mlx.Error, fn -> Mlx.eval(inverse) end
            assert_raise Mlx.Error, fn -> Mlx.to_list(Mlx.add(inverse, 1)) end
          end
        end)
      end

    Task.await_many(healthy ++ failing, 200_000)
    refute_received {:wrong, _, _, _}
    assert Mlx.to_number(Mlx.sum(Mlx.ones({3}))) == 3.0
  end

  test "what waits for all streams raises nobody's failure, and takes it from nobody" do
    parent = self()
    [a, b] = for _ <- 1..2, do: Mlx.Stream.new(:cpu)
    limit = Mlx.Memory.cache_limit()

    calls = [
      fn -> Mlx.Memory.clear_cache() end,
      fn -> Mlx.Memory.set_cache_limit(limit) end,
      fn -> Mlx.Memory.set_limit(Mlx.Memory.limit()) end,
      fn -> Mlx.Native.keep_within_room(2 ** 60) end,
      fn -> Mlx.Memory.reset_peak() end,
      fn -> Mlx.Memory.measure(fn -> Mlx.add(Mlx.ones({64}), 1) end) end,
      fn -> Mlx.Stream.synchronize() end,
      fn -> Mlx.Stream.synchronize(a) end,
      fn -> Mlx.Stream.synchronize(b) end,
      fn -> Mlx.Random.seed(1) end,
      fn -> Mlx.to_list(Mlx.add(Mlx.ones({64}, stream: a), 1, stream: b)) end,
      fn -> Mlx.async_eval(Mlx.add(Mlx.ones({64}), 1, stream: a)) end
    ]

    callers =
      for call <- calls do
        spawn_link(fn ->
          # Free buffers, without which there is nothing to give back.
          repeat_until_stopped(fn ->
            Mlx.deallocate(Mlx.eval(Mlx.ones({64})))
            call.()
          end)

          send(parent, {:stopped, self()})
        end)
      end

    failing =
      for {made_on, used_on} <- [{a, a}, {a, b}, {b, a}, {a, nil}, {nil, b}, {nil, nil}] do
        Task.async(fn ->
          for _ <- 1..40 do
            inverse = Mlx.Linalg.invert(Mlx.zeros({3, 3}), stream: made_on || Mlx.Stream.default(:cpu))
            sum = Mlx.add(inverse, 1, stream: used_on)
            assert_raise Mlx.Error, ~r/singular/, fn -> Mlx.to_list(sum) end
          end
        end)
      end

    Task.await_many(failing, 200_000)
    for caller <- callers, do: send(caller, :stop)
    for caller <- callers, do: assert_receive({:stopped, ^caller}, 60_000)
  end

  defp repeat_until_stopped(call) do
    receive do
      :stop -> :ok
    after
      0 ->
        call.()
        repeat_until_stopped(call)
    end
  end

  test "a failure leaves nothing behind on the streams that it went through" do
    [a, b, c] = for _ <- 1..3, do: Mlx.Stream.new(:cpu)
    inverse = Mlx.Linalg.invert(Mlx.zeros({3, 3}), stream: a)
    sums = [Mlx.add(Mlx.add(inverse, 1, stream: b), 2), Mlx.add(inverse, 3, stream: c)]
    assert_raise Mlx.Error, ~r/singular/, fn -> Mlx.eval(sums) end

    for stream <- [a, b, c, nil] do
      assert Mlx.to_list(Mlx.add(Mlx.array([1.0]), 1, stream: stream)) == [2.0]
      linear_algebra = stream || Mlx.Stream.default(:cpu)
      assert Mlx.to_list(Mlx.Linalg.invert(Mlx.eye(2), stream: linear_algebra)) == [[1.0, 0.0], [0.0, 1.0]]
    end

    for sum <- sums, do: assert_raise(Mlx.Error, ~r/singular/, fn -> Mlx.to_list(sum) end)
  end
end
