defmodule Mlx.LM.CacheChoice do
  @moduledoc false
  # Which caches a generation uses in place of those with all keys and values: quantized ones, or ones of the last positions.
  # The other kinds stay, because the model chose them. Generation calls it with the option `:cache`.

  alias Mlx.Array
  alias Mlx.Arguments.Given
  alias Mlx.LM.{Cache, Decoder, KeyValueCache, QuantizedCache, RotatingCache}

  @options [bits: nil, group_size: 64, start: 0, max_size: nil, keep: 4]

  @type t :: %{
          packing: keyword() | nil,
          start: non_neg_integer(),
          max_size: pos_integer() | nil,
          keep: non_neg_integer()
        }

  @doc "The choice of the option, or nil for nil. Messages name no function."
  @spec new!(term(), Decoder.t()) :: t() | nil
  def new!(nil, _model), do: nil

  def new!(options, model) do
    if not Keyword.keyword?(options), do: refuse!("a keyword list", options)
    for {name, _value} <- options, not Keyword.has_key?(@options, name), do: refuse!(known(), options)
    options = Keyword.merge(@options, options)

    for name <- [:start, :keep],
        do: check!(name, options[name], &(is_integer(&1) and &1 >= 0), "an integer of at least 0")

    case {options[:bits], options[:max_size]} do
      {nil, nil} -> refuse!(":bits or :max_size", options)
      {nil, size} -> rotating(size, options)
      {_bits, nil} -> quantized(options, model)
      {_bits, _size} -> refuse!("either :bits or :max_size", options)
    end
  end

  defp known, do: "a keyword list of #{Enum.map_join(Keyword.keys(@options), ", ", &inspect/1)}"

  defp rotating(size, options) do
    check!(:max_size, size, &(is_integer(&1) and &1 > options[:keep]), "an integer over :keep, #{options[:keep]}")
    %{packing: nil, start: 0, max_size: size, keep: options[:keep]}
  end

  defp quantized(options, model) do
    packing = Keyword.take(options, [:bits, :group_size])
    QuantizedCache.new(packing)

    for %KeyValueCache{keys: keys, values: values} <- shapes(model), %Array{shape: {_, _, _, size}} <- [keys, values] do
      check!(:group_size, packing[:group_size], &(rem(size, &1) == 0), "a divisor of the #{size} features of a head")
    end

    %{packing: packing, start: options[:start], max_size: nil, keep: 0}
  end

  defp check!(name, value, valid?, expected) do
    if not valid?.(value) do
      raise ArgumentError, "expected #{inspect(name)} of :cache to be #{expected}, got: #{Given.text(value)}"
    end
  end

  defp refuse!(expected, given) do
    raise ArgumentError, "expected :cache to have #{expected}, got: #{Given.text(given)}"
  end

  @doc "The caches of a model after one token, which is not computed: they say the shapes of all."
  @spec shapes(Decoder.t()) :: [Cache.t()]
  def shapes(model) do
    {_x, caches} = Decoder.hidden(model, Mlx.array([[0]]), Decoder.caches(model))
    caches
  end

  @doc "Empty caches."
  @spec caches(Decoder.t(), t() | nil) :: [Cache.t()]
  def caches(model, %{max_size: size, keep: keep}) when size != nil do
    for cache <- Decoder.caches(model) do
      if is_struct(cache, KeyValueCache), do: RotatingCache.new(size, keep: keep), else: cache
    end
  end

  def caches(model, _choice), do: Decoder.caches(model)

  @doc "Raises `ArgumentError` for the caches of a context that cannot become the chosen ones."
  @spec check_context!([Cache.t()], t() | nil) :: :ok
  def check_context!(caches, %{max_size: size, keep: keep}) when size != nil do
    for cache <- caches, full?(cache) or (is_struct(cache, RotatingCache) and cache.keep not in [0, keep]) do
      raise ArgumentError, "the :context was made without :max_size of :cache, and cannot be used with it"
    end

    :ok
  end

  def check_context!(_caches, _choice), do: :ok

  defp full?(%kind{}), do: kind in [KeyValueCache, QuantizedCache]

  @doc "The caches that have as many positions as the choice says, quantized, and whether some are."
  @spec quantize([Cache.t()], t()) :: {[Cache.t()], boolean()}
  def quantize(caches, %{packing: packing, start: start}) do
    wanted? = &(is_struct(&1, KeyValueCache) and &1.length > 0 and &1.length >= start)

    if packing != nil and Enum.any?(caches, wanted?) do
      caches = for cache <- caches, do: if(wanted?.(cache), do: QuantizedCache.from_cache(cache, packing), else: cache)
      {Mlx.eval(caches), true}
    else
      {caches, false}
    end
  end
end
