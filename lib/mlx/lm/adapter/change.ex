defmodule Mlx.LM.Adapter.Change do
  @moduledoc false
  # The change of one layer: matrices of low rank, and for DoRA the lengths that the rows of the changed matrix have.
  #
  # | layer | a | b |
  # | --- | --- | --- |
  # | linear | {inputs, rank} | {rank, outputs} |
  # | embedding | {tokens, rank} | {rank, width} |
  # | experts | {experts, rank, inputs} | {experts, outputs, rank} |

  alias Mlx.{Array, NN}
  alias Mlx.LM.Decoder.{DenseLinear, DoRAEmbedding, DoRALinear, LoRAEmbedding, LoRALinear, LoRASwitchLinear}
  alias Mlx.LM.Decoder.{Matrix, PackedLinear}
  alias Mlx.LM.Decoder.{QuantizedSwitchLinear, SwitchLinear}
  alias Mlx.NN.{Embedding, Linear, QuantizedEmbedding, QuantizedLinear, QuantizedMatrix}

  @enforce_keys [:a, :b, :scale]
  defstruct [:a, :b, :scale, magnitude: nil, output: true]

  @typedoc "`output` says whether the change of an embedding counts where that is the output matrix."
  @type t :: %__MODULE__{
          a: Array.t(),
          b: Array.t(),
          scale: float(),
          magnitude: Array.t() | nil,
          output: boolean()
        }

  @linear [Linear, QuantizedLinear, DenseLinear, PackedLinear]
  @embedding [Embedding, QuantizedEmbedding]
  @switch [SwitchLinear, QuantizedSwitchLinear]

  @doc "Whether a layer can have a change."
  @spec changeable?(struct()) :: boolean()
  def changeable?(%kind{}), do: kind in (@linear ++ @embedding ++ @switch)

  @doc "What a layer that can have a change is: a linear layer, an embedding, or experts."
  @spec role(struct()) :: :linear | :embedding | :switch
  def role(%kind{}) when kind in @linear, do: :linear
  def role(%kind{}) when kind in @embedding, do: :embedding
  def role(%kind{}) when kind in @switch, do: :switch

  @doc "The shape of the matrix of a layer."
  @spec shape(struct()) :: tuple()
  def shape(layer), do: Matrix.shape(layer)

  @doc "The shapes that the matrices of a change must have for a layer, the rank of which is that of `a`."
  @spec expected(struct(), t()) :: {tuple(), tuple()}
  def expected(%kind{} = layer, %__MODULE__{a: a}) do
    case shape(layer) do
      {outputs, inputs} when kind in @linear -> {{inputs, size(a, 1)}, {size(a, 1), outputs}}
      {tokens, width} when kind in @embedding -> {{tokens, size(a, 1)}, {size(a, 1), width}}
      {experts, outputs, inputs} -> {{experts, size(a, 1), inputs}, {experts, outputs, size(a, 1)}}
    end
  end

  defp size(%Array{shape: shape}, axis), do: if(tuple_size(shape) > axis, do: elem(shape, axis), else: 0)

  @doc "The layer with a change, or the layer for nil."
  @spec applied(struct(), t() | nil, Mlx.LM.Adapter.options()) :: struct()
  def applied(layer, nil, _options), do: layer

  def applied(layer, %__MODULE__{magnitude: nil} = change, options) do
    if options[:fuse] and fusible?(layer, change),
      do: fused(layer, change, options[:form], options[:unpacked]),
      else: beside(layer, change)
  end

  def applied(layer, change, options) do
    if options[:beside],
      do: beside(layer, change),
      else: fused(layer, change, if(options[:fuse], do: options[:form], else: :dense), options[:unpacked])
  end

  # What counts for the rows of tokens only cannot be a part of a matrix that is the output matrix too.
  defp fusible?(%kind{}, %{output: output}), do: kind not in @embedding or output

  @doc "The layer with a change beside its matrix."
  @spec beside(struct(), t()) :: struct()
  def beside(%kind{} = layer, %{a: a, b: b, scale: scale, magnitude: magnitude} = change) do
    cond do
      magnitude && kind in @linear ->
        %DoRALinear{linear: layer, lora_a: a, lora_b: b, m: magnitude, scale: scale}

      magnitude && kind in @embedding ->
        %DoRAEmbedding{embedding: layer, lora_a: a, lora_b: b, m: magnitude, scale: scale}

      kind in @linear ->
        %LoRALinear{linear: layer, lora_a: a, lora_b: b, scale: scale}

      kind in @switch ->
        %LoRASwitchLinear{linear: layer, lora_a: a, lora_b: b, scale: scale}

      true ->
        %LoRAEmbedding{embedding: layer, lora_a: a, lora_b: b, scale: scale, output: change.output}
    end
  end

  @doc "The layer and the change of a layer with a change beside its matrix; nil for other layers."
  @spec taken(struct()) :: {struct(), t()} | nil
  def taken(%kind{} = layer) when kind in [LoRALinear, LoRASwitchLinear] do
    {layer.linear, %__MODULE__{a: layer.lora_a, b: layer.lora_b, scale: layer.scale}}
  end

  def taken(%DoRALinear{} = layer) do
    {layer.linear, %__MODULE__{a: layer.lora_a, b: layer.lora_b, scale: layer.scale, magnitude: layer.m}}
  end

  def taken(%LoRAEmbedding{} = layer) do
    {layer.embedding, %__MODULE__{a: layer.lora_a, b: layer.lora_b, scale: layer.scale, output: layer.output}}
  end

  def taken(%DoRAEmbedding{} = layer) do
    {layer.embedding, %__MODULE__{a: layer.lora_a, b: layer.lora_b, scale: layer.scale, magnitude: layer.m}}
  end

  def taken(_layer), do: nil

  # The layer whose matrix has the change. A quantized one is quantized anew, or unpacked for the form `:dense`.
  defp fused(%kind{} = layer, change, form, unpacked) do
    %Array{type: type} = weight = Matrix.dense(layer, unpacked)
    weight = weight |> Mlx.add(layer |> difference(change) |> Mlx.as_type(type)) |> of_length(change.magnitude)

    cond do
      kind == DenseLinear -> %Linear{weight: weight, bias: layer.bias}
      kind == Linear -> %{layer | weight: weight}
      kind == Embedding -> %{layer | weight: weight}
      kind == SwitchLinear -> %{layer | weight: weight}
      form == :quantized -> struct!(layer, QuantizedMatrix.fields(weight, QuantizedMatrix.packing(layer)))
      kind in [QuantizedLinear, PackedLinear] -> %Linear{weight: weight, bias: layer.bias}
      kind == QuantizedEmbedding -> %Embedding{weight: weight}
      kind == QuantizedSwitchLinear -> %SwitchLinear{weight: weight, bias: layer.bias}
    end
  end

  defp difference(%kind{}, %{a: a, b: b, scale: scale}) do
    cond do
      kind in @linear -> b |> Mlx.transpose() |> Mlx.multiply(scale) |> Mlx.matmul(Mlx.transpose(a))
      kind in @embedding -> a |> Mlx.multiply(scale) |> Mlx.matmul(b)
      true -> b |> Mlx.multiply(scale) |> Mlx.matmul(a)
    end
  end

  defp of_length(weight, nil), do: weight

  defp of_length(%Array{type: type} = weight, magnitude) do
    wide = Mlx.as_type(weight, :f32)
    factor = Mlx.divide(Mlx.as_type(magnitude, :f32), Matrix.lengths(wide))
    wide |> Mlx.multiply(Mlx.new_axis(factor, 1)) |> Mlx.as_type(type)
  end

  @doc false
  @spec layers(term()) :: %{String.t() => struct()}
  def layers(parts), do: for({path, layer} <- NN.layers(parts), changeable?(layer), into: %{}, do: {path, layer})
end
