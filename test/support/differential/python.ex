defmodule Mlx.Differential.Python do
  @moduledoc "Elixir terms in the syntax of Python."

  alias Mlx.Differential.Input

  @types %{
    bool: "bool_",
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
  }

  @doc """
  A call of a function of Python. Arguments with a name become keyword arguments.

      iex> Mlx.Differential.Python.call("mx.sum", [[1, 2], {:axis, 0}, {:keepdims, true}])
      "mx.sum([1, 2], axis=0, keepdims=True)"
  """
  def call(function, arguments), do: "#{function}(#{Enum.map_join(arguments, ", ", &argument/1)})"

  defp argument({:python, _text} = raw), do: term(raw)
  defp argument({name, value}) when is_atom(name), do: "#{name}=#{term(value)}"

  defp argument(value), do: term(value)

  @doc "A term: types become MLX's, other atoms strings, and `{:python, text}` the text."
  def term(nil), do: "None"
  def term(true), do: "True"
  def term(false), do: "False"
  def term(:infinity), do: "float('inf')"
  def term(:neg_infinity), do: "-float('inf')"
  def term(:nan), do: "float('nan')"
  def term(type) when is_map_key(@types, type), do: "mx." <> @types[type]
  def term(atom) when is_atom(atom), do: inspect(Atom.to_string(atom))
  def term(text) when is_binary(text), do: inspect(text)
  def term(%Input{} = input), do: to_string(input)
  def term({:python, text}), do: text
  def term(list) when is_list(list), do: "[#{Enum.map_join(list, ", ", &term/1)}]"
  def term(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> Enum.map(&term/1) |> tuple()

  # In the order of the keys: Python keeps that of the text.
  def term(map) when is_map(map) do
    pairs = map |> Map.to_list() |> List.keysort(0)
    "{#{Enum.map_join(pairs, ", ", fn {key, value} -> "#{term(key)}: #{term(value)}" end)}}"
  end

  def term(number), do: to_string(number)

  @doc "A tuple of expressions."
  def tuple(texts), do: "(#{for text <- texts, do: [text, ", "]})"
end
