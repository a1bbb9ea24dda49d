defmodule OpenblasTest do
  use ExUnit.Case, async: true

  alias Mlx.NativeBuild

  @moduletag :oracle

  @script Path.expand("oracle/blas.py", __DIR__)

  # An MLX that was given by MLX_DIR has another BLAS, and that of macOS is Apple's.
  @libraries "MLX_DIR" |> NativeBuild.fetch!() |> Path.dirname() |> Path.join("*.libs")
  @blas @libraries |> Path.join("libblas-*") |> Path.wildcard() |> List.first()

  if @blas == nil or Path.wildcard(Path.join(@libraries, "libscipy_openblas.so")) == [],
    do: @moduletag(skip: "the BLAS of this MLX is not made by setup/openblas.sh")

  defp blas(arguments) do
    arguments = ["-B", @script, @blas | Enum.map(arguments, &to_string/1)]
    System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), arguments, stderr_to_stdout: true)
  end

  test "every kind of product is the one of numpy, on several threads at a time" do
    assert blas(["products"]) == {"ok\n", 0}
  end

  test "a product that is soon done starts and wakes no thread" do
    assert blas(["threads", 64, 128, 784]) == {"0\n", 0}
    assert blas(["threads", 256, 256, 256]) == {"0\n", 0}
  end

  # On Neoverse V1 and V2 OpenBLAS has limits of its own.
  if :erlang.system_info(:system_architecture) |> to_string() |> String.starts_with?("x86_64") do
    test "a product of a matrix and a vector starts and wakes none either, when it is computed in pieces" do
      assert blas(["threads", 1, 2000, 900]) == {"0\n", 0}
    end
  end

  if System.schedulers_online() > 1 and System.get_env("OPENBLAS_NUM_THREADS") != "1" do
    test "a larger product takes all threads" do
      assert {count, 0} = blas(["threads", 1000, 1000, 1000])
      assert String.to_integer(String.trim(count)) > 0
    end
  end
end
