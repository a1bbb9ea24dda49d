defmodule Mlx.LM.Quantization.GPTQTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.Quantization.{Codes, GPTQ}

  @script Path.expand("../../../oracle/gptq.py", __DIR__)

  # Inputs whose features depend on each other, as those of models do.
  defp inputs(count, columns) do
    [rows, mixer] = for {shape, seed} <- [{{count, 24}, 1}, {{24, columns}, 2}], do: random(shape, seed)
    Mlx.add(Mlx.matmul(rows, mixer), Mlx.multiply(random({count, columns}, 3), 0.3))
  end

  defp random(shape, seed), do: Mlx.Random.normal(shape, key: Mlx.Random.key(seed))
  defp gram(x), do: Mlx.matmul(Mlx.transpose(x), x)

  defp numbers({weight, scales, biases}, settings), do: Mlx.dequantize(weight, scales, biases, settings)

  # The squares of what outputs are off by.
  defp error(x, matrix, other) do
    x |> Mlx.matmul(matrix |> Mlx.subtract(other) |> Mlx.transpose()) |> Mlx.square() |> Mlx.sum() |> Mlx.to_number()
  end

  test "errs less than rounding in the outputs of inputs that depend on each other" do
    x = inputs(400, 128)
    matrix = random({40, 128}, 4)

    for bits <- [2, 3, 4, 5, 6, 8], group_size <- [32, 64, 128] do
      settings = [group_size: group_size, bits: bits, mode: :affine]
      rounded = error(x, matrix, numbers(Mlx.quantize(matrix, settings), settings))
      learned = error(x, matrix, numbers(GPTQ.matrix(matrix, gram(x), settings, :f32), settings))
      assert learned < 0.6 * rounded, "#{bits} bits in groups of #{group_size}: #{learned}, rounded #{rounded}"
    end
  end

  test "rounds where inputs say nothing" do
    matrix = random({8, 64}, 5)
    settings = [group_size: 32, bits: 4, mode: :affine]
    rounded = numbers(Mlx.quantize(matrix, settings), settings)

    for gram <- [Mlx.zeros({64, 64}), Mlx.eye(64), Mlx.full({64, 64}, :nan)] do
      learned = numbers(GPTQ.matrix(matrix, gram, settings, :f32), settings)

      assert matrix |> Mlx.subtract(learned) |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number() <=
               (matrix |> Mlx.subtract(rounded) |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()) * 1.001
    end
  end

  @tag :oracle
  @tag :tmp_dir
  test "chooses the codes of the paper's formulas in numpy", %{tmp_dir: folder} do
    matrix = random({24, 128}, 6)
    gram = gram(inputs(300, 128))
    Mlx.IO.save(Path.join(folder, "in.safetensors"), %{"matrix" => matrix, "gram" => gram})
    {output, status} = System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), [@script, folder], stderr_to_stdout: true)
    assert status == 0, output
    expected = Mlx.IO.load(Path.join(folder, "out.safetensors"))

    for bits <- [2, 3, 4], size <- [32, 64] do
      {words, scales, biases} = GPTQ.matrix(matrix, gram, [group_size: size, bits: bits, mode: :affine], :f32)
      [codes, their_scales, their_biases] = for name <- ~w(codes scales biases), do: expected["#{bits}.#{size}.#{name}"]

      different =
        words |> Codes.unpacked(bits) |> Mlx.as_type(:f32) |> Mlx.not_equal(codes) |> Mlx.mean() |> Mlx.to_number()

      # A number in the middle between two codes, in f32 here and in f64 there, may make a row of others.
      assert different <= 0.01, "#{different} of the codes of #{bits} bits in groups of #{size} are others"

      for {own, theirs} <- [{scales, their_scales}, {biases, their_biases}] do
        far = own |> Mlx.subtract(theirs) |> Mlx.abs() |> Mlx.greater(1.0e-3) |> Mlx.mean() |> Mlx.to_number()
        assert far <= 0.05
      end
    end
  end
end
