defmodule Mlx.LM.SamplerTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.Sampler

  doctest Sampler

  # The probabilities 0.5, 0.3, 0.15 and 0.05, not in order.
  @probabilities %{2 => 0.5, 0 => 0.3, 3 => 0.15, 1 => 0.05}
  @draws 2000

  defp logits, do: Mlx.array([for(token <- 0..3, do: :math.log(@probabilities[token]))])

  defp draw(options, count \\ @draws) do
    {tokens, _sampler} =
      Enum.map_reduce(1..count, Sampler.new(options), fn _draw, sampler ->
        {token, sampler} = Sampler.sample(sampler, logits())
        {token |> Mlx.to_list() |> hd(), sampler}
      end)

    tokens
  end

  # Asserts frequencies within five standard deviations of what the weights say.
  defp assert_distribution(tokens, weights) do
    total = weights |> Map.values() |> Enum.sum()
    frequencies = Enum.frequencies(tokens)
    assert frequencies |> Map.keys() |> Enum.sort() == weights |> Map.keys() |> Enum.sort()

    for {token, weight} <- weights do
      p = weight / total
      deviation = :math.sqrt(p * (1 - p) * length(tokens))
      assert_in_delta frequencies[token], p * length(tokens), 5 * deviation
    end
  end

  test "a temperature of 0 takes the most probable token" do
    assert draw([], 3) == [2, 2, 2]
    assert draw([temperature: 0, top_p: 0.1], 3) == [2, 2, 2]
  end

  test "a temperature of 1 draws with the probabilities" do
    assert_distribution(draw(temperature: 1.0, seed: 1), @probabilities)
  end

  test "a lower temperature prefers probable tokens" do
    squares = Map.new(@probabilities, fn {token, p} -> {token, p * p} end)
    assert_distribution(draw(temperature: 0.5, seed: 2), squares)
  end

  test "top-k leaves the most probable tokens" do
    assert_distribution(draw(temperature: 1.0, top_k: 2, seed: 3), Map.take(@probabilities, [2, 0]))
    assert_distribution(draw([temperature: 1.0, top_k: 50, seed: 4], 500), @probabilities)
  end

  test "top-p leaves the fewest tokens that reach the sum" do
    assert_distribution(draw(temperature: 1.0, top_p: 0.75, seed: 5), Map.take(@probabilities, [2, 0]))
    assert_distribution(draw(temperature: 1.0, top_p: 0.85, seed: 6), Map.take(@probabilities, [2, 0, 3]))
    assert draw([temperature: 1.0, top_p: 1.0e-6, seed: 7], 20) == List.duplicate(2, 20)
  end

  test "min-p leaves out tokens that are much less probable than the first" do
    assert_distribution(draw(temperature: 1.0, min_p: 0.2, seed: 8), Map.take(@probabilities, [2, 0, 3]))
    assert draw([temperature: 1.0, min_p: 1.0, seed: 9], 20) == List.duplicate(2, 20)
  end

  test "filters combine" do
    options = [temperature: 1.0, top_k: 3, top_p: 0.75, min_p: 0.05, seed: 10]
    assert_distribution(draw(options), Map.take(@probabilities, [2, 0]))
  end

  test "the same seed gives the same tokens" do
    assert draw([temperature: 1.0, seed: 11], 50) == draw([temperature: 1.0, seed: 11], 50)
    refute draw([temperature: 1.0, seed: 11], 50) == draw([temperature: 1.0, seed: 12], 50)
    refute draw([temperature: 1.0], 100) == draw([temperature: 1.0], 100)
  end

  test "the repetition penalty makes recent tokens less likely" do
    sample = fn options, seen, logits ->
      {token, _sampler} = options |> Sampler.new() |> Sampler.observe(Mlx.array([seen])) |> Sampler.sample(logits)
      Mlx.to_list(token)
    end

    positive = Mlx.array([[2.0, 1.5, 0.1]])
    assert sample.([], [0], positive) == [0]
    assert sample.([repetition_penalty: 1.3], [0], positive) == [0]
    assert sample.([repetition_penalty: 1.4], [0, 0], positive) == [1]

    negative = Mlx.array([[-1.0, -1.2, -9.0]])
    assert sample.([repetition_penalty: 1.1], [0], negative) == [0]
    assert sample.([repetition_penalty: 1.3], [0], negative) == [1]
  end

  test "only recent tokens count, and those that it chose itself are among them" do
    sampler = Sampler.new(repetition_penalty: 4.0, repetition_context: 2)
    logits = Mlx.array([[3.0, 2.0, 1.0]])

    {tokens, sampler} =
      Enum.map_reduce(1..5, sampler, fn _step, sampler ->
        {token, sampler} = Sampler.sample(sampler, logits)
        {token |> Mlx.to_list() |> hd(), sampler}
      end)

    assert tokens == [0, 1, 2, 0, 1]
    assert sampler.recent.shape == {1, 2}
  end

  test "samples half precision logits" do
    {token, _sampler} = Sampler.sample(Sampler.new(temperature: 1.0, top_p: 0.1, seed: 0), Mlx.as_type(logits(), :f16))
    assert {token.shape, token.type, Mlx.to_list(token)} == {{1}, :s32, [2]}
  end

  for {option, value} <- [
        temperature: -1,
        temperature: "1",
        top_k: 0,
        top_k: 1.5,
        top_p: 0,
        top_p: 1.1,
        min_p: -0.1,
        min_p: 2,
        repetition_penalty: 0,
        repetition_context: 0,
        seed: -1,
        seed: 0x10000000000000000
      ] do
    test "refuses #{option}: #{inspect(value)}" do
      assert_raise ArgumentError, ~r/expected :#{unquote(option)} to be/, fn ->
        Sampler.new([{unquote(option), unquote(value)}])
      end
    end
  end

  test "refuses unknown options" do
    assert_raise ArgumentError, ~r/topp/, fn -> Sampler.new(topp: 1) end
  end
end
