defmodule Mlx.LM.NestedCachesTest do
  # Caches that hold others: in the compiled step, in contexts, and cut back.
  use ExUnit.Case, async: true

  alias Mlx.LM.{Cache, CachePair, CompressedCache, Context, ContextFile, Decoder, Decoding, Sampler}
  alias Mlx.NestedCaches

  defp read(model, ids), do: Decoder.call(model, Mlx.array([ids]), Decoder.caches(model))

  # The tokens after a prompt by the step that is compiled for these caches.
  defp written(model, logits, caches) do
    {first, sampler} = Sampler.sample(Sampler.new(temperature: 0), logits)
    decode = Decoding.compile(model, caches)

    {tokens, _state} =
      Enum.map_reduce(1..20, {first, sampler, caches}, fn _step, {token, sampler, caches} ->
        Mlx.eval([token, caches])
        {Mlx.to_number(Mlx.squeeze(token)), Decoding.next(decode, token, sampler, caches)}
      end)

    tokens
  end

  defp copy(%Mlx.Array{shape: shape, type: type} = array), do: Mlx.from_binary(Mlx.to_binary(array), shape, type)

  for type <- NestedCaches.types() do
    test "#{type} writes the same with caches of a context, which is saved" do
      Mlx.Random.seed(7)
      model = NestedCaches.model(unquote(type))
      ids = for at <- 0..12, do: rem(at * 7, 40)
      {logits, caches} = read(model, ids)
      Mlx.eval([logits, caches])

      {arrays, metadata} = ContextFile.content(%Context{ids: ids, caches: caches}, model)
      arrays = Map.new(arrays, fn {name, array} -> {name, copy(array)} end)
      context = ContextFile.context({arrays, metadata}, model, "the context")
      tokens = written(model, logits, caches)
      assert written(model, logits, context.caches) == tokens

      # Without a compiled step, and each token with all before it.
      expected =
        Enum.map_reduce(1..20, ids, fn _step, ids ->
          {logits, _caches} = read(model, ids)
          token = logits |> Mlx.argmax(axis: -1) |> Mlx.squeeze() |> Mlx.to_number()
          {token, ids ++ [token]}
        end)

      assert tokens == elem(expected, 0)

      assert Enum.any?(caches, &(is_struct(&1, CachePair) or is_struct(&1, CompressedCache)))
      {empty, 0} = Cache.trim_all(caches, 0)
      assert Enum.map(empty, & &1.length) == [0, 0]
    end
  end

  test "each array of a context for such caches is checked" do
    for type <- NestedCaches.types() do
      model = NestedCaches.model(type)
      {_logits, caches} = read(model, [1, 2, 3, 4, 5])
      {arrays, metadata} = ContextFile.content(%Context{ids: [1, 2, 3, 4, 5], caches: caches}, model)
      arrays = Map.new(arrays, fn {name, array} -> {name, copy(array)} end)

      for {"caches." <> _ = name, array} <- arrays, wrong <- wrong(array) do
        read = fn -> ContextFile.context({%{arrays | name => wrong}, metadata}, model, "the context") end
        assert {type, name, wrong.shape, refused?(read)} == {type, name, wrong.shape, true}
      end
    end
  end

  defp wrong(%Mlx.Array{shape: shape}) do
    larger = for axis <- [0, tuple_size(shape) - 1], do: Mlx.zeros(put_elem(shape, axis, elem(shape, axis) + 1))
    [Mlx.zeros({2}), Mlx.zeros(shape, type: :s32) | larger]
  end

  defp refused?(fun) do
    fun.()
    false
  rescue
    error in Mlx.Error -> error.message =~ "do not fit"
  end
end
