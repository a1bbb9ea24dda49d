defmodule Mlx.IO.GGUFForm do
  @moduledoc false
  # What tensors of quantized formats become when a GGUF file is loaded: the options `:form`, `:type` and `:requantize` of
  # `Mlx.IO.load/2`.

  alias Mlx.Arguments.Given
  alias Mlx.IO.{GGMLFormat, GGMLType}

  @enforce_keys [:form, :type, :requantize, :requantized]
  defstruct @enforce_keys

  @typedoc "The options, and what `:requantize` is with its defaults."
  @type t :: %__MODULE__{
          form: :quantized | :dense,
          type: Mlx.Type.t() | nil,
          requantize: keyword() | nil,
          requantized: keyword() | nil
        }

  @types [:f16, :bf16, :f32]
  # The numbers of a block of those formats that are requantized.
  @block 256

  @doc "The form of the options of a function of `Mlx.IO`. Raises `ArgumentError`, with the name of the function."
  @spec new!(atom(), term(), term(), term()) :: t()
  def new!(function, form, type, requantize) do
    unless form in [:quantized, :dense], do: expected!(function, ":form to be :quantized or :dense", form)
    unless type in [nil | @types], do: expected!(function, ":type to be nil, :f16, :bf16 or :f32", type)

    if form == :dense and requantize != nil do
      raise ArgumentError, "Mlx.IO.#{function}: expected no :requantize with form: :dense, which quantizes nothing"
    end

    requantized = requantize && requantized!(function, requantize)
    %__MODULE__{form: form, type: type, requantize: requantize, requantized: requantized}
  end

  # The layout that MLX gives a row of so many numbers.
  defp requantized!(function, options) do
    unless Keyword.keyword?(options) and Keyword.keys(options) -- [:group_size, :bits, :mode] == [] do
      expected!(function, ":requantize to be nil or a list of :group_size, :bits and :mode", options)
    end

    parts = try_quantize!(function, options)
    {1, words} = elem(parts, 0).shape
    {1, groups} = elem(parts, 1).shape
    [mode: Keyword.get(options, :mode, :affine), group_size: div(@block, groups), bits: div(words * 32, @block)]
  end

  defp try_quantize!(function, options) do
    Mlx.quantize(Mlx.zeros({1, @block}), options)
  rescue
    error in [ArgumentError, Mlx.Error] ->
      expected!(function, ":requantize to be options that Mlx.quantize takes (#{Exception.message(error)})", options)
  end

  @doc "What becomes of tensors of a type. Those that are not quantized are dense."
  @spec of(t(), GGMLType.t()) :: :dense | :quantized | {:requantized, keyword()}
  def of(%__MODULE__{form: :dense}, _type), do: :dense

  def of(%__MODULE__{requantize: requantize}, type) do
    cond do
      GGMLFormat.quantization(type) -> :quantized
      requantize && GGMLFormat.known?(type) -> {:requantized, requantize}
      true -> :dense
    end
  end

  @doc "The options of `Mlx.dequantize/4` for tensors of a format, or nil when they are not quantized."
  @spec quantization(t(), GGMLType.t()) :: keyword() | nil
  def quantization(%__MODULE__{} = form, type) do
    case of(form, type) do
      :dense -> nil
      :quantized -> GGMLFormat.quantization(type)
      {:requantized, _options} -> form.requantized
    end
  end

  @doc "The type of the numbers, or of the scales and biases, of a format."
  @spec type(t(), GGMLType.t()) :: Mlx.Type.t()
  def type(%__MODULE__{type: nil} = form, type) do
    if of(form, type) == :quantized, do: GGMLFormat.fetch!(type).type, else: :f16
  end

  def type(%__MODULE__{type: type}, _type), do: type

  @spec expected!(atom(), String.t(), term()) :: no_return()
  defp expected!(function, what, got) do
    raise ArgumentError, "Mlx.IO.#{function}: expected #{what}, got: #{Given.text(got)}"
  end
end
