defmodule Mlx.LM.Gemma3Test do
  # Gemma 3 270M of the format Q4_K_M: the model that was not tuned for conversations.
  use ExUnit.Case, async: true

  @moduletag :gemma
  @moduletag timeout: 900_000

  @script Path.expand("../../oracle/gemma3.py", __DIR__)
  @text Path.expand("../../../ARCHITECTURE.md", __DIR__)
  @window 64

  setup_all do
    path = System.fetch_env!("MLX_TEST_GEMMA")
    %{path: path, lm: Mlx.LM.load(path)}
  end

  test "goes on with a text", %{lm: lm} do
    assert Mlx.LM.generate(lm, "The sun is a star. It is", max_tokens: 8).text =~ "brightest star"
    assert Mlx.LM.generate(lm, "Paris is the capital of", max_tokens: 2).text =~ "France"
  end

  @tag :oracle
  test "foretells a text as mlx-lm's class does with the same numbers", %{lm: lm, path: path} do
    ids = lm |> Mlx.LM.encode(File.read!(@text)) |> Enum.take(2 * @window)
    {output, 0} = System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), [@script, path, "#{@window}", Enum.join(ids, " ")])
    expected = output |> String.trim() |> String.to_float()
    assert_in_delta Mlx.LM.perplexity(lm, ids, window: @window).perplexity / expected, 1, 0.01
  end
end
