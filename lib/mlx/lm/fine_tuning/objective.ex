defmodule Mlx.LM.FineTuning.Objective do
  @moduledoc false
  # What a training makes small: a loss of a decoder and a batch, and the metrics of the same kind.

  alias Mlx.{Array, NN, Tree}
  alias Mlx.LM.{Adapter, Decoder}
  alias Mlx.LM.FineTuning.{Loss, Preference, Split, Start}

  @enforce_keys [:kind, :beta, :reference]
  defstruct @enforce_keys

  @type t :: %__MODULE__{kind: :likelihood | :dpo | :orpo, beta: number(), reference: Decoder.t() | nil}

  @doc "The names of the objectives that are of pairs."
  @spec of_pairs() :: [atom()]
  def of_pairs, do: [:dpo, :orpo]

  @doc "The decoder without its adapter, in a type as `Split.around/3` has it, which no gradient goes through."
  @spec reference(Decoder.t(), Mlx.Type.t() | nil) :: Decoder.t()
  def reference(decoder, type) do
    decoder
    |> Start.mapped(fn _path, layer ->
      with {base, _change} <- Adapter.Change.taken(layer), do: base, else: (_ -> layer)
    end)
    |> frozen(type)
  end

  @doc "The decoder as it is, as a reference."
  @spec frozen(Decoder.t(), Mlx.Type.t() | nil) :: Decoder.t()
  def frozen(decoder, type), do: decoder |> NN.eval() |> Split.around(%{}, type)

  @doc "The loss of a batch, a scalar."
  @spec loss(t(), Decoder.t(), map(), false | (String.t() -> boolean())) :: Array.t()
  def loss(%{kind: :likelihood}, decoder, batch, checkpoint), do: Loss.of(decoder, batch, checkpoint)
  def loss(objective, decoder, batch, checkpoint), do: Mlx.mean(result(objective, decoder, batch, checkpoint).loss)

  @doc "The names and functions of the metrics of a decoder and a batch."
  @spec metrics(t()) :: [{atom(), (Decoder.t(), map() -> Array.t())}]
  def metrics(%{kind: :likelihood}), do: []

  def metrics(objective) do
    margin = fn decoder, batch -> result(objective, decoder, batch, false).margin end

    [
      margin: fn decoder, batch -> decoder |> margin.(batch) |> Mlx.mean() end,
      accuracy: fn decoder, batch -> decoder |> margin.(batch) |> Mlx.greater(0) |> Mlx.as_type(:f32) |> Mlx.mean() end
    ]
  end

  defp result(%{kind: kind}, _decoder, %{ids: %Array{shape: {_rows, _length}}}, _checkpoint) do
    raise ArgumentError,
          "expected batches of pairs for the objective #{inspect(kind)}, whose ids are {size, 2, length}, got ids without pairs"
  end

  defp result(%{kind: :orpo, beta: beta}, decoder, batch, checkpoint) do
    decoder |> Preference.sums(batch, checkpoint) |> Preference.orpo(beta)
  end

  defp result(%{kind: :dpo, beta: beta, reference: reference}, decoder, batch, checkpoint) do
    constant = reference |> Preference.sums(batch, false) |> Tree.map(&Mlx.stop_gradient/1)
    decoder |> Preference.sums(batch, checkpoint) |> Preference.dpo(constant, beta)
  end
end
