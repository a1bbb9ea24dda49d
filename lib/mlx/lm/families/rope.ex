defmodule Mlx.LM.Families.Rope do
  @moduledoc "The rotary positions that a `config.json` describes, under `rope_scaling` or `rope_parameters`."

  alias Mlx.LM.Decoder.RoPE
  alias Mlx.LM.Families.Fields

  @theta 10_000.0
  @most 65_536
  @longrope ["longrope", "su"]
  @yarn ["yarn", "deepseek_yarn", "telechat3-yarn"]
  @kinds ["default", "linear", "dynamic", "llama3", "proportional", "mrope" | @longrope ++ @yarn]

  @doc """
  The rotation of heads of `size` features.

  Options:

    * `:base` - by default `rope_theta`
    * `:dims` - how many features are rotated, by default `size`
    * `:traditional` - by default `rope_traditional`
    * `:scaling` - whether the scaling counts, default true; or another one, as that of `Mlx.LM.Decoder.RoPE.new/2`
  """
  @spec read(Fields.t(), pos_integer(), keyword()) :: RoPE.t()
  def read(fields, size, options \\ []) do
    settings = Fields.under(fields, "rope_scaling") || Fields.under(fields, "rope_parameters")
    dims = options[:dims] || size

    if dims < 2 or dims > min(size, @most) or rem(dims, 2) == 1 do
      raise Mlx.Error,
            "#{fields.source}: expected an even number of rotated features of a head, which has #{size}, " <>
              "and at most #{@most}, got: #{dims}"
    end

    base = options[:base] || theta(fields)
    if base == 1 and settings != nil, do: Fields.refuse(fields, "rope_theta", "another base than 1")

    RoPE.new(dims,
      base: base,
      traditional: Keyword.get_lazy(options, :traditional, fn -> Fields.flag(fields, "rope_traditional", false) end),
      scaling: wanted(Keyword.get(options, :scaling, true), fields, settings, dims)
    )
  end

  defp wanted(%{type: _type} = scaling, _fields, _settings, _dims), do: scaling
  defp wanted(true, fields, %Fields{} = settings, dims), do: scaling(fields, settings, dims)
  defp wanted(_scaling?, _fields, _settings, _dims), do: nil

  @doc """
  The rotation that stands under a name, such as a kind of layers, in `rope_parameters`. Options as `read/3`, and
  `:partial`, whether `partial_rotary_factor` says how many features are rotated, default false.
  """
  @spec of_kind(Fields.t(), String.t(), pos_integer(), keyword()) :: RoPE.t()
  def of_kind(fields, kind, size, options \\ []) do
    kinds = Fields.under(fields, "rope_parameters")
    own = (kinds && Fields.under(kinds, kind)) || Fields.refuse(fields, "rope_parameters", "an object with #{kind}")

    others = [
      "rope_scaling",
      "rope_theta" | if(Fields.has?(own, "partial_rotary_factor"), do: ["partial_rotary_factor"], else: [])
    ]

    fields = %{fields | map: fields.map |> Map.drop(others) |> Map.put("rope_parameters", own.map)}
    dims = if options[:partial], do: partial(fields, size), else: size
    read(fields, size, [dims: dims] ++ Keyword.delete(options, :partial))
  end

  @doc "The base of the frequencies."
  @spec theta(Fields.t(), number()) :: number()
  def theta(fields, default \\ @theta) do
    nested = Fields.under(fields, "rope_parameters")
    Fields.positive(fields, "rope_theta", nil) || (nested && Fields.positive(nested, "rope_theta", nil)) || default
  end

  @doc "How many of `size` features are rotated, by `partial_rotary_factor`."
  @spec partial(Fields.t(), pos_integer(), number()) :: pos_integer()
  def partial(fields, size, default \\ 1.0) do
    nested = Fields.under(fields, "rope_parameters")
    factor = Fields.positive(fields, "partial_rotary_factor", nil)
    trunc(size * (factor || (nested && Fields.positive(nested, "partial_rotary_factor", nil)) || default))
  end

  defp scaling(fields, settings, dims) do
    key = if Fields.has?(settings, "type"), do: "type", else: "rope_type"
    type = Fields.choice(settings, key, @kinds, "default")
    Map.put(details(type, fields, settings, dims), :type, type)
  end

  defp details("linear", _fields, settings, _dims), do: %{factor: Fields.positive(settings, "factor")}

  defp details("dynamic", fields, settings, _dims) do
    %{factor: Fields.positive(settings, "factor"), max_position: Fields.size(fields, "max_position_embeddings")}
  end

  defp details("llama3", _fields, settings, _dims) do
    %{
      factor: Fields.positive(settings, "factor"),
      low_freq_factor: Fields.positive(settings, "low_freq_factor", 1.0),
      high_freq_factor: Fields.positive(settings, "high_freq_factor", 4.0),
      original: Fields.size(settings, "original_max_position_embeddings", 8192)
    }
  end

  defp details(type, _fields, settings, _dims) when type in @yarn do
    %{
      factor: Fields.positive(settings, "factor"),
      original: Fields.size(settings, "original_max_position_embeddings", 4096),
      beta_fast: Fields.positive(settings, "beta_fast", 32),
      beta_slow: Fields.positive(settings, "beta_slow", 1),
      mscale: Fields.number(settings, "mscale", 1),
      mscale_all_dim: Fields.number(settings, "mscale_all_dim", 0)
    }
  end

  defp details(type, fields, settings, dims) when type in @longrope do
    original =
      Fields.size(settings, "original_max_position_embeddings", nil) ||
        Fields.size(fields, "original_max_position_embeddings")

    if original == 1, do: Fields.refuse(settings, "original_max_position_embeddings", "at least 2 positions")
    factors = Fields.list(settings, "long_factor", div(dims, 2), nil)

    if factors == nil or not Enum.all?(factors, &is_number/1) do
      Fields.refuse(settings, "long_factor", "a list of #{div(dims, 2)} numbers")
    end

    %{
      max_position: Fields.size(fields, "max_position_embeddings"),
      original: original,
      long_factor: factors,
      mscale: Fields.positive(settings, "long_mscale", nil)
    }
  end

  defp details("proportional", _fields, settings, _dims) do
    %{
      factor: Fields.positive(settings, "factor", 1.0),
      partial_rotary_factor: Fields.positive(settings, "partial_rotary_factor", 1.0)
    }
  end

  defp details(_plain, _fields, _settings, _dims), do: %{}
end
