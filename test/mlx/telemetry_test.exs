defmodule Mlx.TelemetryTest do
  # Handlers, limits and the configuration are those of the whole virtual machine.
  use ExUnit.Case, async: false

  alias Mlx.{ChildVM, Telemetry, TelemetryEvents}

  doctest Telemetry

  @megabyte 1024 * 1024

  describe "with a handler" do
    setup do
      TelemetryEvents.receive_all()
    end

    defp assert_span(event, expected) do
      assert_received {[:mlx, ^event, :start], %{monotonic_time: _, system_time: _}, start}
      assert_received {[:mlx, ^event, :stop], %{duration: duration, monotonic_time: _}, stop}
      assert duration >= 0
      assert Map.take(start, Map.keys(expected)) == expected
      assert Map.take(stop, Map.keys(expected)) == expected
      refute_received {[:mlx, ^event, _stage], _, _}
    end

    test "an evaluation says how much is computed, where, and for which function" do
      arrays = %{a: Mlx.zeros({2, 3}), b: [Mlx.ones({4}, type: :u8), 5]}
      expected = %{arrays: 2, bytes: 28, device: Mlx.Device.default()}
      Mlx.eval(arrays)
      assert_span(:eval, Map.put(expected, :function, "Mlx.eval"))
      Mlx.async_eval(arrays)
      assert_span(:eval, Map.put(expected, :function, "Mlx.async_eval"))
      Mlx.with_device(:cpu, fn -> Mlx.eval(arrays) end)
      assert_span(:eval, %{device: :cpu})
    end

    test "a reading names the function that reads" do
      x = Mlx.array([[1.0, 2.0]])

      for {function, value} <- [
            to_list: [[1.0, 2.0]],
            to_flat_list: [1.0, 2.0],
            to_binary: <<1.0::32-native-float, 2.0::32-native-float>>
          ] do
        assert apply(Mlx, function, [x]) == value
        assert_span(:read, %{function: "Mlx.#{function}", arrays: 1, bytes: 8})
      end

      assert Mlx.to_number(Mlx.sum(x)) == 3.0
      assert_span(:read, %{function: "Mlx.to_number", arrays: 1, bytes: 4})
      assert inspect(x) =~ "1.0"
      assert_span(:read, %{function: "Mlx.to_binary", arrays: 1, bytes: 8})
      refute_received {[:mlx, :eval, _stage], _, _}
    end

    test "what fails ends with an exception, and raises what it raised" do
      singular = Mlx.Linalg.invert(Mlx.zeros({2, 2}))
      message = "Mlx.to_list: Mlx.Linalg.invert/2 was given a singular matrix, which has no inverse"
      assert_raise Mlx.Error, message, fn -> Mlx.to_list(singular) end
      assert_received {[:mlx, :read, :exception], %{duration: _}, metadata}
      assert %{kind: :error, reason: %Mlx.Error{}, stacktrace: [_ | _], function: "Mlx.to_list"} = metadata
      refute_received {[:mlx, :read, :stop], _, _}
    end

    test "a function is compiled once for each kind of arguments" do
      fun = &Mlx.exp/1
      compiled = Mlx.compile(fun)
      x = Mlx.zeros({3})
      compiled.(x)
      assert_span(:compile, %{function: "Mlx.compile", compiled: fun, arrays: 1, bytes: 12})
      compiled.(x)
      refute_received {[:mlx, :compile, _stage], _, _}
      compiled.(Mlx.zeros({2}))
      assert_span(:compile, %{bytes: 8})
      assert_raise Mlx.Error, fn -> Mlx.compile(&Mlx.to_number/1).(Mlx.array(1)) end
      assert_received {[:mlx, :compile, :exception], _, %{reason: %Mlx.Error{}}}
    end

    if Code.ensure_loaded?(Nx) do
      test "a definition of Nx is compiled once, and each call is an evaluation" do
        definition = &Nx.cos/1
        call = fn -> Nx.Defn.jit_apply(definition, [Nx.tensor([1.0, 2.0], backend: Mlx.Backend)], compiler: Mlx) end
        call.()
        assert_span(:compile, %{function: "Mlx.Compiler", compiled: definition, arrays: 1, bytes: 8})
        assert_span(:eval, %{function: "Mlx.Compiler", arrays: 1, bytes: 8})
        call.()
        assert_span(:eval, %{function: "Mlx.Compiler"})
        refute_received {[:mlx, :compile, _stage], _, _}
      end
    end

    test "limits that are set" do
      for {limit, set} <- [
            limit: &Mlx.Memory.set_limit/1,
            array_limit: &Mlx.Memory.set_array_limit/1,
            cache_limit: &Mlx.Memory.set_cache_limit/1,
            wired_limit: &Mlx.Memory.set_wired_limit/1
          ] do
        previous = Mlx.Memory.info()[limit]
        assert set.(previous) == previous
        assert_received {[:mlx, :memory, :limit], %{bytes: ^previous, previous: ^previous}, %{limit: ^limit}}
      end
    end

    test "the cache that is cleared" do
      Mlx.eval(Mlx.zeros({@megabyte}, type: :u8)) |> Mlx.deallocate()
      Mlx.Memory.clear_cache()
      assert_received {[:mlx, :memory, :clear_cache], %{freed: freed}, %{}}
      assert is_integer(freed)
    end

    test "a process that is collected because of the arrays that it made" do
      task = fn -> for _ <- 1..40, do: Mlx.eval(Mlx.zeros({@megabyte}, type: :u8)) end
      # The virtual machine itself sees no need to collect it.
      {_pid, monitor} = :erlang.spawn_opt(task, [:monitor, min_heap_size: 1_000_000])
      assert_receive {:DOWN, ^monitor, :process, _, :normal}, 60_000
      assert_received {[:mlx, :memory, :collect], %{freed: _, active: active, arrays: arrays}, %{}}
      assert active >= 0 and arrays >= 0
    end

    test "an evaluation that gets no memory" do
      message = "[malloc] Unable to allocate 16 bytes."
      Mlx.Values.Garbage.watch(fn -> if Process.put(:tried, true), do: :ok, else: raise(Mlx.Error, message) end)
      assert_received {[:mlx, :memory, :exhausted], %{freed: _, active: _, arrays: _}, %{reason: ^message}}
    end

    test "each event and no other is in the list" do
      assert Enum.uniq(Telemetry.events()) == Telemetry.events()
      {:docs_v1, _, _, _, %{"en" => text}, _, _} = Code.fetch_docs(Telemetry)
      documented = for [_, name] <- Regex.scan(~r/^\| `\[:mlx, ([^`]*)\]`/m, text), do: name
      spans = for name <- [:eval, :read, :compile], do: "#{inspect(name)}, ..."
      points = for [:mlx | name] <- Telemetry.events(), hd(name) in [:fallback, :memory, :training, :server], do: name
      assert documented == spans ++ Enum.map(points, &(&1 |> inspect() |> String.slice(1..-2//1)))
    end
  end

  @tag :tmp_dir
  test "operations that cannot be fused are told of by the next evaluation, once", %{tmp_dir: folder} do
    code =
      quote do
        Mlx.TelemetryEvents.load()
        Mlx.TelemetryEvents.start()
        Mlx.TelemetryEvents.attach(:fallbacks)
        compiled = Mlx.compile(fn x -> Mlx.cos(Mlx.sin(x)) end)
        x = Mlx.zeros({3})
        Mlx.with_device(:cpu, fn -> for(_ <- 1..3, do: Mlx.eval(compiled.(x))) end)
        {:messages, messages} = Process.info(self(), :messages)
        IO.inspect(for {[:mlx, :fallback], _, metadata} <- messages, do: metadata)
      end

    missing = Path.join(folder, "missing")
    assert {:exit, 0, output} = ChildVM.run(code, env: [{"TMPDIR", missing}])
    assert {[%{function: "Mlx.compile", device: :cpu, reason: reason}], []} = Code.eval_string(output)
    assert reason == "the folder for temporary files is missing (TMPDIR is #{missing})"
  end

  test "no events go out where the configuration says so" do
    Application.put_env(:mlx, :telemetry, false)

    on_exit(fn ->
      Application.delete_env(:mlx, :telemetry)
      TelemetryEvents.forget()
    end)

    TelemetryEvents.receive_all()
    assert Mlx.to_number(Mlx.eval(Mlx.array(1))) == 1
    refute Telemetry.on?()
    refute_received {_event, _measurements, _metadata}
  end

  test "without the library everything is computed all the same" do
    code =
      quote do
        for path <- :code.get_path(), to_string(path) =~ ~r"/telemetry[^/]*/ebin$", do: :code.del_path(path)
        false = Code.ensure_loaded?(:telemetry)
        Mlx.Memory.clear_cache()
        IO.inspect({Mlx.compile(&Mlx.exp/1).(Mlx.array(0.0)) |> Mlx.eval() |> Mlx.to_number(), Mlx.Telemetry.on?()})
      end

    assert {:exit, 0, "{1.0, false}\n"} = ChildVM.run(code)
  end

  test "while the application has not been started, it may still be" do
    code =
      quote do
        Mlx.TelemetryEvents.load()
        Application.stop(:telemetry)
        false = Mlx.Telemetry.on?()
        {:ok, _} = Application.ensure_all_started(:telemetry)
        true = Mlx.Telemetry.on?()
      end

    assert {:exit, 0, ""} = ChildVM.run(code)
  end
end
