defmodule Mlx.LM.Decoder.EmbeddingSkip do
  @moduledoc "A learned number times the stream before the first block. It is a mixer without a cache."

  @behaviour Mlx.LM.Decoder.Mixer

  alias Mlx.Array
  alias Mlx.LM.Decoder.Parameter

  @enforce_keys [:weight]
  defstruct @enforce_keys

  @type t :: %__MODULE__{weight: Array.t()}

  @doc "A skip with a zero. It has no options."
  @impl true
  @spec new(keyword()) :: t()
  def new([]), do: %__MODULE__{weight: Parameter.zeros({1})}

  @impl true
  def cache(%__MODULE__{}), do: nil

  @impl true
  def call(%__MODULE__{weight: weight}, _x, nil, %{embedded: embedded} = step) do
    {Mlx.multiply(embedded, weight), nil, step}
  end
end
