defmodule Mlx.LM.Sampler.PythonTest do
  # Samplers and processors on the same logits as mlx-lm's.
  use ExUnit.Case, async: true

  alias Mlx.LM.Sampler
  alias Mlx.LM.Sampler.{Choice, LogitBias, Penalties, RecentTokens}
  alias Mlx.Oracle

  @moduletag :oracle

  defp logprobs(size, seed, scale) do
    logits = Mlx.Random.normal({1, size}, scale: scale, key: Mlx.Random.key(seed))
    Mlx.subtract(logits, Mlx.logsumexp(logits, axes: [-1], keep_axes: true))
  end

  # The tokens that stay.
  defp kept(options, logprobs) do
    sampler = Sampler.new([temperature: 1.0] ++ options)

    case Choice.candidates(sampler, logprobs, Mlx.Random.key(0)) do
      {row, nil} -> row |> finite() |> places()
      {row, tokens} -> for {token, true} <- Enum.zip(elements(tokens), row |> finite() |> elements()), do: token
    end
    |> Enum.sort()
  end

  defp finite(row), do: Mlx.greater(row, :neg_infinity)
  defp elements(row), do: row |> Mlx.reshape({-1}) |> Mlx.to_list()
  defp places(row), do: for({true, place} <- row |> elements() |> Enum.with_index(), do: place)

  # The options of mlx-lm's names for ours.
  defp python(options) do
    xtc =
      if options[:xtc_probability] do
        special = Keyword.get(options, :xtc_special_tokens, [])

        [
          "xtc=(#{options[:xtc_probability]}, #{Keyword.get(options, :xtc_threshold, 0.1)}, #{inspect(special, charlists: :as_lists)})"
        ]
      else
        []
      end

    plain = for {name, value} <- options, name in [:top_p, :min_p, :min_tokens_to_keep, :top_k], do: "#{name}=#{value}"
    Enum.join(plain ++ xtc, ", ")
  end

  defp assert_kept(options, logprobs) do
    expected = Oracle.eval("sampling.filtered(x, #{python(options)})", x: logprobs) |> finite() |> places()
    assert kept(options, logprobs) == expected, "#{inspect(options)} on #{inspect(logprobs)}"
    expected
  end

  @filters [
    top_p: [1.0e-6, 0.1, 0.5, 0.9, 0.99, 0.9999],
    min_p: [1.0e-9, 0.001, 0.05, 0.3, 1.0],
    top_k: [1, 2, 7, 30]
  ]

  test "each filter keeps the same tokens" do
    for {name, values} <- @filters, value <- values, size <- [37, 1000], scale <- [0.2, 1.0, 4.0], seed <- 1..2 do
      assert_kept([{name, value}], logprobs(size, seed, scale))
    end
  end

  test "min-p keeps the same number of tokens anyhow" do
    for count <- [1, 2, 5, 30], p <- [0.9, 0.05], scale <- [1.0, 6.0], seed <- 1..2 do
      kept = assert_kept([min_p: p, min_tokens_to_keep: count], logprobs(37, seed, scale))
      assert length(kept) >= count
    end
  end

  test "XTC leaves out the same tokens" do
    sizes =
      for threshold <- [0.0, 0.01, 0.05, 0.2, 0.5],
          special <- [[], [3], [0, 11, 36]],
          scale <- [1.0, 3.0],
          seed <- 1..2 do
        options = [xtc_probability: 1.0, xtc_threshold: threshold, xtc_special_tokens: special]
        length(assert_kept(options, logprobs(37, seed, scale)))
      end

    assert Enum.any?(sizes, &(&1 < 37)) and Enum.any?(sizes, &(&1 == 37))
  end

  test "filters together keep the same tokens" do
    :rand.seed(:exsss, 17)

    for seed <- 1..150 do
      drawn = for {name, values} <- @filters, :rand.uniform() < 0.6, do: {name, Enum.random(values)}

      drawn =
        if drawn[:min_p] && :rand.uniform() < 0.5, do: drawn ++ [min_tokens_to_keep: Enum.random(2..9)], else: drawn

      xtc =
        if :rand.uniform() < 0.4 do
          [xtc_probability: 1.0, xtc_threshold: Enum.random([0.01, 0.1, 0.3]), xtc_special_tokens: [Enum.random(0..99)]]
        else
          []
        end

      assert_kept(drawn ++ xtc, logprobs(100, seed, Enum.random([0.5, 2.0, 5.0])))
    end
  end

  @draws 2000

  for {options, index} <-
        Enum.with_index([
          [temperature: 1.0],
          [temperature: 0.6],
          [temperature: 2.5],
          [temperature: 0.8, top_p: 0.8],
          [temperature: 1.3, min_p: 0.1],
          [temperature: 1.0, top_k: 5],
          [temperature: 0.9, top_k: 8, top_p: 0.7, min_p: 0.02],
          [temperature: 1.1, xtc_probability: 1.0, xtc_threshold: 0.08, top_k: 9]
        ]) do
    test "draws are distributed as mlx-lm's with #{inspect(options)}" do
      options = unquote(options)
      row = logprobs(16, unquote(index), 1.5)
      python = "sampling.probabilities(x, #{options[:temperature]}, #{python(options)})"
      assert_distributed(draws([seed: 3] ++ options, row), Oracle.eval(python, x: row) |> elements())
    end
  end

  test "XTC is applied as often as its probability says" do
    row = logprobs(16, 5, 1.5)
    options = [temperature: 1.0, xtc_probability: 0.3, xtc_threshold: 0.08]
    eval = fn probability -> Oracle.eval("sampling.probabilities(x, 1.0, #{probability})", x: row) |> elements() end
    mixed = Enum.zip_with(eval.("xtc=(1.0, 0.08, [])"), eval.(""), fn with, without -> 0.3 * with + 0.7 * without end)
    assert_distributed(draws([seed: 4] ++ options, row), mixed)
  end

  defp draws(options, row) do
    step = Mlx.compile(&Sampler.sample/2)

    {tokens, _sampler} =
      Enum.map_reduce(1..@draws, Sampler.new(options), fn _draw, sampler ->
        {token, sampler} = step.(sampler, row)
        {Mlx.to_number(token), sampler}
      end)

    tokens
  end

  # Chi-square with as many degrees of freedom as there are tokens but one: within five of its standard deviations.
  defp assert_distributed(tokens, probabilities) do
    counts = Enum.frequencies(tokens)
    possible = for {p, token} <- Enum.with_index(probabilities), p > 0, do: {token, p * length(tokens)}
    assert Map.keys(counts) -- Enum.map(possible, &elem(&1, 0)) == []
    # Rare tokens count as one.
    {rare, common} = Enum.split_with(possible, fn {_token, expected} -> expected < 8 end)
    groups = for({token, expected} <- common, do: {[token], expected}) ++ group(rare)

    chi_square =
      for {tokens, expected} <- groups, reduce: 0.0 do
        sum -> sum + (Enum.sum_by(tokens, &Map.get(counts, &1, 0)) - expected) ** 2 / expected
      end

    freedom = max(length(groups) - 1, 1)
    assert chi_square < freedom + 5 * :math.sqrt(2 * freedom)
  end

  defp group([]), do: []
  defp group(rare), do: [{Enum.map(rare, &elem(&1, 0)), Enum.sum_by(rare, &elem(&1, 1))}]

  test "penalties and biases give mlx-lm's logits" do
    :rand.seed(:exsss, 23)

    for seed <- 1..60 do
      size = Enum.random([12, 200])
      logits = Mlx.Random.normal({1, size}, scale: 5.0, key: Mlx.Random.key(seed))
      tokens = for _ <- 1..Enum.random(1..90), do: :rand.uniform(size) - 1
      bias = for _ <- 1..3, into: %{}, do: {:rand.uniform(size) - 1, :rand.uniform() * 20 - 10}

      options =
        for {name, values} <- [
              logit_bias: [bias],
              repetition_penalty: [1.3, 0.8, 2],
              repetition_context: [1, 7, 64, 100],
              presence_penalty: [0.7, -1.5, 3],
              presence_context: [1, 5, 64, 100],
              frequency_penalty: [0.25, -0.4, 1],
              frequency_context: [1, 9, 64, 100]
            ],
            :rand.uniform() < 0.7,
            do: {name, Enum.random(values)}

      expected = Oracle.eval("sampling.processed(t, x, #{processors(options)})", t: Mlx.array(tokens), x: logits)
      sampler = options |> Sampler.new() |> Sampler.observe(Mlx.array([tokens]))
      got = Penalties.apply(sampler, sampler.recent, LogitBias.apply(logits, sampler.logit_bias))
      distance = expected |> Mlx.subtract(got) |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()
      assert distance <= 1.0e-5, "#{inspect(options)}: #{distance}"
    end
  end

  # mlx-lm's contexts have 20 tokens by default.
  defp processors(options) do
    names = [repetition_context: :repetition_context_size, presence_context: :presence_context_size]
    names = names ++ [frequency_context: :frequency_context_size]
    contexts = for {name, python} <- names, do: "#{python}=#{Keyword.get(options, name, 64)}"
    penalties = for {name, value} <- options, "#{name}" =~ "penalty", do: "#{name}=#{value}"
    bias = for {token, number} <- Keyword.get(options, :logit_bias, %{}), do: "#{token}: #{number}"
    Enum.join(contexts ++ penalties ++ ["logit_bias={#{Enum.join(bias, ", ")}}"], ", ")
  end

  test "a window of tokens counts those that came" do
    recent = 5 |> RecentTokens.new() |> RecentTokens.observe(Mlx.array([[3, 1, 3]]))
    assert recent |> RecentTokens.last(5) |> Mlx.to_list() == [-1, -1, 3, 1, 3]
    assert recent |> RecentTokens.counts(5, 4) |> Mlx.to_list() == [[0.0, 1.0, 0.0, 2.0]]
    recent = RecentTokens.observe(recent, Mlx.array([[0, 1, 2, 3, 0, 1, 2]]))
    assert recent |> RecentTokens.last(3) |> Mlx.to_list() == [0, 1, 2]
  end
end
