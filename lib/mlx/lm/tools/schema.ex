defmodule Mlx.LM.Tools.Schema do
  @moduledoc false
  # The values of arguments that a model writes as bare text, read by the types that the schema of the tool names.

  alias Mlx.LM.Tools.PythonLiteral

  @typedoc "The types of the arguments of each tool: `%{tool => %{argument => [type]}}`."
  @type t :: %{String.t() => %{String.t() => [String.t()]}}

  # Types as models and people write them, in the order in which they are tried.
  @kinds [
    {:integer, ~w(integer int)},
    {:number, ~w(number float double)},
    {:boolean, ~w(boolean bool)},
    {:structure, ~w(object array dict list)},
    {:string, ~w(string str text)}
  ]

  @doc "The types in a list of tools in OpenAI's form, `%{\"function\" => %{\"name\" => _, \"parameters\" => _}}`."
  @spec new([map()]) :: t()
  def new(tools) do
    for %{"function" => %{"name" => name} = function} <- tools, is_binary(name), into: %{} do
      {name, properties(function["parameters"])}
    end
  end

  defp properties(%{"properties" => %{} = properties}) do
    for {name, schema} <- properties, into: %{}, do: {name, types(schema)}
  end

  defp properties(_other), do: %{}

  @doc "The names of the types that a schema allows; none where it says nothing of them."
  @spec types(term()) :: [String.t()]
  def types(%{} = schema) do
    direct = for type <- List.wrap(schema["type"]), is_binary(type), do: type
    named = for value <- list(schema["enum"]), do: type_of(value)
    nested = for field <- ~w(anyOf oneOf allOf), part <- list(schema[field]), type <- types(part), do: type
    Enum.uniq(direct ++ named ++ nested)
  end

  def types(_other), do: []

  defp list(list) when is_list(list), do: list
  defp list(_other), do: []

  defp type_of(nil), do: "null"
  defp type_of(value) when is_boolean(value), do: "boolean"
  defp type_of(value) when is_integer(value), do: "integer"
  defp type_of(value) when is_float(value), do: "number"
  defp type_of(value) when is_binary(value), do: "string"
  defp type_of(value) when is_list(value), do: "array"
  defp type_of(_value), do: "object"

  @doc "The types of an argument, nil for one that the tool does not have."
  @spec of(t(), String.t(), String.t()) :: [String.t()] | nil
  def of(schema, tool, argument), do: get_in(schema, [tool, argument])

  @doc "The value of a text by types. What is of none of them stays a text."
  @spec read(String.t(), [String.t()]) :: term()
  def read(text, types) do
    types = Enum.map(types, &String.downcase/1)

    if String.downcase(text) == "null" or ("null" in types and String.downcase(text) in ["none", "nil"]) do
      nil
    else
      Enum.find_value(@kinds, {:ok, text}, fn {kind, names} ->
        if Enum.any?(types, &(&1 in names)), do: convert(kind, text)
      end)
      |> elem(1)
    end
  end

  @doc "The value of a text that is JSON or a literal of Python; all else is text."
  @spec guess(String.t()) :: term()
  def guess(text) do
    with {:error, _reason} <- JSON.decode(text), :error <- PythonLiteral.value(text) do
      text
    else
      {:ok, value} -> value
    end
  end

  defp convert(:string, text), do: {:ok, text}

  defp convert(:integer, text) do
    case number(text) do
      {:ok, value} when is_integer(value) -> {:ok, value}
      {:ok, value} -> whole(value)
      nil -> nil
    end
  end

  defp convert(:number, text) do
    with {:ok, value} <- number(text), do: whole(value) || {:ok, value}
  end

  defp convert(:boolean, text) do
    case text |> String.trim() |> String.downcase() do
      yes when yes in ~w(true 1 yes on) -> {:ok, true}
      no when no in ~w(false 0 no off) -> {:ok, false}
      _other -> nil
    end
  end

  defp convert(:structure, text) do
    case guess(text) do
      value when is_map(value) or is_list(value) -> {:ok, value}
      _other -> nil
    end
  end

  defp number(text) do
    {:ok, text |> String.trim() |> PythonLiteral.number()}
  catch
    :error -> nil
  end

  defp whole(value) when is_integer(value), do: {:ok, value}
  defp whole(value), do: if(trunc(value) == value, do: {:ok, trunc(value)})
end
