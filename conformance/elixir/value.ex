defmodule Mlx.Conformance.Value do
  @moduledoc """
  Values of Python as Elixir has them, and back.

  | Python | comes as | here |
  | --- | --- | --- |
  | `None`, `True`, `1`, `1.5`, `inf` | `nil`, `true`, `1`, `1.5`, `:infinity` | the same |
  | text, a list, a dictionary | a binary, a list, a map | the same |
  | a tuple, a complex number | `{:tuple, list}`, `{:complex, real, imaginary}` | the same: kinds of arguments tell them apart |
  | an object of a class derived from `tuple` | `{:instance, class, list}` | the same |
  | an array, a stream, a group | `{:array, id}`, `{:stream, id}`, `{:group, id}` | the struct |
  | a layer | `{:layer, made, fields}`, see `Mlx.Conformance.Layers` | the struct |
  | an optimizer | `{:made, id}` | the struct |
  | `float32`, `gpu` | `{:dtype, "float32"}`, `{:device, "gpu", 0}` | `{:type, :f32}`, `{:device, :gpu}` |
  | `inexact` | `{:category, "inexact"}` | `{:category, :inexact}` |
  | an array of numpy | `{:buffer, shape, "float32", bytes}` | `{:buffer, array}` |
  | a function of Python | `{:function, id}` | a function of a list of arguments and a map of keyword arguments |
  | a function that Elixir returned | `{:callable, id}` | the function |
  """

  alias Mlx.Conformance.{Handles, Layers, Mapping, PythonError, Server, Transforms}

  @types [
    bool: "bool",
    u8: "uint8",
    u16: "uint16",
    u32: "uint32",
    u64: "uint64",
    s8: "int8",
    s16: "int16",
    s32: "int32",
    s64: "int64",
    f16: "float16",
    bf16: "bfloat16",
    f32: "float32",
    f64: "float64",
    c64: "complex64"
  ]

  @doc "Decodes what came from Python."
  def from_python({kind, id}) when kind in [:array, :stream, :group, :callable, :made], do: Handles.fetch!(id)
  def from_python({:tuple, elements}), do: {:tuple, from_python(elements)}
  def from_python({:instance, class, elements}), do: {:instance, class, from_python(elements)}
  def from_python({:layer, made, fields}), do: Layers.with_fields(from_python(made), from_python(fields))
  def from_python({:device, name, _index}), do: {:device, if(name == "gpu", do: :gpu, else: :cpu)}
  def from_python({:category, name}), do: {:category, Mapping.atom("mlx.core." <> name)}

  def from_python({:function, id}) do
    fn arguments, keywords -> id |> Server.call_python(arguments, keywords) |> Transforms.container() end
  end

  def from_python({:buffer, shape, type, bytes}), do: {:buffer, buffer(bytes, List.to_tuple(shape), type)}
  def from_python(list) when is_list(list), do: Enum.map(list, &from_python/1)
  def from_python(%{} = map), do: Map.new(map, fn {key, value} -> {key, from_python(value)} end)

  for {type, name} <- @types do
    def from_python({:dtype, unquote(name)}), do: {:type, unquote(type)}
  end

  def from_python(value), do: value

  @doc """
  The array that MLX makes of one of numpy, of the type that is asked for or its own; doubles become floats unless they are
  asked for. It is converted on the CPU, the only device that has doubles.
  """
  def array({:buffer, array}, type \\ nil), do: Mlx.as_type(array, type || single(array.type), stream: :cpu)

  defp single(:f64), do: :f32
  defp single(type), do: type

  @doc "Encodes a result for Python."
  def to_python(:ok), do: nil
  def to_python(:cpu), do: {:device, :cpu, 0}
  def to_python(:gpu), do: {:device, :gpu, 0}

  for {type, name} <- @types do
    def to_python(unquote(type)), do: {:dtype, unquote(name)}
    defp name(unquote(type)), do: unquote(name)
  end

  def to_python(%Mlx.Array{} = array) do
    {:array, Handles.keep(array), Tuple.to_list(array.shape), name(array.type)}
  end

  def to_python(%Mlx.Stream{} = stream) do
    {:stream, Handles.keep(stream), to_python(stream.device), stream.index}
  end

  def to_python(%Mlx.Distributed.Group{} = group), do: {:group, Handles.keep(group)}
  def to_python(%_module{} = struct), do: Layers.to_python(struct)
  def to_python(function) when is_function(function, 2), do: {:callable, Handles.keep(function)}
  def to_python({:bytes, bytes}), do: bytes
  def to_python({:instance, class, elements}), do: {:instance, class, to_python(elements)}
  def to_python({:complex, _real, _imaginary} = number), do: number
  def to_python(list) when is_list(list), do: Enum.map(list, &to_python/1)
  def to_python(tuple) when is_tuple(tuple), do: {:tuple, tuple |> Tuple.to_list() |> to_python()}
  def to_python(text) when is_binary(text), do: {:text, text}

  def to_python(%{} = map) do
    Map.new(map, fn {key, value} ->
      {if(is_atom(key), do: {:text, "#{key}"}, else: to_python(key)), to_python(value)}
    end)
  end

  def to_python(value), do: value

  @doc "Numbers of an array for Python, in which complex ones are pairs: from `Mlx.to_list/1` or `Mlx.to_number/1`."
  def numbers(list) when is_list(list), do: Enum.map(list, &numbers/1)
  def numbers({real, imaginary}), do: {:complex, real, imaginary}
  def numbers(number), do: number

  @doc "Numpy's name of a type."
  def type_name(type), do: name(type)

  for {type, name} <- @types do
    defp buffer(bytes, shape, unquote(name)), do: Mlx.from_binary(bytes, shape, unquote(type))
  end

  defp buffer(_bytes, _shape, name), do: PythonError.value_error!("arrays of #{name} cannot become arrays of MLX")
end
