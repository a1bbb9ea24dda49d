defmodule Mlx.Transforms.CompilationTest do
  # The kernels that MLX makes of compiled functions on a CPU.
  use ExUnit.Case, async: true

  alias Mlx.ChildVM

  @moduletag :tmp_dir
  @timeout 120_000

  # What the code returns in a virtual machine whose kernels go to a folder of their own: MLX keeps them for the next one.
  # On a machine with a GPU the stream of the CPU makes them, too.
  defp evaluate(environment, code, options \\ []) do
    code =
      quote do
        # Its lines would stand among those of the value.
        :logger.remove_handler(:default)
        Mlx.Stream.with_current(Mlx.Stream.default(:cpu), fn -> IO.inspect(unquote(code), limit: :infinity) end)
      end

    assert {:exit, 0, output} = ChildVM.run(code, [env: environment, timeout: @timeout] ++ options)
    {value, _bindings} = Code.eval_string(output)
    value
  end

  defp gelu do
    quote do
      gelu = fn x -> Mlx.multiply(x, Mlx.multiply(0.5, Mlx.add(1, Mlx.erf(Mlx.divide(x, 1.41421356))))) end
      Mlx.to_list(Mlx.compile(gelu).(Mlx.iota({4}, type: :f32)))
    end
  end

  defp assert_gelu(values) do
    for {value, x} <- Enum.with_index(values),
        do: assert_in_delta(value, x * 0.5 * (1 + :math.erf(x / :math.sqrt(2))), 1.0e-5)
  end

  defp kernels(folder), do: Path.wildcard(Path.join(folder, "mlx/**/lib*.so"))

  # A machine on which "g++" is this script.
  defp with_compiler(folder, script) do
    path = Path.join(folder, "bin")
    File.mkdir_p!(path)
    File.write!(Path.join(path, "g++"), "#!/bin/sh\n" <> script)
    File.chmod!(Path.join(path, "g++"), 0o755)
    [{"TMPDIR", folder}, {"PATH", path <> ":" <> System.fetch_env!("PATH")}]
  end

  @found_but_fails ~S"""
  test "$1" = --version && exit 0
  exit 1
  """

  test "the operations of a compiled function are fused into a kernel", %{tmp_dir: folder} do
    assert_gelu(evaluate([{"TMPDIR", folder}], gelu()))
    assert [kernel] = kernels(folder)
    assert kernel =~ "Erf"
  end

  test "a kernel has zeros of both signs", %{tmp_dir: folder} do
    values =
      evaluate(
        [{"TMPDIR", folder}],
        quote do
          for type <- [:f32, :f16, :bf16, :f64], zero <- [0.0, -0.0] do
            fun = Mlx.compile(&Mlx.divide(Mlx.multiply(&1, 2), Mlx.array(zero, type: type)))
            Mlx.to_list(fun.(Mlx.array([1.0, -1.0], type: type)))
          end
        end
      )

    assert kernels(folder) != []
    of_types = for _type <- 1..4, do: [[:infinity, :neg_infinity], [:neg_infinity, :infinity]]
    assert values == Enum.concat(of_types)
  end

  test "numbers that change share a kernel, also inside of other transforms", %{tmp_dir: folder} do
    {compiled, plain} =
      evaluate(
        [{"TMPDIR", folder}],
        quote do
          step = fn w, rate, decay ->
            loss = fn w -> Mlx.sum(Mlx.add(Mlx.square(Mlx.subtract(w, 1.0)), Mlx.multiply(Mlx.square(w), decay))) end
            Mlx.subtract(w, Mlx.multiply(rate, Mlx.grad(loss).(w)))
          end

          for step <- [Mlx.compile(step), step] do
            Mlx.to_list(Enum.reduce(1..20, Mlx.full({3}, 5.0), &step.(&2, 0.1 / &1, 0.01 * rem(&1, 7))))
          end
          |> List.to_tuple()
        end
      )

    for {a, b} <- Enum.zip(compiled, plain), do: assert_in_delta(a, b, 1.0e-5)
    # The first, and that which later numbers are inputs of.
    assert length(kernels(folder)) == 2
  end

  # Fuses its operations into a kernel for each of three types, and for arrays that are not stored alike.
  defp many_kernels do
    quote do
      fun = Mlx.compile(fn pairs -> for {x, y} <- pairs, do: Mlx.add(Mlx.multiply(Mlx.sin(x), 2), Mlx.exp(y)) end)
      pairs = for type <- [:f32, :f16, :bf16], x = Mlx.iota({4, 4, 2}, type: type), do: {x, Mlx.divide(x, 8)}
      {x, _} = hd(pairs)
      pairs = [{x, Mlx.transpose(Mlx.divide(x, 8), axes: [1, 0, 2])} | pairs]
      results = fn -> pairs |> fun.() |> Mlx.eval() |> Enum.map(&Mlx.to_flat_list/1) end
    end
  end

  @slow ~s(test "$1" = --version || sleep 1; exec #{System.find_executable("g++")} "$@")

  defp wait_for_kernels do
    quote do
      wait = fn wait -> if Mlx.Native.open_kernels() > 0, do: Process.sleep(50) && wait.(wait) end
      wait.(wait)
    end
  end

  test "no kernel is made for a function that is gone", %{tmp_dir: folder} do
    values =
      evaluate(
        with_compiler(folder, @slow),
        quote do
          call = fn number ->
            fun = Mlx.compile(&Enum.reduce(1..number, &1, fn _, x -> Mlx.add(Mlx.multiply(x, 2), 1) end))
            Mlx.to_number(fun.(Mlx.array([1.0]))[0])
          end

          values = for number <- 1..20, do: Task.await(Task.async(fn -> call.(number) end))
          unquote(wait_for_kernels())
          values
        end,
        kernels: :background
      )

    assert values == for(number <- 1..20, do: 2.0 ** (number + 1) - 1)
    assert length(kernels(folder)) in 1..5
  end

  test "kernels are made in the background, and functions computed without them until then", %{tmp_dir: folder} do
    {{first, meanwhile, last, open}, log} =
      evaluate(
        with_compiler(folder, @slow),
        quote do
          {:ok, _started} = Application.ensure_all_started([:mlx, :ex_unit])

          ExUnit.CaptureLog.with_log(fn ->
            unquote(many_kernels())
            first = results.()
            # Others compute, and the same function.
            meanwhile = {Mlx.Native.open_kernels(), Mlx.to_number(Mlx.add(1, 2)), results.()}
            unquote(wait_for_kernels())
            {first, meanwhile, results.(), Mlx.Native.open_kernels()}
          end)
        end,
        kernels: :background
      )

    assert log =~ ~r/\[info\] Mlx makes [1-4] more kernels for compiled functions, in the background/
    assert {waiting, 3, ^first} = meanwhile
    assert waiting >= 1
    assert open == 0
    for {a, b} <- Enum.zip(List.flatten(first), List.flatten(last)), do: assert_in_delta(a, b, 1.0e-2 * max(abs(a), 1))
    assert length(kernels(folder)) == 4
  end

  test "where no kernels are wanted, none are made", %{tmp_dir: folder} do
    code =
      quote do
        unquote(many_kernels())
        results.()
      end

    evaluate([{"TMPDIR", folder}], code, kernels: :never)
    assert kernels(folder) == []
  end

  # Linux tells which signals a process ignores.
  if File.exists?("/proc/self/status") do
    test "the signal of children that end is let through for the compiler, and left alone without kernels" do
      code =
        quote do
          ignored = fn -> Regex.run(~r/SigIgn:\s*\w+/, File.read!("/proc/self/status")) end
          before = ignored.()
          unquote(gelu())
          before == ignored.()
        end

      assert evaluate([], code, kernels: :never)
      refute evaluate([], code, kernels: :background)
    end
  end

  describe "computes the same without kernels" do
    test "where there is no C++ compiler", %{tmp_dir: folder} do
      assert_gelu(evaluate(with_compiler(folder, "exit 127"), gelu()))
      assert kernels(folder) == []
    end

    test "where the compiler fails", %{tmp_dir: folder} do
      assert_gelu(evaluate(with_compiler(folder, @found_but_fails), gelu()))
    end

    test "where the folder for temporary files is missing", %{tmp_dir: folder} do
      assert_gelu(evaluate([{"TMPDIR", Path.join(folder, "missing")}], gelu()))
    end

    test "where the folder for kernels cannot be made", %{tmp_dir: folder} do
      File.write!(Path.join(folder, "mlx"), "a file")
      assert_gelu(evaluate([{"TMPDIR", folder}], gelu()))
    end

    test "where the folder is removed meanwhile", %{tmp_dir: folder} do
      folder = Path.join(folder, "removed")
      File.mkdir!(folder)

      values =
        evaluate(
          [{"TMPDIR", folder}],
          quote do
            first = fn x -> Mlx.add(Mlx.multiply(x, 2), 1) end
            compiled = Mlx.compile(first)
            x = Mlx.iota({2, 3}, type: :f32)
            Mlx.eval(compiled.(x))
            File.rm_rf!(unquote(folder))
            # A kernel that is loaded, one for arrays that are stored in another way, and one of another function.
            for fun <- [compiled, &compiled.(Mlx.transpose(&1)), Mlx.compile(&Mlx.subtract(first.(&1), &1))],
                do: Mlx.to_list(fun.(x))
          end
        )

      assert values == [
               [[1.0, 3.0, 5.0], [7.0, 9.0, 11.0]],
               [[1.0, 7.0], [3.0, 9.0], [5.0, 11.0]],
               [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
             ]
    end

    test "where a full disk keeps the compiler from writing all of one, which is made anew later", %{tmp_dir: folder} do
      writes_half = ~S"""
      test "$1" = --version && exit 0
      while test "$1" != -o; do shift; done
      echo half > "$2"
      exit 1
      """

      assert_gelu(evaluate(with_compiler(folder, writes_half), gelu()))
      assert kernels(folder) == []
      assert_gelu(evaluate([{"TMPDIR", folder}], gelu()))
      assert [kernel] = kernels(folder)
      File.write!(kernel, "half")
      assert_gelu(evaluate([{"TMPDIR", folder}], gelu()))
      assert_gelu(evaluate([{"TMPDIR", folder}], gelu()))
      assert [kernel] = kernels(folder)
      assert File.stat!(kernel).size > 1000
    end

    # As plain operations do: of several results, of arrays that are repeated or stored in other ways, and of all types.
    test "of every kind of fused operations", %{tmp_dir: folder} do
      differences =
        evaluate(
          with_compiler(folder, @found_but_fails),
          quote do
            row = Mlx.subtract(Mlx.iota({1, 4}, type: :f32), 1.5)
            column = Mlx.add(Mlx.iota({3, 1}, type: :f32), 0.5)
            integers = Mlx.transpose(Mlx.iota({4, 3}, type: :s32))

            functions = [
              fn a, b, _n -> {Mlx.multiply(Mlx.exp(a), Mlx.log(b)), Mlx.sin(a), Mlx.sum(Mlx.cos(b))} end,
              fn a, b, _n -> Mlx.select(Mlx.greater(a, b), Mlx.multiply(a, b), Mlx.negate(b)) end,
              fn a, _b, n ->
                {Mlx.add(Mlx.as_type(n, :f32), Mlx.multiply(a, 2.0)), Mlx.bitwise_and(Mlx.add(n, 1), 3)}
              end,
              fn a, b, n -> Mlx.logical_and(Mlx.logical_not(Mlx.less(a, b)), Mlx.less(n, 5)) end,
              fn a, _b, _n ->
                Mlx.round(Mlx.max(Mlx.multiply(Mlx.as_type(a, :f16), 1.5), Mlx.as_type(a, :bf16)))
              end,
              fn a, b, _n -> Mlx.multiply(Mlx.add(Mlx.sum(a), 1), Mlx.sum(b)) end,
              fn a, _b, _n -> Mlx.add(Mlx.multiply(Mlx.slice(a, [0, 0], [0, 4]), 2), 1) end,
              fn _a, b, _n -> Mlx.broadcast(Mlx.add(Mlx.multiply(b, 2), 1), {2, 3, 4}) end
            ]

            lists = fn results ->
              for array <- Mlx.Tree.arrays(results), do: {array.type, array.shape, Mlx.to_binary(array)}
            end

            for {function, index} <- Enum.with_index(functions), shapeless <- [false, true] do
              compiled = Mlx.compile(function, shapeless: shapeless)

              if lists.(compiled.(row, column, integers)) != lists.(function.(row, column, integers)),
                do: {index, shapeless}
            end
            |> Enum.reject(&is_nil/1)
          end
        )

      assert differences == []
    end
  end
end
