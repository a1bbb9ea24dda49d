defmodule ConformanceTest do
  # The program that runs MLX's tests has to notice every way in which a test can fail.
  use ExUnit.Case, async: true

  @moduletag :oracle
  @moduletag :tmp_dir

  @runner Path.expand("../conformance/python/runner/conformance.py", __DIR__)

  defp run(folder, source, lists \\ [], arguments \\ []) do
    File.write!(
      Path.join(folder, "test_sample.py"),
      "import os, time, unittest\n\nclass TestSample(unittest.TestCase):\n" <> source
    )

    options = Enum.flat_map([:not_applicable, :requirements], &["--#{kebab(&1)}", write(folder, &1, lists[&1] || [])])
    arguments = [@runner, folder, "--timeout", "5"] ++ options ++ arguments

    {output, status} =
      System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), arguments ++ ["test_sample.py"],
        env: [{"CI", "true"}],
        stderr_to_stdout: true
      )

    [_header, file, total | _rest] = String.split(output, "\n")
    assert String.split(file) == ["test_sample.py" | tl(String.split(total))]
    {status, total |> String.split() |> tl() |> Enum.map(&String.to_integer/1), output}
  end

  defp write(folder, name, rows) do
    path = Path.join(folder, "#{name}.tsv")
    File.write!(path, for({test, text} <- [{"test", "text"} | rows], do: "#{test}\t#{text}\n"))
    path
  end

  defp kebab(name), do: name |> Atom.to_string() |> String.replace("_", "-")

  @passing "    def test_a(self):\n        self.assertEqual(1 + 1, 2)\n"
  @failing "    def test_b(self):\n        self.assertEqual(1 + 1, 3)\n"

  test "passes when all tests do", %{tmp_dir: folder} do
    assert {0, [1, 0, 0, 0], _} = run(folder, @passing)
  end

  test "fails with a test, and says how to repeat it", %{tmp_dir: folder} do
    assert {1, [1, 1, 0, 0], output} = run(folder, @passing <> @failing)
    assert output =~ "bin/conformance test_sample.TestSample.test_b\n  AssertionError: 2 != 3"
  end

  test "fails with a part of a test", %{tmp_dir: folder} do
    source =
      "    def test_a(self):\n        for i in 1, 2:\n            with self.subTest(i=i):\n                self.assertEqual(i, 2)\n"

    assert {1, [0, 1, 0, 0], _} = run(folder, source)
  end

  test "shows the whole error of a test that is named", %{tmp_dir: folder} do
    assert {1, [0, 1, 0, 0], output} = run(folder, @passing <> @failing, [], ["test_sample.TestSample.test_b"])
    assert output =~ "Traceback"
  end

  test "goes on after a test that ends the process", %{tmp_dir: folder} do
    assert {1, [1, 1, 0, 0], output} = run(folder, "    def test_0(self):\n        os._exit(3)\n" <> @passing)
    assert output =~ "test_sample.TestSample.test_0"
  end

  test "goes on after a test that takes too long", %{tmp_dir: folder} do
    assert {1, [1, 1, 0, 0], output} = run(folder, "    def test_0(self):\n        time.sleep(100)\n" <> @passing)
    assert output =~ "took more than 5 s"
  end

  @skipping "    @unittest.skip('no GPU')\n" <> @failing

  test "leaves out what cannot apply", %{tmp_dir: folder} do
    lists = [not_applicable: [{"test_sample.TestSample.test_b", "Python's own"}]]
    assert {0, [1, 0, 0, 1], _} = run(folder, @passing <> @failing, lists)
  end

  test "runs what needs something, and says when it is missing", %{tmp_dir: folder} do
    lists = [requirements: [{"test_sample.TestSample.test_b", "a GPU"}]]
    assert {0, [1, 0, 1, 0], output} = run(folder, @passing <> @skipping, lists)
    assert output =~ "missing on this machine: a GPU (1)"
    assert {1, [1, 1, 0, 0], _} = run(folder, @passing <> @failing, lists)
  end

  test "fails with a test that skips itself and needs nothing", %{tmp_dir: folder} do
    assert {1, [1, 1, 0, 0], output} = run(folder, @passing <> @skipping)
    assert output =~ "skips itself (no GPU)"
  end

  test "fails when a list names a test that does not exist", %{tmp_dir: folder} do
    for list <- [:not_applicable, :requirements] do
      assert {1, [1, 0, 0, 0], output} = run(folder, @passing, [{list, [{"test_sample.TestSample.test_z", "gone"}]}])
      assert output =~ "there is no test test_sample.TestSample.test_z"
    end
  end

  test "has packages of its own in the place of those of Python's MLX that compute, of which the core alone is native" do
    source = """
    import importlib.machinery, importlib.util, pathlib
    import mlx
    ours, installed = map(pathlib.Path, mlx.__path__)
    packages = "mlx.core", "mlx.nn", "mlx.optimizers"
    print(all(pathlib.Path(importlib.util.find_spec(name).origin).is_relative_to(ours) for name in packages))
    print(pathlib.Path(importlib.util.find_spec("mlx.utils").origin).is_relative_to(installed))
    endings = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    native = {path.name.split(".")[0] for path in installed.rglob("*") if path.name.endswith(endings)}
    print(native - {"libmlx"})
    """

    {output, 0} =
      System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), ["-B", "-c", source],
        env: [{"PYTHONPATH", Path.expand("../conformance/python", __DIR__)}],
        stderr_to_stdout: true
      )

    assert output == "True\nTrue\n{'core'}\n"
  end

  # What is none of these is Python's own code for objects of Python: Module, and its like for optimizers.
  test "answers for all of mlx.nn and mlx.optimizers that computes" do
    beginnings = ["mlx.nn.", "mlx.optimizers."]
    answered = Mlx.Conformance.Signatures.names(beginnings)
    pythons = ["mlx.nn.Module", "mlx.optimizers.Optimizer"]

    others =
      for name <- Mlx.Conformance.Mapping.names() -- answered,
          String.starts_with?(name, beginnings) and not String.starts_with?(name, pythons) and not (name =~ "Shard"),
          do: name

    assert Enum.sort(others) == [
             "mlx.nn.ALiBi.create_alibi_matrix",
             "mlx.nn.ALiBi.create_alibi_slope",
             "mlx.nn.BatchNorm.unfreeze",
             "mlx.nn.Embedding.to_quantized",
             "mlx.nn.Linear.to_quantized",
             "mlx.nn.QQLinear.dequantize",
             "mlx.nn.QQLinear.quantize",
             "mlx.nn.average_gradients",
             "mlx.nn.fully_shard",
             "mlx.nn.quantize",
             "mlx.nn.value_and_grad"
           ]
  end

  # Its transposes have to be the convolution's, and the convolution numpy's.
  test "has convolutions in place of PyTorch's that are adjoint to each other" do
    source = """
    import sys
    sys.path.insert(0, sys.argv[1])
    import numpy
    import torch
    from torch import _convolution

    random = numpy.random.default_rng(0)
    line, kernel = random.normal(size=9), random.normal(size=4)
    result = torch.conv1d(torch.tensor(line[None, None]), torch.tensor(kernel[None, None]), padding=3)
    numpy.testing.assert_allclose(result.numpy()[0, 0], numpy.correlate(line, kernel, "full"))

    x, w = random.normal(size=(2, 6, 9, 8)), random.normal(size=(4, 3, 2, 3))
    settings = (2, 1), (1, 2), (1, 2), 2
    result = _convolution.convolve(x, w, *settings)
    y = random.normal(size=result.shape)
    expected = (result * y).sum()
    numpy.testing.assert_allclose((_convolution.spread(y, w, x.shape[2:], *settings) * x).sum(), expected)
    numpy.testing.assert_allclose((_convolution.correlate(x, y, w.shape[2:], *settings) * w).sum(), expected)
    """

    reference = Path.expand("../conformance/python/reference", __DIR__)
    arguments = ["-B", "-c", source, reference]
    assert {"", 0} = System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), arguments, stderr_to_stdout: true)
  end
end
