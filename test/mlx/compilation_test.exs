defmodule Mlx.CompilationTest do
  # The kernels that MLX makes of compiled functions on a CPU.
  use ExUnit.Case, async: true

  alias Mlx.ChildVM

  @moduletag :tmp_dir
  @timeout 120_000

  # What the code returns in a virtual machine whose kernels go to a folder of their own: MLX keeps them for the next one.
  # On a machine with a GPU the stream of the CPU makes them, too.
  defp evaluate(environment, code) do
    code = quote do: Mlx.Stream.with_current(Mlx.Stream.default(:cpu), fn -> IO.inspect(unquote(code)) end)
    assert {:exit, 0, output} = ChildVM.run(code, env: environment, timeout: @timeout)
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

  test "the operations of a compiled function are fused into a kernel", %{tmp_dir: folder} do
    assert_gelu(evaluate([{"TMPDIR", folder}], gelu()))
    assert [kernel] = kernels(folder)
    assert kernel =~ "Erf"
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

  describe "computes the same without kernels" do
    test "where there is no C++ compiler", %{tmp_dir: folder} do
      assert_gelu(evaluate(with_compiler(folder, "exit 127"), gelu()))
      assert kernels(folder) == []
    end
  end
end
