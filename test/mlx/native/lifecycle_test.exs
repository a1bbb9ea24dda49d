defmodule Mlx.Native.LifecycleTest do
  # The beginning and end of a virtual machine, and new versions of the module within its life.
  use ExUnit.Case, async: true

  alias Mlx.{ChildVM, NativeBuild, PreloadedLibrary}

  @moduletag timeout: 300_000

  # A start takes a second on an idle machine; an end that hangs takes for ever.
  @timeout 60_000

  # Code that prints what each of `calls` raises.
  defp print_errors_of_calls do
    quote do
      for call <- calls do
        try do
          call.()
        rescue
          error in Mlx.Error -> IO.puts(error.message)
        end
      end
    end
  end

  test "an array that stays lazy may be joined with any number of graphs that are evaluated" do
    code =
      quote do
        lazy = Mlx.add(1, 2)

        for number <- 1..30_000 do
          term = Mlx.add(number, 1)
          Mlx.add(lazy, term)
          Mlx.eval(term)
        end

        Mlx.deallocate(lazy)
        IO.puts("alive")
      end

    assert {:exit, 0, "alive\n"} = ChildVM.run(code, timeout: @timeout)
  end

  @tag :tmp_dir
  test "a first call that raises late, from a dirty scheduler, does no harm", %{tmp_dir: folder} do
    file = Path.join(folder, "hosts.json")
    File.write!(file, ~s([["127.0.0.1:1"], ["127.0.0.1:2"]]))

    code =
      quote do
        try do
          apply(Module.concat(["Mlx.Native"]), :distributed_init, [false, "ring", 150])
        rescue
          _ -> :ok
        end
      end

    # With many schedulers it takes longer until all of them know the functions, which is what this is about.
    env = [{"MLX_HOSTFILE", file}, {"MLX_RANK", "0"}, {"ERL_FLAGS", "+S 24:24"}]

    1..12
    |> Task.async_stream(fn _ -> ChildVM.run(code, env: env, timeout: @timeout) end,
      max_concurrency: 4,
      timeout: :infinity
    )
    |> Enum.each(fn {:ok, outcome} -> assert {:exit, 0, _} = outcome end)
  end

  @tag :tmp_dir
  test "a machine that MLX cannot be used on says so in every call", %{tmp_dir: folder} do
    library = PreloadedLibrary.compile!("no_metal.cpp", folder)

    code =
      quote do
        calls = [fn -> Mlx.add(1, 2) end, fn -> Mlx.Memory.active() end, fn -> Mlx.Device.count(:gpu) end]
        unquote(print_errors_of_calls())
      end

    assert {:exit, 0, output} = ChildVM.run(code, env: [{"LD_PRELOAD", library}], timeout: @timeout)
    message = "MLX cannot be used on this machine: [metal::load_device] No Metal device available."

    for function <- ["Mlx.add", "Mlx.Memory.active", "Mlx.Device.count"] do
      assert output =~ "#{function}: #{message}"
    end
  end

  describe "a library that does not load" do
    @describetag :tmp_dir

    # What the functions say in a virtual machine whose application mlx is in the folder, with these files in `priv`.
    defp messages(folder, files) do
      priv = application(folder)
      for {name, content} <- files, do: File.write!(Path.join(priv, name), content)

      code =
        quote do
          true = :code.add_patha(unquote(~c"#{folder}/mlx/ebin"))
          # Elixir loads a module that it finds in code.
          version = fn -> apply(Module.concat(["Mlx.Native"]), :version, []) end
          others = [fn -> Mlx.add(1, 2) end, fn -> Mlx.Memory.active() end, fn -> Mlx.Random.key(1) end]
          calls = [fn -> Mlx.array([1]) end, version | others]
          unquote(print_errors_of_calls())
        end

      assert {:exit, 0, output} = ChildVM.run(code, timeout: @timeout)
      messages = String.split(output, "\n", trim: true)
      assert length(messages) == 5
      Enum.uniq(messages)
    end

    defp application(folder) do
      priv = Path.join(folder, "mlx/priv")
      File.mkdir_p!(priv)
      File.ln_s!(Mix.Project.compile_path(), Path.join(folder, "mlx/ebin"))
      priv
    end

    test "as it is not there: every call says where it was looked for", %{tmp_dir: folder} do
      assert messages(folder, []) == [
               "MLX cannot be used: the native library is not at #{folder}/mlx/priv/mlx_nif.so; " <>
                 "`mix compile --force` builds it"
             ]
    end

    test "as it is none: every call says what the system says", %{tmp_dir: folder} do
      assert ["MLX cannot be used: Failed to load NIF library" <> reason] = messages(folder, %{"mlx_nif.so" => "text"})
      assert reason =~ "#{folder}/mlx/priv/mlx_nif"
    end

    # The folder where it looks for MLX is replaced by one with a name of the same length. A Mac's library is signed.
    if :os.type() == {:unix, :linux} do
      test "as MLX is gone: every call says where MLX was", %{tmp_dir: folder} do
        mlx = Path.join(NativeBuild.fetch!("MLX_DIR"), "lib")
        gone = "/" <> String.duplicate("x", byte_size(mlx) - 1)
        library = Mix.Project.app_path() |> Path.join("priv/mlx_nif.so") |> File.read!() |> String.replace(mlx, gone)

        assert [message] = messages(folder, %{"mlx_nif.so" => library, "libmlx_folder" => gone})
        assert message =~ "libmlx.so: cannot open shared object file"
        assert message =~ "(when the native library was built, MLX was in #{gone}; `bin/setup`"
      end
    end

    test "as its module lacks functions: it stays in memory, and the virtual machine ends as it should" do
      library = Path.join(Mix.Project.app_path(), "priv/mlx_nif")

      code =
        quote do
          defmodule Module.concat(["Mlx.Native"]) do
            @on_load :load
            defp load do
              {:error, {:bad_lib, text}} = :erlang.load_nif(unquote(to_charlist(library)), true)
              IO.puts(text)
            end
          end

          maps = File.read("/proc/self/maps")
          IO.puts(maps == {:error, :enoent} or elem(maps, 1) =~ "mlx_nif.so")
        end

      assert {:exit, 0, output} = ChildVM.run(code, timeout: @timeout)
      assert output =~ "Function not found 'Elixir.Mlx.Native':"
      assert output =~ "\ntrue\n"
    end

    test "leaves the version that is in use", %{tmp_dir: folder} do
      application(folder)

      code =
        quote do
          3 = 1 |> Mlx.add(2) |> Mlx.to_number()
          true = :code.add_patha(unquote(~c"#{folder}/mlx/ebin"))
          IO.inspect(:code.load_file(Mlx.Native))
          IO.inspect(1 |> Mlx.add(2) |> Mlx.to_number())
        end

      assert {:exit, 0, output} = ChildVM.run(code, timeout: @timeout)
      assert output =~ "{:error, :on_load_failure}"
      assert output =~ "the native library is not at #{folder}"
      assert output =~ ~r/^3$/m
    end

    test "is the first that mix mlx.doctor finds wrong, once", %{tmp_dir: folder} do
      application(folder)

      code =
        quote do
          true = :code.add_patha(unquote(~c"#{folder}/mlx/ebin"))
          Mix.start()
          Mix.Tasks.Mlx.Doctor.run([])
        end

      assert {:exit, 1, output} = ChildVM.run(code, timeout: @timeout)

      assert [["wrong  native library  " <> line], ["wrong  files of MLX " <> _] | _] =
               Regex.scan(~r/^wrong .*/m, output)

      assert output |> String.split("MLX cannot be used") |> length() == 2
      assert line =~ "MLX cannot be used: the native library is not at #{folder}/mlx/priv/mlx_nif.so"
      assert output =~ "`mix compile --force` builds it"
    end
  end

  describe "a virtual machine ends" do
    test "normally, right after loading" do
      assert {:exit, 0, _} = ChildVM.run(quote(do: Mlx.Native.version()), timeout: @timeout)
    end

    test "normally, after work" do
      assert {:exit, 0, "6\n"} =
               ChildVM.run(quote(do: IO.puts(Mlx.to_number(Mlx.sum(Mlx.array([1, 2, 3]))))), timeout: @timeout)
    end

    test "by System.halt/1 with its status" do
      for status <- [0, 3] do
        code =
          quote do
            Mlx.eval(Mlx.add(1, 2))
            System.halt(unquote(status))
          end

        assert {:exit, ^status, _} = ChildVM.run(code, timeout: @timeout)
      end
    end

    test "by System.stop/1 with its status" do
      code =
        quote do
          Mlx.eval(Mlx.add(1, 2))
          System.stop(4)
          Process.sleep(:infinity)
        end

      assert {:exit, 4, _} = ChildVM.run(code, timeout: @timeout)
    end

    test "with arrays that were never evaluated, and streams of its own" do
      code =
        quote do
          stream = Mlx.Stream.new(:cpu)
          arrays = for _ <- 1..100, do: Mlx.add(Mlx.zeros({100}), 1, stream: stream)
          :persistent_term.put(:arrays, arrays)
          System.halt(0)
        end

      assert {:exit, 0, _} = ChildVM.run(code, timeout: @timeout)
    end

    test "while other processes evaluate" do
      for stop <- [quote(do: System.halt(5)), quote(do: System.stop(5))] do
        code =
          quote do
            busy = fn busy ->
              x = Mlx.Random.normal({200, 200}, key: Mlx.Random.key(1))
              Enum.reduce(1..20, x, fn _, y -> Mlx.tanh(Mlx.matmul(x, y)) end) |> Mlx.eval()
              Mlx.async_eval(Mlx.matmul(x, x))
              busy.(busy)
            end

            for _ <- 1..8, do: spawn(fn -> busy.(busy) end)
            Process.sleep(500)
            unquote(stop)
            Process.sleep(:infinity)
          end

        assert {:exit, 5, _} = ChildVM.run(code, timeout: @timeout)
      end
    end

    test "while arrays are collected" do
      code =
        quote do
          collect = fn collect ->
            spawn(fn -> for _ <- 1..200, do: Mlx.add(Mlx.ones({50}), 1) end)
            collect.(collect)
          end

          spawn(fn -> collect.(collect) end)
          Process.sleep(300)
          System.halt(6)
        end

      assert {:exit, 6, _} = ChildVM.run(code, timeout: @timeout)
    end

    test "with what it printed, and while something long is computed" do
      code =
        quote do
          x = Mlx.Random.normal({2000, 2000}, key: Mlx.Random.key(1))
          Mlx.async_eval(Enum.reduce(1..10, x, fn _, y -> Mlx.tanh(Mlx.matmul(x, y)) end))
          IO.puts("printed")
          System.halt(7)
        end

      assert {:exit, 7, "printed\n"} = ChildVM.run(code, timeout: @timeout)
    end
  end

  describe "what the library does to its host" do
    # Buffers of 4 MiB, which MLX has freed: glibc keeps them below the threshold, and unmaps them by itself.
    @tag skip: not match?({:unix, :linux}, :os.type()) && "the thresholds are those of glibc"
    test "is a threshold of glibc, unless the configuration leaves it out" do
      [kept, returned] =
        for thresholds <- [true, false] do
          code =
            quote do
              Application.put_env(:mlx, :malloc_thresholds, unquote(thresholds))

              resident = fn ->
                [_, kilobytes] = Regex.run(~r/VmRSS:\s+(\d+)/, File.read!("/proc/self/status"))
                String.to_integer(kilobytes) / 1024
              end

              arrays = for number <- 1..8, do: Mlx.add(Mlx.ones({1024, 1024}), number)
              Mlx.eval(arrays)
              before = resident.()
              Enum.each(arrays, &Mlx.deallocate/1)
              Mlx.Memory.clear_cache()
              IO.puts(round(before - resident.()))
            end

          assert {:exit, 0, output} = ChildVM.run(code, timeout: @timeout)
          output |> String.trim() |> String.to_integer()
        end

      assert kept < 16
      assert returned > 24
    end

    test "is left out for true and false only" do
      code =
        quote do
          Application.put_env(:mlx, :malloc_thresholds, :never)

          try do
            Mlx.add(1, 2)
          rescue
            error in Mlx.Error -> IO.puts(error.message)
          end
        end

      assert {:exit, 0, output} = ChildVM.run(code, timeout: @timeout)
      assert output =~ "MLX cannot be used: config :mlx has malloc_thresholds: :never, expected true or false"
    end
  end

  describe "a new version of the module" do
    test "takes over arrays, streams and evaluation" do
      code =
        quote do
          stream = Mlx.Stream.new(:cpu)
          value = Mlx.array([1, 2, 3])
          lazy = Mlx.add(value, 1, stream: stream)

          totals =
            for _round <- 1..5 do
              {:module, Mlx.Native} = :code.load_file(Mlx.Native)
              total = value |> Mlx.add(lazy, stream: stream) |> Mlx.sum() |> Mlx.to_number()
              true = :code.soft_purge(Mlx.Native)
              :erlang.garbage_collect()
              ^total = value |> Mlx.add(lazy) |> Mlx.sum() |> Mlx.to_number()
              total
            end

          IO.inspect(totals)
          binary = Mlx.to_binary(Mlx.zeros({100_000}))
          {:module, Mlx.Native} = :code.load_file(Mlx.Native)
          :code.purge(Mlx.Native)
          IO.inspect(binary == :binary.copy(<<0>>, 400_000))
        end

      assert {:exit, 0, "[15, 15, 15, 15, 15]\ntrue\n"} = ChildVM.run(code, timeout: @timeout)
    end

    test "is loaded while processes use the old one" do
      code =
        quote do
          parent = self()

          work = fn ->
            for i <- 1..500 do
              ^i = Mlx.zeros({i}, type: :s32) |> Mlx.add(1) |> Mlx.sum() |> Mlx.to_number()
            end

            send(parent, :done)
          end

          for _ <- 1..8, do: spawn_link(work)

          # Not while a process is inside of it.
          purge = fn purge ->
            Process.sleep(20)
            :code.soft_purge(Mlx.Native) || purge.(purge)
          end

          for _ <- 1..10 do
            {:module, Mlx.Native} = :code.load_file(Mlx.Native)
            purge.(purge)
          end

          for _ <- 1..8 do
            receive do: (:done -> :ok)
          end

          IO.puts("done")
        end

      assert {:exit, 0, "done\n"} = ChildVM.run(code, timeout: @timeout)
    end

    test "may follow the end of the old one, whose arrays it does not know" do
      code =
        quote do
          old = Mlx.array([1, 2])
          lazy = Mlx.add(old, 1)
          # The current version becomes an old one, and that goes.
          true = :code.delete(Mlx.Native)
          :code.purge(Mlx.Native)
          IO.inspect(Mlx.to_list(Mlx.add(Mlx.array([1, 2]), 1)))

          try do
            Mlx.add(old, lazy)
          rescue
            error in ArgumentError -> IO.puts(error.__struct__)
          end
        end

      assert {:exit, 0, "[2, 3]\nElixir.ArgumentError\n"} = ChildVM.run(code, timeout: @timeout)
    end
  end
end
