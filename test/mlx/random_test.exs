defmodule Mlx.RandomTest do
  use ExUnit.Case, async: true

  import Mlx.Oracle

  alias Mlx.Random

  doctest Mlx.Random

  @logits Enum.map(0..5, &(:math.sin(&1) * 3))

  # A call, and the same one in Python.
  defp calls do
    bounds = Mlx.array([[0.0], [10.0]])
    covariance = Mlx.array([[2.0, 0.5], [0.5, 1.0]])

    [
      {&Random.uniform({2, 3}, &1), "uniform(shape=(2, 3)%)"},
      {&Random.uniform({4}, [low: -1, high: 2.5, type: :f16] ++ &1), "uniform(-1, 2.5, (4,), mx.float16%)"},
      {&Random.uniform({2, 3}, [high: bounds] ++ &1), "uniform(0, mx.array([[0.0], [10.0]]), (2, 3)%)"},
      {&Random.normal({2, 3}, &1), "normal((2, 3)%)"},
      {&Random.normal({4}, [loc: 5, scale: 0.1, type: :bf16] ++ &1), "normal((4,), mx.bfloat16, 5, 0.1%)"},
      {&Random.normal({2, 3}, [loc: bounds] ++ &1), "normal((2, 3), loc=mx.array([[0.0], [10.0]])%)"},
      {&Random.normal({4}, [type: :c64] ++ &1), "normal((4,), mx.complex64%)"},
      {&Random.multivariate_normal(Mlx.zeros({2}), covariance, [shape: {3}] ++ &1),
       "multivariate_normal(mx.zeros(2), mx.array([[2.0, 0.5], [0.5, 1.0]]), (3,), stream=mx.cpu%)"},
      {&Random.randint(0, 10, [shape: {20}] ++ &1), "randint(0, 10, (20,)%)"},
      {&Random.randint(-3, Mlx.array([5, 100]), [shape: {2}, type: :s64] ++ &1),
       "randint(-3, mx.array([5, 100]), (2,), mx.int64%)"},
      {&Random.bernoulli(0.3, [shape: {20}] ++ &1), "bernoulli(0.3, (20,)%)"},
      {&Random.bernoulli(Mlx.array([0.1, 0.9]), &1), "bernoulli(mx.array([0.1, 0.9])%)"},
      {&Random.truncated_normal(-1, 2, [shape: {6}] ++ &1), "truncated_normal(-1, 2, (6,)%)"},
      {&Random.truncated_normal(bounds, Mlx.array([11, 12, 13]), &1),
       "truncated_normal(mx.array([[0.0], [10.0]]), mx.array([11, 12, 13])%)"},
      {&Random.gumbel({2, 2}, &1), "gumbel((2, 2)%)"},
      {&Random.laplace({6}, [loc: 1, scale: 2.5] ++ &1), "laplace((6,), loc=1, scale=2.5%)"},
      {&Random.categorical(Mlx.array(@logits), &1), "categorical(mx.array(#{inspect(@logits)})%)"},
      {&Random.categorical(Mlx.array([@logits, @logits]), [num_samples: 4] ++ &1),
       "categorical(mx.array([#{inspect(@logits)}] * 2), num_samples=4%)"},
      {&Random.categorical(Mlx.array([@logits, @logits]), [axis: 1, shape: {3, 2}] ++ &1),
       "categorical(mx.array([#{inspect(@logits)}] * 2), 1, (3, 2)%)"},
      {&Random.permutation(10, &1), "permutation(10%)"},
      {&Random.permutation(Mlx.array([[1, 2, 3], [4, 5, 6]]), [axis: 1] ++ &1),
       "permutation(mx.array([[1, 2, 3], [4, 5, 6]]), 1%)"}
    ]
  end

  @tag :oracle
  test "a key gives Python's numbers" do
    for seed <- [0, 42, 2 ** 64 - 1], {call, python} <- calls() do
      expected = "mx.random." <> String.replace(python, "%", ", key=mx.random.key(#{seed})")
      assert_oracle(call.(key: Random.key(seed)), expected)
    end
  end

  @tag :oracle
  test "a seed gives Python's sequence" do
    Random.seed(1234)
    actual = for {call, _} <- calls(), do: call.([])
    sequence = Enum.map_join(calls(), ", ", fn {_, python} -> "mx.random." <> String.replace(python, "%", "") end)
    assert_oracle(actual, "(mx.random.seed(1234), [#{sequence}])[1]")
  end

  @tag :oracle
  test "keys" do
    assert_oracle(Random.key(2 ** 40 + 7), "mx.random.key(2**40 + 7)")
    assert_oracle(Random.split(Random.key(7)), "mx.random.split(mx.random.key(7))")
    assert_oracle(Random.split(Random.key(7), parts: 5), "mx.random.split(mx.random.key(7), 5)")
  end

  test "bits" do
    key = Random.key(7)
    assert Mlx.to_list(Random.bits({5, 2}, key: key)) == Mlx.to_list(Random.split(key, parts: 5))
    assert for(width <- [1, 2, 4], do: Random.bits({3}, width: width).type) == [:u8, :u16, :u32]
  end

  test "each process has its own sequence" do
    Random.seed(3)
    first = Mlx.to_list(Random.uniform({4}))
    Random.seed(3)
    fresh = for _ <- 1..8, do: Task.async(fn -> Mlx.to_list(Random.uniform({4})) end)
    drawn = Task.await_many(fresh)
    assert length(Enum.uniq([first | drawn])) == 9
    assert Mlx.to_list(Random.uniform({4})) == first
  end

  test "a key does not advance the sequence of the process" do
    Random.seed(3)
    first = Mlx.to_list(Random.uniform({4}))
    Random.seed(3)
    Random.uniform({4}, key: Random.key(1))
    assert Mlx.to_list(Random.uniform({4})) == first
  end

  test "a sequence goes on at its state" do
    Random.seed(3)
    Random.uniform({4})
    state = Random.state()
    next = Mlx.to_list(Random.uniform({4}))
    assert {^next, other} = Random.with_state(state, fn -> Mlx.to_list(Random.uniform({4})) end)
    assert Mlx.to_list(other) == Mlx.to_list(Random.state())
    Random.uniform({4})
    Random.seed(state)
    assert Mlx.to_list(Random.uniform({4})) == next
  end

  test "with_state leaves the sequence of the process as it was" do
    draw = fn -> Mlx.to_list(Random.uniform({4})) end
    Random.seed(3)
    first = draw.()
    Random.seed(3)
    Random.with_state(Random.key(1), fn -> Random.seed(2) end)
    assert_raise RuntimeError, fn -> Random.with_state(Random.key(1), fn -> raise "no" end) end
    assert draw.() == first

    in_fresh_process = fn ->
      Random.with_state(Random.key(1), draw)
      draw.()
    end

    assert Task.await(Task.async(in_fresh_process)) != Task.await(Task.async(in_fresh_process))
  end

  test "a compiled function draws from a state among its arguments, as an ordinary one" do
    fun = fn state -> Random.with_state(state, fn -> Mlx.add(Random.bits({3}), Random.bits({3})) end) end

    [expected, actual] =
      for function <- [fun, Mlx.compile(fun)] do
        {first, state} = function.(Random.key(5))
        {second, _state} = function.(state)
        Enum.map([first, second], &Mlx.to_list/1)
      end

    assert actual == expected
    assert [first, second] = actual
    assert first != second
  end

  test "a sequence that was not seeded leaves :rand alone" do
    draw = fn ->
      :rand.seed(:exsss, {1, 2, 3})
      Random.uniform({1})
      :rand.uniform(1_000_000)
    end

    assert Task.await(Task.async(draw)) == Task.await(Task.async(draw))
  end

  test "wrong arguments" do
    assert_raise ArgumentError, fn -> Random.key(-1) end
    assert_raise ArgumentError, fn -> Random.key(2 ** 64) end
    assert_raise ArgumentError, ~r/Random.seed: expected a key/, fn -> Random.seed(Mlx.zeros({2})) end
    assert_raise ArgumentError, ~r/with_state: expected a key/, fn -> Random.with_state(Mlx.array(1), fn -> 1 end) end
    assert_raise ArgumentError, ~r/unknown option :seed/, fn -> Random.uniform({2}, seed: 1) end
    assert_raise ArgumentError, ~r/not both/, fn -> Random.categorical(Mlx.zeros({2}), shape: {}, num_samples: 1) end
    assert_raise Mlx.Error, fn -> Random.uniform({2}, type: :s32) end
    assert_raise Mlx.Error, fn -> Random.uniform({2}, low: Mlx.zeros({3})) end
    assert_raise Mlx.Error, fn -> Random.uniform({2}, key: Mlx.zeros({2})) end
    assert_raise Mlx.Error, fn -> Random.bits({2}, width: 3) end
    mean = Mlx.zeros({2})
    assert_raise Mlx.Error, fn -> Random.multivariate_normal(mean, Mlx.eye(2), type: :f16) end
    assert_raise Mlx.Error, fn -> Random.randint(0, 5, type: :f32) end
    assert_raise ArgumentError, ~r/do not broadcast/, fn -> Random.truncated_normal(Mlx.zeros({2}), Mlx.ones({3})) end
  end

  describe "randint with exact: true" do
    # 128 bits modulo the number of integers, in Elixir's own arithmetic.
    defp remainders(key, size, low, high) do
      words = key |> then(&Random.bits({size, 4}, key: &1)) |> Mlx.bitcast(:u64) |> Mlx.to_list()
      for [first, second] <- words, do: low + rem(first * 2 ** 64 + second, high - low)
    end

    test "takes the remainder of 128 bits, for every type and number of integers" do
      for {low, high, type} <- [
            {0, 1, :u8},
            {-128, 128, :s8},
            {-5, 5, :s64},
            {7, 2 ** 24 + 9, :s32},
            {0, 2 ** 32, :u32},
            {-(2 ** 31), 2 ** 31, :s32},
            {1, 2 ** 32 + 2, :s64},
            {-(2 ** 63), 2 ** 63 - 1, :s64},
            {0, 2 ** 64 - 1, :u64},
            {2 ** 63, 2 ** 64, :u64}
          ] do
        key = Random.key(Integer.mod(low, 1000))
        integers = Random.randint(low, high, shape: {50}, type: type, key: key, exact: true)
        assert integers.type == type
        assert Mlx.to_list(integers) == remainders(key, 50, low, high), "#{low} to #{high}"
      end
    end

    test "has every integer of a type" do
      key = Random.key(1)
      options = [shape: {4}, key: key, exact: true]
      assert [_, _, _, _] = u64 = Mlx.to_list(Random.randint(0, 2 ** 64, [type: :u64] ++ options))

      assert u64 ==
               key
               |> then(&Random.bits({4, 4}, key: &1))
               |> Mlx.bitcast(:u64)
               |> Mlx.to_list()
               |> Enum.map(&List.last/1)

      bytes = Random.randint(0, 256, type: :u8, shape: {10_000}, key: key, exact: true)
      assert bytes |> Mlx.to_list() |> Enum.uniq() |> length() == 256
    end

    test "takes arrays as bounds, which broadcast" do
      low = Mlx.array([[-(2 ** 40)], [5]], type: :s64)
      high = Mlx.array([2 ** 40, 7, 6], type: :s64)
      key = Random.key(3)
      [first, second] = Mlx.to_list(Random.randint(low, high, shape: {2, 3}, type: :s64, key: key, exact: true))
      words = Random.bits({2, 3, 4}, key: key) |> Mlx.bitcast(:u64) |> Mlx.to_list()

      for {row, words, low} <- [{first, hd(words), -(2 ** 40)}, {second, List.last(words), 5}],
          {integer, [a, b], high} <- Enum.zip([row, words, [2 ** 40, 7, 6]]) do
        assert integer == low + rem(a * 2 ** 64 + b, high - low)
      end

      # No integer lies between these.
      assert Mlx.to_list(Random.randint(Mlx.array([3, 9]), 3, shape: {2}, exact: true)) == [3, 9]
    end

    test "has every integer as often as any other" do
      counts =
        Random.randint(-1, 2, shape: {30_000}, key: Random.key(5), exact: true) |> Mlx.to_list() |> Enum.frequencies()

      assert Enum.all?([-1, 0, 1], &(counts[&1] in 9_700..10_300))
    end

    test "needs integers that the type holds" do
      for {low, high, type, message} <- [
            {0, 2, :f32, ~r/expected a type of integers, got: :f32/},
            {0, 2.5, :s32, ~r/expected integers or arrays of integers/},
            {Mlx.array(0.5), 2, :s32, ~r/expected integers or arrays of integers/},
            {3, 3, :s32, ~r/there is no integer from 3 up to less than 3/},
            {0, 257, :u8, ~r/does not hold all integers from 0 up to less than 257/},
            {-1, Mlx.array(3), :u8, ~r/the type :u8 does not hold/}
          ] do
        assert_raise ArgumentError, message, fn -> Random.randint(low, high, type: type, exact: true) end
      end
    end
  end

  test "permutations of nothing" do
    assert Mlx.to_list(Random.permutation(0)) == []
    assert Random.permutation(Mlx.zeros({0, 3})).shape == {0, 3}
    assert_raise ArgumentError, ~r/0-d array/, fn -> Random.permutation(Mlx.array(1)) end
  end
end
