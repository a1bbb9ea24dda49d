if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Compiler.ServingTest do
    # The memory of the whole virtual machine is measured.
    use ExUnit.Case, async: false

    import Nx.Defn

    @clients 32
    @processes 64

    # For a longer test: how long processes call one function, in seconds.
    @seconds "MLX_SERVING_SECONDS"

    defn layer(x, weights) do
      {x, _} =
        while {x, weights}, Nx.reduce_max(Nx.abs(x)) > 0.5 do
          {Nx.tanh(Nx.dot(x, weights)), weights}
        end

      if Nx.sum(x) > 0, do: Nx.sin(x), else: Nx.cos(x)
    end

    defn scores(x) do
      weights = Nx.iota({8, 8}, type: :f32) |> Nx.cos() |> Nx.multiply(0.25)
      Nx.concatenate([Nx.tanh(Nx.dot(x, weights)), Nx.sum(x, axes: [1], keep_axes: true)], axis: 1)
    end

    defp input(number), do: Nx.iota({8}, type: :f32) |> Nx.add(number) |> Nx.sin() |> Nx.backend_copy(Nx.BinaryBackend)

    defp expected(fun, arguments) do
      Nx.with_default_backend(Nx.BinaryBackend, fn ->
        Nx.Defn.jit_apply(fun, arguments, compiler: Nx.Defn.Evaluator)
      end)
    end

    defp assert_close(a, b) do
      [a, b] = for tensor <- [a, b], do: Nx.backend_copy(tensor, Nx.BinaryBackend)
      assert Nx.to_number(Nx.all_close(a, b, rtol: 1.0e-4, atol: 1.0e-5)) == 1, inspect({a, b})
    end

    test "serves batches of many clients at once, with the values of Nx.BinaryBackend" do
      serving = Nx.Serving.jit(&scores/1, compiler: Mlx)
      options = [name: __MODULE__, serving: serving, batch_size: 8, batch_timeout: 10]
      start_supervised!({Nx.Serving, options})
      inputs = for number <- 1..@clients, do: Nx.stack([input(number), input(-number)])

      inputs
      |> Task.async_stream(
        fn input ->
          results = for _ <- 1..10, do: Nx.Serving.batched_run(__MODULE__, Nx.Batch.concatenate([input]))
          {input, results}
        end,
        max_concurrency: @clients
      )
      |> Enum.each(fn {:ok, {input, results}} ->
        for result <- results, do: assert_close(result, expected(&scores/1, [input]))
      end)
    end

    @tag timeout: :infinity
    test "one function called by many processes, some of which are killed" do
      seconds = String.to_integer(System.get_env(@seconds, "4"))
      weights = Nx.iota({8, 8}, type: :f32) |> Nx.cos() |> Nx.multiply(0.25)
      fun = Nx.Defn.compile(&layer/2, [Nx.template({1, 8}, :f32), Nx.template({8, 8}, :f32)], compiler: Mlx)
      arguments = for number <- 1..@processes, do: [Nx.new_axis(input(number), 0), weights]
      cases = for arguments <- arguments, do: {arguments, expected(&layer/2, arguments)}
      supervisor = start_supervised!(Task.Supervisor)

      start = fn one ->
        {:ok, pid} = Task.Supervisor.start_child(supervisor, fn -> call_for_ever(fun, one) end)
        pid
      end

      before = memory_after(seconds * 500, cases, start)
      assert memory_after(seconds * 500, cases, start) <= before + 1_000_000
      {arguments, result} = hd(cases)
      assert_close(apply(fun, arguments), result)
    end

    defp call_for_ever(fun, {arguments, expected} = one) do
      assert_close(apply(fun, arguments), expected)
      call_for_ever(fun, one)
    end

    # The bytes of arrays that are left when processes have called, and were killed at random, for a time.
    defp memory_after(milliseconds, cases, start) do
      processes = Map.new(cases, fn one -> {start.(one), one} end)
      stop = System.monotonic_time(:millisecond) + milliseconds
      for {pid, _one} <- replace_until(stop, processes, start), do: kill(pid)
      for pid <- Process.list(), do: :erlang.garbage_collect(pid)
      # Threads that computed for those that were killed come to an end.
      Process.sleep(500)
      Mlx.Memory.active()
    end

    defp replace_until(stop, processes, start) do
      if System.monotonic_time(:millisecond) > stop do
        processes
      else
        Process.sleep(:rand.uniform(5))
        {pid, one} = Enum.random(processes)
        kill(pid)
        replace_until(stop, processes |> Map.delete(pid) |> Map.put(start.(one), one), start)
      end
    end

    defp kill(pid) do
      assert Process.alive?(pid), "a process that nobody killed has failed"
      Process.exit(pid, :kill)
    end
  end
end
