defmodule Mlx.LM.Llama.Config do
  @moduledoc "The sizes and constants of a Llama model, read from the metadata of a GGUF file."

  @enforce_keys [
    :layers,
    :width,
    :heads,
    :key_value_heads,
    :head_size,
    :context_length,
    :norm_eps,
    :rope_dimensions,
    :rope_base,
    :rope_scale
  ]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          layers: pos_integer(),
          width: pos_integer(),
          heads: pos_integer(),
          key_value_heads: pos_integer(),
          head_size: pos_integer(),
          context_length: pos_integer(),
          norm_eps: float(),
          rope_dimensions: pos_integer(),
          rope_base: float(),
          rope_scale: float()
        }

  @doc """
  The configuration that the metadata describes.

  Raises `Mlx.Error` where a size is missing or no positive number, and for what the model does not have: experts, and
  other scalings of the rotary encoding than linear ones.
  """
  @spec from_gguf(%{String.t() => Mlx.IO.GGUFMetadata.value()}) :: t()
  def from_gguf(metadata) do
    width = size!(metadata, "embedding_length")
    heads = size!(metadata, "attention.head_count")
    head_size = size!(metadata, "attention.key_length", div(width, heads))
    if metadata["llama.expert_count"] not in [nil, 0], do: fail("mixtures of experts are not supported")

    %__MODULE__{
      layers: size!(metadata, "block_count"),
      width: width,
      heads: heads,
      key_value_heads: size!(metadata, "attention.head_count_kv", heads),
      head_size: head_size,
      context_length: size!(metadata, "context_length"),
      norm_eps: number!(metadata, "attention.layer_norm_rms_epsilon", nil),
      rope_dimensions: size!(metadata, "rope.dimension_count", head_size),
      rope_base: number!(metadata, "rope.freq_base", 10_000.0),
      rope_scale: rope_scale(metadata)
    }
  end

  defp rope_scale(metadata) do
    case metadata["llama.rope.scaling.type"] do
      "linear" -> 1 / number!(metadata, "rope.scaling.factor", nil)
      none when none in [nil, "none"] -> 1.0
      other -> fail("llama.rope.scaling.type is #{inspect(other)}; only linear scaling is supported")
    end
  end

  defp size!(metadata, key, default \\ nil) do
    case Map.get(metadata, "llama.#{key}", default) do
      size when is_integer(size) and size > 0 -> size
      other -> fail("llama.#{key} is #{inspect(other)}, expected a positive integer")
    end
  end

  defp number!(metadata, key, default) do
    case Map.get(metadata, "llama.#{key}", default) do
      number when is_number(number) and number > 0 -> number
      other -> fail("llama.#{key} is #{inspect(other)}, expected a positive number")
    end
  end

  @spec fail(String.t()) :: no_return()
  defp fail(problem), do: raise(Mlx.Error, message: "the model can't be read: #{problem}")
end
