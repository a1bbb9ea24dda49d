defmodule Mlx.CompilationTest do
  # The kernels that MLX makes of compiled functions on a CPU.
  use ExUnit.Case, async: true

  alias Mlx.ChildVM

  @moduletag :tmp_dir
  @timeout 120_000

  # In a virtual machine whose kernels go to a folder of their own: MLX keeps them for the next one. On a machine with a
  # GPU the stream of the CPU makes them, too.
  defp compiled(environment) do
    code =
      quote do
        gelu = fn x -> Mlx.multiply(x, Mlx.multiply(0.5, Mlx.add(1, Mlx.erf(Mlx.divide(x, 1.41421356))))) end

        Mlx.Stream.with_current(Mlx.Stream.default(:cpu), fn ->
          IO.inspect(Mlx.to_list(Mlx.compile(gelu).(Mlx.iota({4}, type: :f32))))
        end)
      end

    assert {:exit, 0, output} = ChildVM.run(code, env: environment, timeout: @timeout)
    {values, _bindings} = Code.eval_string(output)
    values
  end

  defp kernels(folder), do: Path.wildcard(Path.join(folder, "mlx/**/lib*.so"))

  test "the operations of a compiled function are fused into a kernel", %{tmp_dir: folder} do
    values = compiled([{"TMPDIR", folder}])
    assert [kernel] = kernels(folder)
    assert kernel =~ "Erf"
    assert_close(values)
  end

  test "a machine without a C++ compiler computes the same without kernels", %{tmp_dir: folder} do
    missing = Path.join(folder, "g++")
    File.write!(missing, "#!/bin/sh\nexit 127\n")
    File.chmod!(missing, 0o755)
    values = compiled([{"TMPDIR", folder}, {"PATH", folder <> ":" <> System.fetch_env!("PATH")}])
    assert kernels(folder) == []
    assert_close(values)
  end

  defp assert_close(values) do
    for {value, x} <- Enum.with_index(values),
        do: assert_in_delta(value, x * 0.5 * (1 + :math.erf(x / :math.sqrt(2))), 1.0e-5)
  end
end
