defmodule Mlx.LM.Sampler.UserFunctionsTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.Sampler

  defp sample(options, logits \\ Mlx.array([[0.5, 2.0, 1.0, 1.5]])) do
    {token, sampler} = options |> Sampler.new() |> Sampler.observe(Mlx.array([[1, 3]])) |> Sampler.sample(logits)
    {Mlx.to_number(token), sampler}
  end

  test "processors get the tokens that came and the logits, one after the other" do
    test = self()

    first = fn tokens, logits ->
      send(test, {:first, Mlx.to_list(tokens), Mlx.to_list(logits)})
      Mlx.negate(logits)
    end

    second = fn tokens, logits ->
      send(test, {:second, Mlx.to_list(tokens), Mlx.to_list(logits)})
      Mlx.as_type(logits, :f16)
    end

    {0, sampler} = sample(logits_processors: [first, second], processor_context: 3)
    assert_received {:first, [-1, 1, 3], [[0.5, 2.0, 1.0, 1.5]]}
    assert_received {:second, [-1, 1, 3], [[-0.5, -2.0, -1.0, -1.5]]}
    Sampler.sample(sampler, Mlx.zeros({1, 4}))
    assert_received {:first, [1, 3, 0], _logits}
  end

  test "processors come after the biases and penalties" do
    test = self()
    processor = fn _tokens, logits -> tap(logits, &send(test, Mlx.to_list(&1))) end
    sample(logits_processors: [processor], logit_bias: %{0 => 1.0}, presence_penalty: 0.25, repetition_penalty: 2.0)
    assert_received [[1.5, 0.75, 1.0, 0.5]]
  end

  test "a sampler gets log-probabilities, and other choices have no effect" do
    test = self()

    sampler = fn logprobs ->
      send(test, {:logprobs, logprobs |> Mlx.exp() |> Mlx.sum() |> Mlx.to_number()})
      Mlx.argmin(logprobs, axis: -1)
    end

    assert {0, _sampler} = sample(sampler: sampler, temperature: 2.0, top_k: 1)
    assert_received {:logprobs, sum}
    assert_in_delta sum, 1.0, 1.0e-6
  end

  test "a sampler may return a number's array of any integer type" do
    for type <- [:u8, :s64, :s32, :u32], token <- [Mlx.array(2, type: type), Mlx.array([2], type: type)] do
      assert {2, _sampler} = sample(sampler: fn _logprobs -> token end)
    end
  end

  test "random numbers of a sampler come from the seed" do
    sampler = fn logprobs -> Mlx.Random.categorical(logprobs) end

    draw = fn seed ->
      {tokens, _sampler} =
        Enum.map_reduce(1..40, Sampler.new(sampler: sampler, seed: seed), fn _draw, sampler ->
          {token, sampler} = Sampler.sample(sampler, Mlx.zeros({1, 50}))
          {Mlx.to_number(token), sampler}
        end)

      tokens
    end

    state = Mlx.Random.state() |> Mlx.to_list()
    assert draw.(1) == draw.(1)
    refute draw.(1) == draw.(2)
    assert length(Enum.uniq(draw.(1))) > 10
    assert Mlx.Random.state() |> Mlx.to_list() == state
  end

  test "what is no logits is refused" do
    for wrong <- [nil, 1.0, Mlx.zeros({4}), Mlx.zeros({1, 3}), Mlx.zeros({1, 4}, type: :c64), {1}] do
      assert_raise ArgumentError, ~r/^Mlx.LM.Sampler.sample: .*:logits_processors to return logits.*shape {1, 4}/, fn ->
        sample(logits_processors: [fn _tokens, _logits -> wrong end])
      end
    end
  end

  test "what is no token is refused" do
    for wrong <- [
          nil,
          1,
          Mlx.array(1.0),
          Mlx.array([1, 2]),
          Mlx.array([[1]]),
          Mlx.array(true),
          Mlx.zeros({1}, type: :c64)
        ] do
      assert_raise ArgumentError, ~r/^Mlx.LM.Sampler.sample: expected the function :sampler to return a token/, fn ->
        sample(sampler: fn _logprobs -> wrong end)
      end
    end
  end

  test "log-probabilities are those after the penalties" do
    {1, sampler} = sample(logprobs: 3, logit_bias: %{0 => 1.0})
    assert %{id: 1, logprob: first, top: [{1, first}, {second, value}, {_third, value}]} = Sampler.logprobs(sampler)
    assert second in [0, 3]
    total = Enum.sum_by([1.5, 2.0, 1.0, 1.5], &:math.exp/1)
    assert_in_delta first, 2.0 - :math.log(total), 1.0e-6
    assert_in_delta value, 1.5 - :math.log(total), 1.0e-6
  end

  test "there are no more log-probabilities than tokens, and none of the most probable where none are asked for" do
    {1, sampler} = sample(logprobs: 9)
    assert Enum.map(Sampler.logprobs(sampler).top, &elem(&1, 0)) == [1, 3, 2, 0]
    {1, sampler} = sample(logprobs: 0)
    assert %{id: 1, top: []} = Sampler.logprobs(sampler)
    {1, sampler} = sample([])
    assert Sampler.logprobs(sampler) == nil
  end
end
