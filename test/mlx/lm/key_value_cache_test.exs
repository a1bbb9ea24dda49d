defmodule Mlx.LM.KeyValueCacheTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.KeyValueCache

  doctest KeyValueCache

  defp part(length, seed), do: Mlx.Random.normal({1, 2, length, 4}, key: Mlx.Random.key(seed))

  test "holds what was added, in any parts" do
    lengths = [1, 1, 254, 1, 3, 300, 1, 255, 256, 513, 1]

    {cache, keys, values} =
      for {length, seed} <- Enum.with_index(lengths), reduce: {KeyValueCache.new(), [], []} do
        {cache, keys, values} ->
          {key, value} = {part(length, seed), part(length, seed + 100)}
          {all_keys, all_values, _mask, cache} = KeyValueCache.update(cache, key, value)
          {keys, values} = {keys ++ [key], values ++ [value]}
          assert Mlx.to_binary(all_keys) == Mlx.to_binary(Mlx.concatenate(keys, axis: 2))
          assert Mlx.to_binary(all_values) == Mlx.to_binary(Mlx.concatenate(values, axis: 2))
          {cache, keys, values}
      end

    assert cache.length == Enum.sum(lengths)
    assert length(keys) == length(values)
  end

  test "grows by steps and not with each token" do
    rooms =
      Enum.scan(1..600, KeyValueCache.new(), fn _position, cache ->
        {_keys, _values, _mask, cache} = KeyValueCache.update(cache, part(1, 0), part(1, 1))
        Mlx.eval(cache)
      end)
      |> Enum.map(&Mlx.axis_size(&1.keys, 2))

    assert Enum.frequencies(rooms) == %{256 => 256, 512 => 256, 768 => 88}
  end

  test "a long part gets the room it needs at once" do
    {_keys, _values, _mask, cache} = KeyValueCache.update(KeyValueCache.new(), part(700, 0), part(700, 1))
    assert cache.keys.shape == {1, 2, 768, 4}
  end

  test "gives up the buffers of the cache that it was given" do
    {_keys, _values, _mask, old} = KeyValueCache.update(KeyValueCache.new(), part(1, 0), part(1, 1))
    KeyValueCache.update(old, part(1, 2), part(1, 3))
    assert_raise ArgumentError, fn -> KeyValueCache.update(old, part(1, 4), part(1, 5)) end
  end

  test "what is trimmed is written anew" do
    {_keys, _values, _mask, cache} = KeyValueCache.update(KeyValueCache.new(), part(5, 0), part(5, 1))
    {keys, _values, _mask, cache} = cache |> KeyValueCache.trim(2) |> KeyValueCache.update(part(3, 2), part(3, 3))
    expected = Mlx.concatenate([Mlx.slice(part(5, 0), [0, 0, 0, 0], [1, 2, 2, 4]), part(3, 2)], axis: 2)
    assert Mlx.to_binary(keys) == Mlx.to_binary(expected)
    assert cache.length == 5

    assert_raise ArgumentError,
                 "Mlx.LM.KeyValueCache.trim: the cache has 5 positions, and cannot keep the first 6",
                 fn ->
                   KeyValueCache.trim(cache, 6)
                 end
  end
end
