defmodule Mlx.LM.Weights do
  @moduledoc """
  The tensors of a model file by name, and the form that a model's layers take them in.

  A matrix that is quantized in the file is three tensors: `name.weight` with packed integers, `name.scales` and
  `name.biases`. Layers take matrices in one of two forms:

    * `:quantized` - as they are in the file, the best form on a GPU, which is bound by its memory
    * `:dense` - as floating-point numbers, the best form on a CPU, where MLX's quantized product is a scalar loop on one
      core. SmolLM2-135M at 4 bits, on two cores with AVX-512 and OpenBLAS, wrote 7 tokens a second and read 10 with
      quantized matrices; 31 and 210 with `:f32` ones; `:bf16` ones were about as slow as the quantized, `:f16` ones slower

  Everything else, and so all activations, has the floating-point type `:type`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, Type}
  alias Mlx.Arguments.{Given, Options}

  # In all forms with biases in which `Mlx.IO.load/2` keeps quantized formats of GGUF, 32 numbers share a scale.
  @group_size 32

  @enforce_keys [:source, :tensors, :form, :type]
  defstruct @enforce_keys

  @type form :: :quantized | :dense
  @type t :: %__MODULE__{
          source: String.t(),
          tensors: %{String.t() => Array.t()},
          form: form(),
          type: Mlx.Type.t()
        }

  @typedoc "A matrix `{outputs, inputs}`: an array, or its quantized parts."
  @type matrix ::
          Array.t()
          | %{weights: Array.t(), scales: Array.t(), biases: Array.t(), group_size: pos_integer(), bits: pos_integer()}

  @doc """
  The tensors of a file, named `source` in errors.

  Options:

    * `:form` - `:quantized` or `:dense`; by default the better one for the default device
    * `:type` - the floating-point type, by default `:f32` on a CPU and `:f16` on a GPU
  """
  @spec new(%{String.t() => Array.t()}, String.t(), keyword()) :: t()
  def new(tensors, source, options \\ [])

  def new(tensors, source, options) when is_map(tensors) and not is_struct(tensors) and is_binary(source) do
    {form, type} = if Mlx.Device.default() == :cpu, do: {:dense, :f32}, else: {:quantized, :f16}
    [form, type] = Options.without_stream(options, :"LM.Weights.new", form: form, type: type)

    unless form in [:quantized, :dense] do
      raise ArgumentError, "Mlx.LM.Weights.new: expected :form to be :quantized or :dense, got: #{Given.text(form)}"
    end

    %__MODULE__{source: source, tensors: tensors, form: form, type: Type.normalize!(type, :"LM.Weights.new")}
  end

  @doc "Whether the file has a tensor."
  @spec has?(t(), String.t()) :: boolean()
  def has?(%__MODULE__{tensors: tensors}, name), do: is_map_key(tensors, name)

  @doc "A tensor in the floating-point type of the model. Raises `Mlx.Error` when the file does not have it."
  @spec tensor!(t(), String.t()) :: Array.t()
  def tensor!(%__MODULE__{tensors: tensors} = weights, name) do
    case tensors do
      %{^name => array} -> Mlx.as_type(array, weights.type)
      _other -> raise Mlx.Error, message: "#{weights.source} has no tensor #{inspect(name)}"
    end
  end

  @doc "The matrix of `name` as it is in the file, be it quantized or not."
  @spec matrix!(t(), String.t()) :: matrix()
  def matrix!(%__MODULE__{} = weights, name) do
    if has?(weights, "#{name}.scales") do
      packed = Map.fetch!(weights.tensors, "#{name}.weight")
      scales = tensor!(weights, "#{name}.scales")

      %{
        weights: packed,
        scales: scales,
        biases: tensor!(weights, "#{name}.biases"),
        group_size: @group_size,
        # A word of `packed` holds 32 bits.
        bits: div(Mlx.axis_size(packed, -1) * 32, Mlx.axis_size(scales, -1) * @group_size)
      }
    else
      tensor!(weights, "#{name}.weight")
    end
  end

  @doc "The rows of several matrices as one matrix. Quantized ones stay so when they are packed alike."
  @spec stack([matrix()]) :: matrix()
  def stack([matrix]), do: matrix

  def stack([first | _] = matrices) do
    if Enum.all?(matrices, &(packing(&1) == packing(first))) do
      join(first, matrices)
    else
      matrices |> Enum.map(&dense/1) |> Mlx.concatenate()
    end
  end

  @doc "A matrix as one floating-point array."
  @spec dense(matrix()) :: Array.t()
  def dense(%Array{} = matrix), do: matrix

  def dense(%{weights: weights, scales: scales, biases: biases, group_size: group_size, bits: bits}) do
    Mlx.dequantize(weights, scales, biases, group_size: group_size, bits: bits)
  end

  @doc "The rows of a matrix at `ids`, an array `{...}` of indices, as a floating-point array `{..., inputs}`."
  @spec rows(matrix(), Array.t()) :: Array.t()
  def rows(%Array{} = matrix, ids), do: Mlx.take(matrix, ids)

  def rows(%{weights: weights, scales: scales, biases: biases} = matrix, ids) do
    dense(%{matrix | weights: Mlx.take(weights, ids), scales: Mlx.take(scales, ids), biases: Mlx.take(biases, ids)})
  end

  defp packing(%Array{}), do: :dense
  defp packing(%{group_size: group_size, bits: bits}), do: {group_size, bits}

  defp join(%Array{}, matrices), do: Mlx.concatenate(matrices)

  defp join(first, matrices) do
    Map.merge(
      first,
      Map.new([:weights, :scales, :biases], &{&1, Mlx.concatenate(Enum.map(matrices, fn m -> m[&1] end))})
    )
  end
end
