defmodule Mlx.Native.MemoryTest do
  # What is made is freed: by garbage collection, on error paths, and also when it is large and was never evaluated.
  use ExUnit.Case, async: false

  alias Mlx.{ChildVM, Native}

  @moduletag timeout: 600_000

  @megabyte 1024 * 1024

  # In a virtual machine of its own: nothing else moves the figures.
  test "a million operations leave memory as it was" do
    code =
      quote do
        x = Mlx.eval(Mlx.ones({64, 64}))

        Mlx.MemoryProbe.measure(50_000, 500_000, fn count ->
          Enum.reduce(1..count, x, fn i, acc ->
            acc = Mlx.multiply(Mlx.add(acc, x), 0.5)
            if rem(i, 50) == 0, do: Mlx.eval(acc), else: acc
          end)
        end)
      end

    assert_flat(code, "1,000,000 operations")
  end

  test "a hundred thousand failing calls leave memory as it was" do
    code =
      quote do
        x = Mlx.eval(Mlx.ones({64, 64}))
        y = Mlx.eval(Mlx.ones({3}))

        calls = [
          fn -> Mlx.Native.add(x, y, nil) end,
          fn -> Mlx.Native.add(Mlx.add(x, 1), y, nil) end,
          fn -> Mlx.Native.concatenate([x, x, :no_array], nil) end,
          fn -> Mlx.Native.concatenate_axis([Mlx.add(x, 1), y], 0, nil) end,
          fn -> Mlx.Native.reshape(x, [3, 7], nil) end,
          fn -> Mlx.Native.sum_axes(x, [0, 1, :a], false, nil) end,
          fn -> Mlx.Native.einsum("ij,jk->ik", [x, y], nil) end,
          fn -> Mlx.Native.full([1_000_000, 1_000_000], 1.5, :f32, nil) end,
          fn -> Mlx.Native.from_binary(<<0::800>>, {7}, :f32) end,
          fn -> Mlx.Native.item(x) end
        ]

        Mlx.MemoryProbe.measure(2_000, 10_000, fn count ->
          for _ <- 1..count, call <- calls, do: Mlx.MemoryProbe.must_fail(call)
        end)
      end

    assert_flat(code, "100,000 failing calls")
  end

  test "evaluations that fail leave memory as it was" do
    code =
      quote do
        singular = Mlx.eval(Mlx.zeros({32, 32}))

        Mlx.MemoryProbe.measure(500, 5_000, fn count ->
          for _ <- 1..count,
              do: Mlx.MemoryProbe.must_fail(fn -> Mlx.eval(Mlx.Linalg.invert(Mlx.add(singular, 0))) end)
        end)
      end

    assert_flat(code, "5,000 failing evaluations")
  end

  test "a hundred thousand calls of a compiled function, by 8 processes, leave memory as it was" do
    code =
      quote do
        x = Mlx.eval(Mlx.ones({64, 64}))
        step = Mlx.compile(fn x, y -> {Mlx.multiply(Mlx.add(x, y), 0.5), Mlx.sum(Mlx.sin(Mlx.multiply(x, y)))} end)

        call = fn y ->
          {y, _sum} = Mlx.eval(step.(x, y))
          y
        end

        Mlx.MemoryProbe.measure(8_000, 100_000, fn count ->
          1..8
          |> Enum.map(fn _ -> Task.async(fn -> Enum.reduce(1..div(count, 8), x, fn _, y -> call.(y) end) end) end)
          |> Task.await_many(:infinity)
        end)
      end

    assert_flat(code, "100,000 compiled calls")
  end

  test "ten thousand numbers given to a compiled function, by 4 processes, leave memory as it was" do
    code =
      quote do
        x = Mlx.eval(Mlx.ones({64, 64}))
        step = Mlx.compile(Mlx.grad(fn x, rate -> Mlx.sum(Mlx.multiply(Mlx.sin(x), Mlx.add(x, rate))) end))

        Mlx.MemoryProbe.measure(1_000, 10_000, fn count ->
          1..4
          |> Enum.map(fn _ ->
            Task.async(fn ->
              Enum.each(1..div(count, 4), fn _ -> Mlx.eval(step.(x, 1 / System.unique_integer([:positive]))) end)
            end)
          end)
          |> Task.await_many(:infinity)
        end)
      end

    assert_flat(code, "10,000 numbers")
  end

  test "ten thousand compiled functions, made and dropped, leave memory as it was" do
    code =
      quote do
        x = Mlx.eval(Mlx.ones({64, 64}))

        Mlx.MemoryProbe.measure(1_000, 10_000, fn count ->
          Enum.each(1..count, fn _ ->
            loss = fn x -> Mlx.sum(Mlx.sin(Mlx.multiply(x, x))) end
            Mlx.eval(Mlx.compile(Mlx.grad(loss)).(x))
          end)
        end)
      end

    assert_flat(code, "10,000 compiled functions")
  end

  test "processes killed in the middle of transforms leave memory as it was" do
    code =
      quote do
        shared = Mlx.compile(Mlx.grad(fn x, y -> Mlx.sum(Mlx.multiply(Mlx.sin(x), y)) end))

        transform = fn transform ->
          captured = Mlx.eval(Mlx.add(Mlx.ones({64, 64}), :rand.uniform()))
          loss = fn x -> Mlx.sum(Mlx.multiply(Mlx.sin(x), captured)) end
          Mlx.eval(Mlx.grad(loss).(captured))
          Mlx.eval(Mlx.compile(Mlx.value_and_grad(loss)).(captured))
          Mlx.eval(Mlx.vmap(Mlx.checkpoint(&Mlx.multiply(&1, Mlx.sum(captured)))).(captured))
          Mlx.eval(shared.(captured, captured))
          transform.(transform)
        end

        victims = fn _ ->
          {pid, monitor} = spawn_monitor(fn -> transform.(transform) end)
          deadline = System.monotonic_time(:microsecond) + :rand.uniform(4_000)
          Stream.repeatedly(&:erlang.yield/0) |> Enum.find(fn _ -> System.monotonic_time(:microsecond) > deadline end)
          Process.exit(pid, :kill)
          receive do: ({:DOWN, ^monitor, _, _, :killed} -> :ok)
        end

        Mlx.MemoryProbe.measure(500, 4_000, fn count ->
          1..count |> Task.async_stream(victims, max_concurrency: 4, timeout: :infinity) |> Stream.run()
        end)

        x = Mlx.array([0.0, 1.0])
        [1.0, _] = Mlx.to_list(shared.(x, Mlx.ones({2})))
      end

    assert_flat(code, "4,000 killed processes")
  end

  test "a graph of a million nodes is dropped without a stall, and its memory comes back" do
    code =
      quote do
        x = Mlx.eval(Mlx.ones({4}))

        build = fn ->
          spawn(fn -> Enum.reduce(1..1_000_000, x, fn _, acc -> Mlx.Native.add(acc, x, nil) end) end)
        end

        wait = fn pid ->
          ref = Process.monitor(pid)
          receive do: ({:DOWN, ^ref, _, _, _} -> :ok)
        end

        wait.(build.())
        Mlx.MemoryProbe.settle()
        before = Mlx.MemoryProbe.figures()

        # What the machine does to a busy virtual machine anyway.
        jitter = Mlx.MemoryProbe.start_jitter()
        wait.(spawn(fn -> Enum.reduce(1..2_000_000, 0, fn i, acc -> rem(acc + i, 7) end) end))
        Process.sleep(1_000)
        IO.puts("idle #{Mlx.MemoryProbe.stop_jitter(jitter)}")

        jitter = Mlx.MemoryProbe.start_jitter()
        wait.(build.())
        Process.sleep(1_000)
        IO.puts("jitter #{Mlx.MemoryProbe.stop_jitter(jitter)}")
        Mlx.MemoryProbe.settle()
        Mlx.MemoryProbe.report(before)
      end

    output = assert_flat(code, "a graph of 1,000,000 nodes, dropped")
    [idle, jitter] = for name <- ["idle", "jitter"], do: pause(output, name)
    IO.puts("longest pause of another process meanwhile: #{jitter} ms, and without MLX: #{idle} ms")
    assert jitter < 250 + 2 * idle
  end

  defp pause(output, name) do
    ~r/#{name} (\d+)/ |> Regex.run(output, capture: :all_but_first) |> hd() |> String.to_integer()
  end

  defp assert_flat(code, what) do
    assert {:exit, 0, output} = ChildVM.run(code, timeout: 400_000)
    assert [active, resident] = Regex.run(~r/active (-?\d+) resident (-?\d+)/, output, capture: :all_but_first)

    IO.puts(
      "\n#{what}: active memory #{active} bytes more, resident set #{div(String.to_integer(resident), @megabyte)} MB more"
    )

    assert abs(String.to_integer(active)) < @megabyte
    assert String.to_integer(resident) < 48 * @megabyte
    output
  end

  test "deallocation and collection give memory back at once" do
    array = Mlx.eval(Mlx.ones({1_000_000}))
    # A GPU lets go of what it computed with after it.
    Mlx.Stream.synchronize()
    held = Native.get_active_memory()
    assert held >= 4_000_000
    Mlx.deallocate(array)
    assert Native.get_active_memory() <= held - 4_000_000
  end
end
