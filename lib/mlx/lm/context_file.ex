defmodule Mlx.LM.ContextFile do
  @moduledoc false
  # A context as a safetensors file: the tokens, "ids", and the arrays of each cache, "caches.N.PATH" with the path in its
  # buffers. Metadata says what the caches are and which model they are of. Context calls it.
  #
  # Of keys and values only the positions that are in them are written.

  alias Mlx.{Array, Tree}
  alias Mlx.Arguments.Given
  alias Mlx.LM.{Cache, CacheChoice, CachePair, CompressedCache, Context, Decoder}
  alias Mlx.LM.{KeyValueCache, QuantizedCache, RotatingCache, StateCache}
  alias Mlx.LM.Families.Fields

  @format "mlx.lm.context"
  @version "1"

  # Kinds of caches, and the constants that they have.
  @kinds %{
    "key_value" => {KeyValueCache, []},
    "quantized" => {QuantizedCache, [:bits, :group_size]},
    "rotating" => {RotatingCache, [:window, :keep]},
    "state" => {StateCache, []}
  }

  @doc "The arrays and the metadata of a context."
  @spec content(Context.t(), Decoder.t()) :: {%{String.t() => Array.t()}, %{String.t() => String.t()}}
  def content(%Context{ids: []}, _model), do: raise(ArgumentError, "nothing was read in the context")

  def content(%Context{ids: ids, caches: caches}, model) do
    arrays =
      for {cache, index} <- Enum.with_index(caches), {path, array} <- Tree.flatten(filled(cache)), into: %{} do
        {"caches.#{index}.#{path}", array}
      end

    metadata = %{
      "format" => @format,
      "version" => @version,
      "model" => fingerprint(model),
      "caches" => JSON.encode!(Enum.map(caches, &description/1))
    }

    {Map.put(arrays, "ids", Mlx.array(ids, type: :u32)), metadata}
  end

  defp filled(%kind{length: length} = cache) when kind in [KeyValueCache, QuantizedCache] do
    Tree.map(Cache.buffers(cache), fn %Array{shape: {batch, heads, _room, size}} = array ->
      Mlx.slice(array, [0, 0, 0, 0], [batch, heads, length, size])
    end)
  end

  defp filled(cache), do: Cache.buffers(cache)

  defp description(%module{length: length} = cache) do
    {kind, constants} =
      Enum.find_value(@kinds, {inspect(module), []}, fn {kind, {known, constants}} ->
        if known == module, do: {kind, constants}
      end)

    Map.merge(%{"kind" => kind, "length" => length}, Map.new(constants, &{to_string(&1), Map.fetch!(cache, &1)}))
  end

  # What tells a model from others of the same shapes.
  defp fingerprint(%Decoder{config: config, model: %{norm: norm, layers: layers}}) do
    norms = for array <- Tree.arrays(norm), do: Mlx.to_binary(array)
    facts = "#{config.vocabulary} #{config.width} #{config.context_length} #{length(layers)} "
    Base.encode16(:crypto.hash(:sha256, [facts | norms]), case: :lower)
  end

  @doc "The context of arrays and metadata. Raises `Mlx.Error` where something is not that of a context of this model."
  @spec context({%{String.t() => Array.t()}, %{String.t() => String.t()}}, Decoder.t(), Path.t()) :: Context.t()
  def context({arrays, metadata}, model, path) do
    expect!(metadata["format"] == @format, path, "holds no context")

    expect!(
      metadata["version"] == @version,
      path,
      "has the version #{Given.text(metadata["version"])}, expected #{@version}"
    )

    expect!(metadata["model"] == fingerprint(model), path, "is of another model, or of one loaded in another form")
    ids = ids!(arrays["ids"], model, path)
    descriptions = descriptions!(metadata["caches"], path)
    expected = CacheChoice.shapes(model)

    expect!(
      length(descriptions) == length(expected),
      path,
      "has #{length(descriptions)} caches, and the model #{length(expected)}"
    )

    named = for {name, array} <- arrays, name != "ids", do: {name, array}
    caches = [expected, descriptions] |> Enum.zip() |> Enum.with_index(&cache(&1, &2, length(ids), named, path))

    known =
      for {cache, index} <- Enum.with_index(caches),
          {part, _} <- Tree.flatten(Cache.buffers(cache)),
          do: "caches.#{index}.#{part}"

    unknown = for {name, _array} <- named, name not in known, do: name
    expect!(unknown == [], path, "has arrays of no cache: #{Given.text(Enum.sort(unknown))}")
    %Context{ids: ids, caches: Mlx.eval(caches)}
  end

  defp expect!(true, _path, _problem), do: :ok
  defp expect!(false, path, problem), do: raise(Mlx.Error, message: "#{path} #{problem}")

  defp ids!(%Array{type: :u32, shape: {count}} = array, %{config: config}, path) when count > 0 do
    expect!(count <= config.context_length, path, "has more tokens than the model's #{config.context_length}")
    ids = Mlx.to_list(array)
    expect!(Enum.all?(ids, &(&1 < config.vocabulary)), path, "has tokens that the model does not")
    ids
  end

  defp ids!(_other, _model, path), do: expect!(false, path, "has no tokens")

  defp descriptions!(text, path) do
    with true <- is_binary(text),
         {:ok, list} when is_list(list) <- JSON.decode(text),
         true <- Enum.all?(list, &is_map/1) do
      list
    else
      _other -> expect!(false, path, "does not say what its caches are")
    end
  end

  # The cache with its arrays, of the kind that is written there, where the model's can be of that.
  defp cache({expected, description}, index, length, named, path) do
    fields = Fields.new(description, "#{path}, cache #{index}")
    template = template(expected, fields)
    if Fields.size(fields, "length") != length, do: Fields.refuse(fields, "length", "#{length}, the number of tokens")
    prefix = "caches.#{index}."

    own =
      for {name, array} <- named,
          String.starts_with?(name, prefix),
          into: %{},
          do: {String.replace_prefix(name, prefix, ""), array}

    buffers = Cache.buffers(template)

    for {part, %Array{} = wanted} <- Tree.flatten(buffers) do
      given = own[part] || expect!(false, path, "has no #{prefix}#{part}")
      check!(part(template, part, length), wanted, given, length, "#{path}: #{prefix}#{part}")
    end

    Cache.put_buffers(template, Tree.unflatten(own, buffers), length)
  end

  # What holds an array of a cache that holds others. Those with keys and values have room for more there.
  defp part(%CachePair{first: first}, "0." <> _array, length), do: roomy(first, length)
  defp part(%CachePair{second: second}, _array, length), do: roomy(second, length)
  defp part(%CompressedCache{window: window}, "0." <> _array, _length), do: window
  defp part(%CompressedCache{ratio: ratio}, "1." <> _array, length), do: {:room, div(length, ratio)}
  defp part(%CompressedCache{}, _rows, _length), do: StateCache.new()
  defp part(template, _array, _length), do: template

  defp roomy(%KeyValueCache{}, length), do: {:room, length}
  defp roomy(cache, _length), do: cache

  defp check!(template, wanted, given, length, name) do
    if given.type != wanted.type or not fits?(template, wanted.shape, given.shape, length) do
      raise Mlx.Error,
        message:
          "#{name} has the type #{inspect(given.type)} and the shape #{inspect(given.shape)}, which do not fit " <>
            "#{length} positions of #{inspect(wanted.type)} and #{inspect(wanted.shape)}"
    end
  end

  defp fits?({:room, least}, {batch, heads, _, size}, {batch, heads, room, size}, _length), do: room >= least
  defp fits?({:room, _least}, _wanted, _given, _length), do: false

  defp fits?(%kind{}, {batch, heads, _, size}, given, length) when kind in [KeyValueCache, QuantizedCache] do
    given == {batch, heads, length, size}
  end

  defp fits?(%RotatingCache{window: window}, {batch, heads, _, size}, {batch, heads, room, size}, length) do
    room >= min(length, window) and room <= window
  end

  defp fits?(%RotatingCache{}, _wanted, _given, _length), do: false
  defp fits?(%StateCache{}, wanted, given, _length), do: wanted == given
  defp fits?(_own_kind, wanted, given, _length), do: tuple_size(wanted) == tuple_size(given)

  # A cache of the right kind with arrays that say the shapes.
  defp template(%module{} = expected, fields) do
    own = description(%{expected | length: 1})

    case {expected, Fields.text(fields, "kind")} do
      {%KeyValueCache{}, "quantized"} ->
        QuantizedCache.from_cache(expected, packing(fields, expected))

      {%KeyValueCache{keys: keys, values: values}, "rotating"} ->
        window = Fields.size(fields, "window")
        keep = Fields.count(fields, "keep", 0)
        if keep >= window, do: Fields.refuse(fields, "keep", "less than the window, #{window}")
        %{RotatingCache.new(window, keep: keep) | keys: keys, values: values}

      {_same, kind} ->
        if kind != own["kind"], do: Fields.refuse(fields, "kind", "#{own["kind"]}, which the model has")

        for {key, value} <- own,
            key != "length",
            fields.map[key] != value,
            do: Fields.refuse(fields, key, Given.text(value))

        struct!(module, Map.from_struct(expected))
    end
  end

  defp packing(fields, %{keys: keys, values: values}) do
    [bits, group_size] = for key <- ["bits", "group_size"], do: Fields.size(fields, key)
    if bits not in [2, 3, 4, 5, 6, 8], do: Fields.refuse(fields, "bits", "2, 3, 4, 5, 6 or 8")
    sizes = for array <- [keys, values], do: Mlx.axis_size(array, 3)

    if group_size not in [32, 64, 128] or Enum.any?(sizes, &(rem(&1, group_size) != 0)) do
      Fields.refuse(fields, "group_size", "32, 64 or 128, a divisor of the #{Enum.join(sizes, " and ")} features")
    end

    [bits: bits, group_size: group_size]
  end
end
