defmodule Mlx.Conformance.Layers do
  @moduledoc """
  Layers of Python, which are objects that change, as the structs of `Mlx.NN`, which do not.

  Python keeps two things of a layer: the struct that `new` made, by its number, and the arrays and layers in it, as
  attributes with the names of the fields. It sends both with a call, and the attributes take the place of what the struct
  has in its fields. What Python does not know, such as sizes and functions, stays that of the struct.
  """

  alias Mlx.{Array, NN}
  alias Mlx.Conformance.{Handles, Kinds, Parameters, Value}

  @doc "An adapter that makes a layer: `new` or another function of its module."
  def make(module, function, parameters) do
    fn _call, bound, options -> apply(module, function, arguments(bound, parameters, options)) end
  end

  @doc """
  An adapter that calls a layer. Returns what it gives, and the layer with the statistics that the call left, or `nil` where
  it left none.
  """
  def call(module, function, parameters) do
    fn _call, %{self: layer} = bound, options ->
      {output, changed} = NN.run(layer, &apply(module, function, [&1 | arguments(bound, parameters, options)]))
      {output, if(changed != layer, do: changed)}
    end
  end

  defp arguments(bound, parameters, options) do
    positional = Parameters.positional(parameters)
    Enum.map(positional, &Map.fetch!(bound, &1)) ++ if(length(positional) < length(parameters), do: [options], else: [])
  end

  @doc """
  An adapter for an initializer, to which Python gives options of these names with the array.
  """
  def initializer(function, parameters, names) do
    fn _call, bound, options ->
      fn [array | given], keywords ->
        later = Enum.zip(names, given) ++ for name <- names, value = keywords["#{name}"], do: {name, value}
        options = options ++ for {name, value} <- later, do: {name, Kinds.convert(kind(value), value, name)}
        apply(NN.Init, function, arguments(bound, parameters, options)).(array)
      end
    end
  end

  defp kind(value), do: if(is_binary(value), do: :word, else: :number)

  @doc "The layer with the fields that Python sent in place of those it was made with."
  def with_fields(%_module{} = layer, fields) do
    layer
    |> Map.from_struct()
    |> Enum.reduce(layer, fn {name, value}, layer ->
      Map.replace!(layer, name, field(value, Map.fetch(fields, Atom.to_string(name))))
    end)
  end

  defp field(_value, {:ok, list}) when is_list(list), do: Enum.map(list, &element/1)
  defp field(_value, {:ok, new}), do: element(new)
  # Python deleted it.
  defp field(%Array{}, :error), do: nil
  defp field(value, :error), do: value

  # Functions, and models of Python's own, are called with one argument.
  defp element(function) when is_function(function, 2), do: &function.([&1], %{})
  defp element(value), do: value

  @doc "A layer, or an optimizer, which is a layer without arrays, for Python."
  def to_python(%_module{} = struct) do
    fields = for {name, value} <- Map.from_struct(struct), sent?(value), into: %{}, do: {name, elements(value)}
    {:layer, {:made, Handles.keep(struct)}, Value.to_python(fields)}
  end

  defp sent?(list) when is_list(list), do: Enum.any?(list, &is_struct/1)
  defp sent?(value), do: is_struct(value)

  defp elements(list) when is_list(list), do: for(element <- list, do: if(is_struct(element), do: element))
  defp elements(value), do: value
end
