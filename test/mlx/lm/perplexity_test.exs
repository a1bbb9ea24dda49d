defmodule Mlx.LM.PerplexityTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.Decoder
  alias Mlx.TinyLlama

  @moduletag :tmp_dir

  @script Path.expand("../../oracle/perplexity.py", __DIR__)

  setup %{tmp_dir: folder} do
    path = Path.join(folder, "tiny.gguf")
    TinyLlama.save(path, %{"llama.rope.dimension_count" => 16})
    %{path: path, lm: Mlx.LM.load(path, type: :f32)}
  end

  defp ids(count), do: for(n <- 1..count, do: rem(n * n * 31 + 7 * n, 256))

  # The negative log-likelihoods of a window, by the logits of the last token alone.
  defp losses(lm, [first | rest]) do
    {losses, _read} =
      Enum.map_reduce(rest, [first], fn id, read ->
        {logits, _caches} = Decoder.call(lm.model, Mlx.array([read]), Decoder.caches(lm.model))
        loss = Mlx.subtract(Mlx.logsumexp(logits), logits[[0, id]]) |> Mlx.to_number()
        {loss, read ++ [id]}
      end)

    losses
  end

  test "is that of the model's probabilities of each token after those before it", %{lm: lm} do
    losses = ids(24) |> Enum.chunk_every(8) |> Enum.flat_map(&losses(lm, &1))
    mean = Enum.sum(losses) / 21
    deviation = :math.sqrt(Enum.sum_by(losses, &((&1 - mean) ** 2)) / 20)

    for batch_size <- [1, 2, 5] do
      result = Mlx.LM.perplexity(lm, ids(27), window: 8, batch_size: batch_size)
      assert {result.tokens, result.windows} == {21, 3}
      assert_in_delta result.loss, mean, 1.0e-5
      assert_in_delta result.perplexity / :math.exp(mean), 1, 1.0e-5
      assert_in_delta result.standard_error / (:math.exp(mean) * deviation / :math.sqrt(21)), 1, 1.0e-4
    end
  end

  @tag :oracle
  test "is that of mlx-lm's formula on Python MLX", %{lm: lm, path: path} do
    for {window, count} <- [{16, 100}, {64, 300}] do
      arguments = [@script, path, "#{window}", Enum.join(ids(count), " ")]
      {output, 0} = System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), arguments)
      [perplexity, error] = output |> String.split() |> Enum.map(&String.to_float/1)
      result = Mlx.LM.perplexity(lm, ids(count), window: window)
      assert_in_delta result.perplexity / perplexity, 1, 1.0e-4
      assert_in_delta result.standard_error / error, 1, 1.0e-4
    end
  end

  test "of a text is that of its tokens", %{lm: lm} do
    text = "about a text"
    assert Mlx.LM.perplexity(lm, text) == Mlx.LM.perplexity(lm, Mlx.LM.encode(lm, text))
    assert Mlx.LM.perplexity(lm, text).windows == 1
  end

  test "reads no more windows than it is told, and says how far it is", %{lm: lm} do
    test = self()
    options = [window: 5, batch_size: 2, progress: &send(test, &1)]
    assert Mlx.LM.perplexity(lm, ids(50), [windows: 3] ++ options) == Mlx.LM.perplexity(lm, ids(15), options)
    for done <- [0, 2, 3, 0, 2, 3], do: assert_received({:windows, ^done, 3})
    refute_received _more
  end

  test "of a single token has no standard error", %{lm: lm} do
    assert %{tokens: 1, standard_error: nil} = Mlx.LM.perplexity(lm, [1, 2])
  end

  test "that is no float is infinite", %{lm: lm} do
    sure = put_in(lm.model.model.norm.weight, Mlx.multiply(lm.model.model.norm.weight, 1.0e6))
    assert %{perplexity: :infinity, standard_error: :infinity} = Mlx.LM.perplexity(sure, ids(30))
  end

  test "of logits that are not finite raises", %{lm: lm} do
    broken = put_in(lm.model.model.norm.weight, Mlx.full({64}, :nan))
    assert_raise Mlx.Error, ~r/^Mlx.LM.perplexity: .*not finite/, fn -> Mlx.LM.perplexity(broken, ids(30)) end
  end

  @wrong [
    {"", [], "at least two tokens"},
    {[1], [], "at least two tokens"},
    {:text, [], "expected a text or a list of tokens, got: :text"},
    {[1, "2"], [], "expected a text or a list of tokens"},
    {[1 | 2], [], "expected a text or a list of tokens"},
    {[1, 259], [], "259"},
    {[1, 2], [window: 1], "expected :window to be an integer from 2 on, or nil, got: 1"},
    {[1, 2], [window: 601], "expected :window to be at most the model's context length of 600, got: 601"},
    {[1, 2], [windows: 0], "expected :windows to be a positive integer, or nil, got: 0"},
    {[1, 2], [batch_size: 1.5], "expected :batch_size to be a positive integer, got: 1.5"},
    {[1, 2], [progress: :yes], "expected :progress to be a function of one argument, or nil, got: :yes"},
    {[1, 2], [width: 3], "unknown option :width"}
  ]

  test "of wrong arguments raises", %{lm: lm} do
    for {text, options, message} <- @wrong do
      error = assert_raise ArgumentError, fn -> Mlx.LM.perplexity(lm, text, options) end
      assert String.starts_with?(error.message, "Mlx.LM.perplexity: ")
      assert error.message =~ message
    end
  end
end
