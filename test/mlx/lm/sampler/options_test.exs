defmodule Mlx.LM.Sampler.OptionsTest do
  # Each option of the table with each of many values: it is refused with a message that says what was expected, or a
  # token comes of it.
  use ExUnit.Case, async: true

  alias Mlx.LM.Sampler

  @huge_integer Integer.pow(10, 400)

  @terms [:nan, :infinity, :neg_infinity, nil, true, "1", ~c"1", {}, {1, 2}, %{}, %{1 => :nan}, %{-1 => 1}, %{1.0 => 1}] ++
           [
             %{1 => 1.0e300},
             %{1 => 2},
             %{@huge_integer => 1},
             %{"1" => 1},
             [],
             [1],
             [1.5],
             [-1],
             [@huge_integer],
             [1 | 2]
           ] ++
           [[:nan], [nil], 0, -0.0, 1, -1, 2, 3, 0.3, -0.3, 1.5, 1.0e-320, 1.0e-40, 1.0e308, -1.0e308, 0x7FFFFFFF] ++
           [0x80000000, 0xFFFFFFFFFFFFFFFF, 0x10000000000000000, @huge_integer, -@huge_integer]

  # What is no term of a module attribute.
  defp terms do
    one = fn logprobs -> Mlx.argmax(logprobs, axis: -1) end
    two = fn _tokens, logits -> logits end
    @terms ++ [self(), make_ref(), Mlx.array(1.0), one, two, [one], [two], [two, :a], fn -> 1 end, Date.utc_today()]
  end

  @number_from_zero [0, -0.0, 1, 2, 3, 0.3, 1.5, 1.0e-320, 1.0e-40]
  @positive [1, 2, 3, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFFFFFFFFFF, 0x10000000000000000, @huge_integer]
  @signed @number_from_zero ++ [-1, -0.3, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFFFFFFFFFF, 0x10000000000000000]
  @part [0, -0.0, 1, 0.3, 1.0e-320, 1.0e-40]
  @context [1, 2, 3]

  # Those that are taken.
  @taken %{
    temperature: @number_from_zero ++ [0x7FFFFFFF, 0x80000000, 0xFFFFFFFFFFFFFFFF, 0x10000000000000000],
    top_k: [nil | @positive],
    top_p: [1, 0.3, 1.0e-320, 1.0e-40],
    min_p: @part,
    min_tokens_to_keep: @positive,
    xtc_probability: @part,
    xtc_threshold: @part -- [1],
    xtc_special_tokens: [[], [1], ~c"1"],
    logit_bias: [%{}, %{1 => 2}, %{1 => 0x10000000000000000}],
    repetition_penalty: [1, 2, 3, 0.3, 1.5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFFFFFFFFFF, 0x10000000000000000],
    repetition_context: @context,
    presence_penalty: @signed,
    presence_context: @context,
    frequency_penalty: @signed,
    frequency_context: @context,
    logits_processors: [[]],
    processor_context: @context,
    sampler: [nil],
    logprobs: [nil, 0 | @positive],
    seed: [nil, 0, 1, 2, 3, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFFFFFFFFFF]
  }

  defp taken?(:sampler, fun) when is_function(fun, 1), do: true
  defp taken?(:logits_processors, [fun]) when is_function(fun, 2), do: true
  defp taken?(name, value), do: Enum.any?(@taken[name], &(&1 === value))

  test "the table names every option" do
    assert Enum.sort(Sampler.options()) == @taken |> Map.keys() |> Enum.sort()
  end

  for name <- Map.keys(@taken) do
    test "#{name} takes what it says and refuses the rest" do
      name = unquote(name)

      for value <- terms() do
        if taken?(name, value), do: assert_samples(name, value), else: assert_refused(name, value)
      end
    end
  end

  defp assert_refused(name, value) do
    error = assert_raise ArgumentError, fn -> Sampler.new([{name, value}]) end
    assert String.starts_with?(error.message, "Mlx.LM.Sampler.new: expected #{inspect(name)} to be "), error.message
    [_expected, given] = String.split(error.message, ", got: ")
    assert given != ""
    assert String.length(error.message) < 3000
  end

  # Beside a temperature and a penalty, so that every option has a part in it.
  defp assert_samples(name, value) do
    options = [
      temperature: 0.9,
      xtc_probability: 0.5,
      frequency_penalty: 0.5,
      repetition_penalty: 1.1,
      presence_penalty: 1
    ]

    options = Keyword.merge(options, [{name, value}])
    logits = Mlx.Random.normal({1, 60}, scale: 3.0, key: Mlx.Random.key(1))
    sampler = options |> Sampler.new() |> Sampler.observe(Mlx.array([[1, 2, 1]]))

    Enum.reduce(1..2, sampler, fn _token, sampler ->
      {token, sampler} = Sampler.sample(sampler, logits)
      assert {token.shape, token.type} == {{1}, :s32}
      assert Mlx.to_number(token) in 0..59, "#{inspect([{name, value}])} gave the token #{Mlx.to_number(token)}"
      sampler
    end)
  end

  test "the greatest and least values give tokens" do
    for options <- [
          [temperature: 1.0e30],
          [temperature: 1.0e-30],
          [repetition_penalty: 1.0e30],
          [repetition_penalty: 1.0e-30],
          [presence_penalty: -1.0e30],
          [frequency_penalty: 1.0e30, logprobs: 3],
          [logit_bias: %{3 => 1.0e30, 4 => -1.0e30}, temperature: 1.0, logprobs: 60],
          [repetition_penalty: 1.5, repetition_context: 0x100000]
        ],
        {name, value} <- options do
      assert_samples(name, value)
    end
  end

  test "a low temperature draws as none, and a high one as if all tokens were as probable" do
    logits = Mlx.array([[-90.0, -80.0, -81.0, -300.0]])
    draws = fn temperature -> for seed <- 1..80, do: draw([temperature: temperature, seed: seed], logits) end
    for cold <- [1.0e-29, 1.0e-31, 1.0e-300], do: assert(Enum.uniq(draws.(cold)) == [1])
    assert draws.(1.0e30) |> Enum.uniq() |> Enum.sort() == [0, 1, 2, 3]
  end

  defp draw(options, logits) do
    {token, _sampler} = options |> Sampler.new() |> Sampler.sample(logits)
    Mlx.to_number(token)
  end

  test "tokens that are not in the vocabulary are named" do
    for options <- [[logit_bias: %{4 => 1.0}], [xtc_special_tokens: [1, 4]]] do
      assert_raise ArgumentError, ~r/^Mlx.LM.Sampler.sample: .*from 0 to 3, got: 4$/, fn ->
        options |> Sampler.new() |> Sampler.sample(Mlx.zeros({1, 4}))
      end
    end
  end

  test "tokens that came and are in no vocabulary are an error or without effect" do
    for token <- [4, 1000, 0x7FFFFFFF] do
      sampler = [presence_penalty: 1.0] |> Sampler.new() |> Sampler.observe(Mlx.array([[token]]))
      {sampled, _sampler} = Sampler.sample(sampler, Mlx.array([[1.0, 2.0, 3.0, 2.5]]))
      assert Mlx.to_number(sampled) in 0..3
    end
  end

  test "logits and tokens have two axes" do
    sampler = Sampler.new()

    for shape <- [{4}, {2, 4}, {1, 0}, {1, 1, 4}, {}] do
      assert_raise ArgumentError, ~r/^Mlx.LM.Sampler.sample: expected logits of the shape {1, vocabulary}/, fn ->
        Sampler.sample(sampler, Mlx.zeros(shape))
      end
    end

    for shape <- [{4}, {2, 4}, {}] do
      assert_raise ArgumentError, ~r/^Mlx.LM.Sampler.observe: expected tokens of the shape {1, n}/, fn ->
        Sampler.observe(sampler, Mlx.zeros(shape, type: :s32))
      end
    end
  end
end
