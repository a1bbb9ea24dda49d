defmodule Mlx.LM.FineTuning.Objective do
  @moduledoc false
  # What a training makes small: a loss of a decoder and a batch, and the metrics of the same kind.

  alias Mlx.{Array, NN, Tree}
  alias Mlx.Arguments.{Given, OptionKinds}
  alias Mlx.LM.{Decoder, FineTuning, TrainingData}
  alias Mlx.LM.FineTuning.{Loss, Preference, Split, Start}

  @enforce_keys [:kind, :beta, :reference]
  defstruct @enforce_keys

  @type t :: %__MODULE__{kind: :likelihood | :dpo | :orpo, beta: number(), reference: Decoder.t() | nil}

  @pairs [:dpo, :orpo]

  @options [
    objective: {:likelihood, {:one_of, [:likelihood | @pairs]}},
    beta: {0.1, :positive},
    reference: {nil, {:optional, {&FineTuning.tuning?/1, "an Mlx.LM.FineTuning"}}}
  ]

  @name inspect(__MODULE__)

  @doc "The options, their defaults and kinds."
  @spec options() :: OptionKinds.t()
  def options, do: @options

  @doc "What errors about batches begin with."
  @spec name() :: String.t()
  def name, do: @name

  @doc """
  The objective of these options. `type` is that of `Split.around/3`, and `function` the one of `Mlx.LM.FineTuning` that errors
  name. Where no reference is given, a whole model is compared with itself before its training.
  """
  @spec new(FineTuning.t(), keyword(), Mlx.Type.t() | nil, String.t()) :: t()
  def new(tuning, options, type, function) do
    reference =
      case {options[:objective], options[:reference]} do
        {:dpo, nil} -> without_adapter(tuning, function)
        {:dpo, %{decoder: decoder}} -> decoder
        _none -> nil
      end

    # No gradient goes through it.
    reference = reference && reference |> NN.eval() |> Split.around(%{}, type) |> Mlx.eval()
    %__MODULE__{kind: options[:objective], beta: options[:beta], reference: reference}
  end

  defp without_adapter(%{kind: :full}, "evaluate") do
    raise ArgumentError,
          "Mlx.LM.FineTuning.evaluate: expected :reference, the model before its training, because one of the kind :full " <>
            "does not have it, got: nil"
  end

  defp without_adapter(%{decoder: decoder}, _function), do: Start.without_adapters(decoder)

  @doc "Raises for texts that are of another objective. Of `sets`, what is no `Mlx.LM.TrainingData` is left out."
  @spec check_pairs!(t(), list(), String.t()) :: :ok
  def check_pairs!(%{kind: kind}, sets, function) do
    for %TrainingData{pairs: pairs, path: path} <- sets, pairs != kind in @pairs do
      raise ArgumentError,
            "Mlx.LM.FineTuning.#{function}: expected lines #{if pairs, do: "without", else: "with"} \"chosen\" and " <>
              "\"rejected\" for the objective #{inspect(kind)}, got those of #{path}"
    end

    :ok
  end

  @doc "The loss of a batch, a scalar."
  @spec loss(t(), Decoder.t(), map(), false | (String.t() -> boolean())) :: Array.t()
  def loss(%{kind: :likelihood}, decoder, batch, checkpoint) do
    check_batch!(batch, 2, "{size, length} for the objective :likelihood")
    Loss.of(decoder, batch, checkpoint)
  end

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

  defp result(%{kind: :orpo, beta: beta}, decoder, batch, checkpoint) do
    check_batch!(batch, 3, "{size, 2, length} for the objective :orpo")
    decoder |> Preference.sums(batch, checkpoint) |> Preference.orpo(beta)
  end

  defp result(%{kind: :dpo, beta: beta, reference: reference}, decoder, batch, checkpoint) do
    check_batch!(batch, 3, "{size, 2, length} for the objective :dpo")
    constant = reference |> Preference.sums(batch, false) |> Tree.map(&Mlx.stop_gradient/1)
    decoder |> Preference.sums(batch, checkpoint) |> Preference.dpo(constant, beta)
  end

  defp check_batch!(%{ids: %Array{shape: shape}}, count, _expected) when tuple_size(shape) == count, do: :ok

  defp check_batch!(%{ids: %Array{shape: shape}}, _count, expected) do
    raise ArgumentError,
          "#{@name}: expected batches whose ids are #{expected}, got ids of the shape #{Given.text(shape)}"
  end

  defp check_batch!(batch, _count, _expected) do
    raise ArgumentError, "#{@name}: expected batches of Mlx.LM.TrainingData.batches/3, got: #{Given.text(batch)}"
  end
end
