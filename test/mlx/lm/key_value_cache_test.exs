defmodule Mlx.LM.KeyValueCacheTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.KeyValueCache

  doctest KeyValueCache

  defp held(buffer, cache), do: Mlx.slice(buffer, [0, 0, 0, 0], [1, 2, cache.length, 4])
  defp part(length, seed), do: Mlx.Random.normal({1, 2, length, 4}, key: Mlx.Random.key(seed))

  test "holds what was added, in any parts" do
    lengths = [1, 1, 254, 1, 3, 300, 1, 255, 256, 513, 1]

    {cache, keys, values} =
      for {length, seed} <- Enum.with_index(lengths), reduce: {KeyValueCache.new(), [], []} do
        {cache, keys, values} ->
          {key, value} = {part(length, seed), part(length, seed + 100)}
          {_output, cache} = KeyValueCache.attend(cache, key, key, value)
          {keys, values} = {keys ++ [key], values ++ [value]}
          assert Mlx.to_binary(held(cache.keys, cache)) == Mlx.to_binary(Mlx.concatenate(keys, axis: 2))
          assert Mlx.to_binary(held(cache.values, cache)) == Mlx.to_binary(Mlx.concatenate(values, axis: 2))
          {cache, keys, values}
      end

    assert cache.length == Enum.sum(lengths)
    assert length(keys) == length(values)
  end

  test "attends to all positions up to each query's, compiled once for all lengths or not" do
    attend = fn queries, keys, values, key_buffer, value_buffer, start ->
      cache = %KeyValueCache{keys: key_buffer, values: value_buffer, length: start}
      {output, cache} = KeyValueCache.attend(cache, queries, keys, values)
      {output, cache.keys, cache.values}
    end

    compiled = Mlx.compile(attend)

    for count <- [1, 3], reduce: {Mlx.zeros({1, 2, 16, 4}), Mlx.zeros({1, 2, 16, 4})} do
      buffers ->
        for step <- 0..3, reduce: buffers do
          {key_buffer, value_buffer} ->
            [queries, keys, values] = for seed <- 0..2, do: part(count, 10 * step + seed)
            queries = Mlx.concatenate([queries, Mlx.negate(queries)], axis: 1)
            start = Mlx.array(step * count)
            {output, new_keys, new_values} = compiled.(queries, keys, values, key_buffer, value_buffer, start)
            {same, _keys, _values} = attend.(queries, keys, values, key_buffer, value_buffer, start)
            [all_keys, all_values] = for b <- [new_keys, new_values], do: held(b, %{length: (step + 1) * count})
            mask = if count > 1, do: :causal
            expected = Mlx.Fast.scaled_dot_product_attention(queries, all_keys, all_values, mask: mask)
            assert Mlx.to_binary(output) == Mlx.to_binary(expected)
            assert Mlx.to_binary(same) == Mlx.to_binary(expected)
            {new_keys, new_values}
        end
    end
  end

  test "refuses positions that the buffers have no room for, and a start without a value" do
    buffer = Mlx.zeros({1, 2, 4, 4})
    cache = fn start -> %KeyValueCache{keys: buffer, values: buffer, length: start} end

    assert_raise ArgumentError, ~r/3 positions from 2 on are not in a buffer of 4/, fn ->
      KeyValueCache.attend(cache.(Mlx.array(2)), part(3, 0), part(3, 1), part(3, 2))
    end

    assert_raise Mlx.Error, ~r/a number that shapes depend on has to be known/, fn ->
      {output, _cache} = KeyValueCache.attend(cache.(Mlx.add(Mlx.array(0), 1)), part(1, 0), part(1, 1), part(1, 2))
      Mlx.eval(output)
    end
  end

  test "grows by steps and not with each token" do
    rooms =
      Enum.scan(1..600, KeyValueCache.new(), fn _position, cache ->
        {_output, cache} = KeyValueCache.attend(cache, part(1, 2), part(1, 0), part(1, 1))
        Mlx.eval(cache)
      end)
      |> Enum.map(&Mlx.axis_size(&1.keys, 2))

    assert Enum.frequencies(rooms) == %{256 => 256, 512 => 256, 768 => 88}
  end

  test "a long part gets the room it needs at once" do
    {_output, cache} = KeyValueCache.attend(KeyValueCache.new(), part(700, 2), part(700, 0), part(700, 1))
    assert cache.keys.shape == {1, 2, 768, 4}
  end

  test "gives up the buffers of the cache that it was given" do
    {_output, old} = KeyValueCache.attend(KeyValueCache.new(), part(1, 6), part(1, 0), part(1, 1))
    KeyValueCache.attend(old, part(1, 6), part(1, 2), part(1, 3))
    assert_raise ArgumentError, fn -> KeyValueCache.attend(old, part(1, 6), part(1, 4), part(1, 5)) end
  end

  test "what is trimmed is written anew" do
    {_output, cache} = KeyValueCache.attend(KeyValueCache.new(), part(5, 6), part(5, 0), part(5, 1))
    {_output, cache} = cache |> KeyValueCache.trim(2) |> KeyValueCache.attend(part(3, 6), part(3, 2), part(3, 3))
    expected = Mlx.concatenate([Mlx.slice(part(5, 0), [0, 0, 0, 0], [1, 2, 2, 4]), part(3, 2)], axis: 2)
    assert Mlx.to_binary(held(cache.keys, cache)) == Mlx.to_binary(expected)
    assert cache.length == 5

    assert_raise ArgumentError,
                 "Mlx.LM.KeyValueCache.trim: the cache has 5 positions, and cannot keep the first 6",
                 fn ->
                   KeyValueCache.trim(cache, 6)
                 end
  end
end
