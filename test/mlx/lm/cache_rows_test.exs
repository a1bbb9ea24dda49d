defmodule Mlx.LM.CacheRowsTest do
  # Caches of a batch whose rows have read different numbers of positions give each row what it has alone.
  use ExUnit.Case, async: true

  alias Mlx.LM.{KeyValueCache, QuantizedCache, RotatingCache}
  alias Mlx.LM.Decoder.{CappedAttention, Mask, RoPE, Temperature}

  @lengths [3, 40, 1, 255]

  defp random(shape, seed), do: Mlx.Random.normal(shape, key: Mlx.Random.key(seed))
  defp rows(array), do: Mlx.split(array, length(@lengths))
  defp lengths, do: Mlx.array(@lengths, type: :s32)

  defp assert_close(a, b) do
    assert a.shape == b.shape
    assert Mlx.to_number(Mlx.reduce_max(Mlx.abs(Mlx.subtract(a, b)))) < 1.0e-5
  end

  # The caches of the rows alone, and one of all with the same content.
  defp caches(new, update) do
    alone =
      for {length, seed} <- Enum.with_index(@lengths) do
        {keys, values} = {random({1, 2, length, 64}, seed), random({1, 2, length, 64}, seed + 10)}
        {_keys, _values, _mask, cache} = update.(new, keys, values)
        cache
      end

    part = Mlx.zeros({length(@lengths), 2, 1, 64})
    {_keys, _values, _mask, empty} = update.(new, part, part)
    {alone, %{empty | length: lengths()}}
  end

  defp joined([%QuantizedCache{} | _] = alone, batch) do
    [keys, values] =
      for name <- [:keys, :values] do
        alone |> Enum.map(&Tuple.to_list(Map.fetch!(&1, name))) |> Enum.zip_with(&Mlx.concatenate/1) |> List.to_tuple()
      end

    %{batch | keys: keys, values: values}
  end

  defp joined(alone, batch) do
    %{batch | keys: whole(alone, :keys), values: whole(alone, :values)}
  end

  # Rotating caches grow by steps, so that those of short rows have less room.
  defp whole(alone, name) do
    room = alone |> Enum.map(&Mlx.axis_size(Map.fetch!(&1, name), 2)) |> Enum.max()

    Mlx.concatenate(
      for cache <- alone, %{shape: {1, heads, own, size}} = buffer = Map.fetch!(cache, name) do
        Mlx.concatenate([buffer, Mlx.zeros({1, heads, room - own, size})], axis: 2)
      end
    )
  end

  for {kind, new, counts} <- [
        {KeyValueCache, quote(do: KeyValueCache.new()), [1, 4]},
        {QuantizedCache, quote(do: QuantizedCache.new(bits: 8)), [1, 4]},
        {RotatingCache, quote(do: RotatingCache.new(32)), [1]},
        {RotatingCache, quote(do: RotatingCache.new(32, keep: 4)), [1]}
      ],
      count <- counts do
    test "#{Macro.to_string(new)} of #{inspect(kind)} with #{count} more positions" do
      kind = unquote(kind)
      {alone, batch} = caches(unquote(new), &kind.update/3)
      alone = Enum.map(alone, &roomy/1)
      batch = roomy(joined(alone, batch))

      [queries, keys, values] =
        for {heads, seed} <- [{4, 1}, {2, 2}, {2, 3}], do: random({4, heads, unquote(count), 64}, seed)

      {given, kept} = attend(kind, batch, queries, keys, values)
      assert Mlx.to_list(kept.length) == Enum.map(@lengths, &(&1 + unquote(count)))

      for {{cache, {q, {k, v}}}, row} <-
            Enum.zip(Enum.zip(alone, Enum.zip(rows(queries), Enum.zip(rows(keys), rows(values)))), rows(given)) do
        {expected, _cache} = attend(kind, cache, q, k, v)
        assert_close(row, expected)
      end
    end
  end

  # Room for four more positions.
  defp roomy(%KeyValueCache{length: length} = cache) when is_integer(length), do: KeyValueCache.make_room(cache, 4)

  defp roomy(%QuantizedCache{length: %Mlx.Array{}} = cache) do
    %{QuantizedCache.make_room(%{cache | length: 255}, 4) | length: lengths()}
  end

  defp roomy(cache), do: cache

  defp attend(RotatingCache, cache, queries, keys, values) do
    {keys, values, mask, cache} = RotatingCache.update(cache, keys, values)
    {Mlx.Fast.scaled_dot_product_attention(queries, keys, values, scale: 0.125, mask: mask), cache}
  end

  defp attend(kind, cache, queries, keys, values), do: kind.attend(cache, queries, keys, values)

  test "rotations, temperatures, chunks and capped scores of rows at their positions" do
    x = random({4, 2, 3, 16}, 5)

    for rope <- [RoPE.new(16), RoPE.new(8, scaling: %{type: "dynamic", factor: 4.0, max_position: 32})] do
      all = RoPE.call(rope, x, lengths())

      for {{row, at}, given} <- Enum.zip(Enum.zip(rows(x), @lengths), rows(all)),
          do: assert_close(given, RoPE.call(rope, row, at))
    end

    all = Temperature.call({0.3, 16}, x, lengths())

    for {{row, at}, given} <- Enum.zip(Enum.zip(rows(x), @lengths), rows(all)) do
      assert_close(given, Temperature.call({0.3, 16}, row, at))
    end

    keys = random({4, 2, 300, 16}, 6)
    mask = Mask.chunk(16, lengths(), x, keys)
    assert mask.shape == {4, 1, 3, 300}
    all = CappedAttention.call(x, keys, keys, mask, 0.25, 5.0)

    for {{row, at}, {key, given}} <- Enum.zip(Enum.zip(rows(x), @lengths), Enum.zip(rows(keys), rows(all))) do
      assert_close(given, CappedAttention.call(row, key, key, Mask.chunk(16, at, row, key), 0.25, 5.0))
    end
  end
end
