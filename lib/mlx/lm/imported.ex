defmodule Mlx.LM.Imported do
  @moduledoc false
  # The tensors of checkpoints that other quantizers made, as MLX has them: packed weights with scales and biases where
  # MLX's form has the same numbers, and numbers elsewhere. Checkpoint calls it, before names are replaced.
  #
  # | quant_method | becomes |
  # | --- | --- |
  # | awq, gptq | affine; gptq with columns in another order than their groups: numbers |
  # | compressed-tensors, integers | affine |
  # | compressed-tensors, mxfp4 | mxfp4 |
  # | compressed-tensors and modelopt, nvfp4 | nvfp4, or numbers where a scale of the whole matrix is not 1 |
  # | compressed-tensors with fp8, fp8, fbgemm_fp8, modelopt with fp8 | numbers; mxfp8 where scales are its |
  #
  # The bias of a group is the product of its scale and zero point. In f32 it is exact where the file's scales have 16
  # bits, and so are all numbers; f16 and bf16 round it where the zero point is no power of two.

  alias Mlx.{Array, Type}
  alias Mlx.Arguments.Given
  alias Mlx.LM.Families.Fields
  alias Mlx.LM.Imported.{AWQ, CompressedTensors, Float8, GPTQ, ModelOpt}

  @methods %{
    "awq" => AWQ,
    "gptq" => GPTQ,
    "compressed-tensors" => CompressedTensors,
    "fp8" => Float8,
    "fbgemm_fp8" => Float8,
    "modelopt" => ModelOpt
  }

  @types %{"float16" => :f16, "bfloat16" => :bf16, "float32" => :f32}

  @typedoc "The matrix of one layer: MLX's packed arrays, or its numbers."
  @type matrix :: %{weight: Array.t(), scales: Array.t(), biases: Array.t() | nil} | Array.t()

  @doc "The ends of the names of tensors that a layer has of this quantizer."
  @callback parts() :: [String.t()]

  @doc """
  The matrix of a layer, of its tensors by the last parts of their names: packed, as numbers, an empty map for a layer that
  has none, or nil for tensors that are not of this quantizer.
  """
  @callback matrix(String.t(), %{String.t() => Array.t()}, Fields.t(), Type.t() | nil) :: matrix() | %{} | nil

  @doc "The names of quantizers that are known."
  @spec methods() :: [String.t()]
  def methods, do: Enum.sort(Map.keys(@methods))

  @doc "The settings of another quantizer, with its module, or nil."
  @spec settings(Fields.t()) :: {module(), Fields.t()} | nil
  def settings(fields) do
    with false <- Fields.has?(fields, "quantization"),
         %Fields{} = settings <- Fields.under(fields, "quantization_config") || in_text(fields),
         module when module != nil <- @methods[settings.map["quant_method"]] do
      {module, settings}
    else
      _none -> nil
    end
  end

  defp in_text(fields) do
    with %Fields{} = text <- Fields.under(fields, "text_config"), do: Fields.under(text, "quantization_config")
  end

  @doc """
  The tensors of a file, by their names there, with those of another quantizer as MLX has them. `type` is the type of
  numbers, scales and biases; nil is that of the file.
  """
  @spec of(%{String.t() => Array.t()}, Fields.t(), Type.t() | nil) :: %{String.t() => Array.t()}
  def of(tensors, fields, type) do
    case settings(fields) do
      nil ->
        tensors

      {module, settings} ->
        type = type || type(fields)
        parts = module.parts()
        {theirs, others} = Enum.split_with(tensors, fn {name, _array} -> String.ends_with?(name, parts) end)
        layers = Enum.group_by(theirs, &path(&1, parts), fn {name, array} -> {last(name), array} end)

        for {path, arrays} <- layers,
            {name, array} <- layer(module, path, Map.new(arrays), settings, type),
            into: Map.new(others),
            do: {name, array}
    end
  end

  # What a file without scales of a floating-point type is meant to be computed in.
  defp type(fields) do
    case fields.map["torch_dtype"] || fields.map["dtype"] do
      nil -> nil
      name -> @types[name] || Fields.refuse(fields, "torch_dtype", "one of #{Enum.join(Map.keys(@types), ", ")}")
    end
  end

  defp path({name, _array}, parts) do
    part = Enum.find(parts, &String.ends_with?(name, &1))
    String.replace_suffix(name, part, "")
  end

  defp last(name), do: name |> String.split(".") |> List.last()

  defp layer(module, path, arrays, settings, type) do
    case module.matrix(path, arrays, settings, type) do
      nil -> for {name, array} <- arrays, do: {"#{path}.#{name}", array}
      %Array{} = weight -> [{"#{path}.weight", weight}]
      packed -> for {part, %Array{} = array} <- packed, do: {"#{path}.#{part}", array}
    end
  end

  @doc "An array of a layer that must be there."
  @spec fetch!(%{String.t() => Array.t()}, String.t(), String.t()) :: Array.t()
  def fetch!(arrays, path, part) do
    with nil <- arrays[part] do
      raise Mlx.Error,
        message: "#{path}.#{part} is missing beside #{Enum.map_join(Map.keys(arrays), ", ", &"#{path}.#{&1}")}"
    end
  end

  @doc "The array, which must have a type and a shape. In the shape, `:_` is any size."
  @spec expect!(Array.t(), String.t(), [Type.t()], tuple()) :: Array.t()
  def expect!(%Array{shape: given, type: type} = array, name, types, shape) do
    fits? =
      tuple_size(given) == tuple_size(shape) and
        Enum.all?(Enum.zip(Tuple.to_list(given), Tuple.to_list(shape)), fn {a, b} -> b == :_ or a == b end)

    if type not in types or not fits? do
      raise Mlx.Error,
        message:
          "#{name} has the type #{inspect(type)} and the shape #{inspect(given)}, expected " <>
            "#{Enum.map_join(types, " or ", &inspect/1)} and #{words(shape)}"
    end

    array
  end

  defp words(shape),
    do: "{#{shape |> Tuple.to_list() |> Enum.map_join(", ", &if(&1 == :_, do: "_", else: Given.text(&1)))}}"
end
