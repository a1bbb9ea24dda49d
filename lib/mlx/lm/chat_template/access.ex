defmodule Mlx.LM.ChatTemplate.Access do
  @moduledoc false
  # Attributes (`value.name`) and elements (`value[key]`) of values. What is not there is undefined and not an error.

  alias Mlx.LM.ChatTemplate.{Dict, Methods, Problem, Text, Value}

  @doc "`value.name`: a method, or else the element of that name."
  @spec attribute(Value.t(), String.t()) :: Value.t()
  def attribute({:undefined, text}, _name), do: Problem.fail(text)

  def attribute(value, name) do
    if Methods.member?(value, name), do: {:method, value, name}, else: dict_item(value, name)
  end

  @doc "`value[key]`: an element, or else the method of that name."
  @spec item(Value.t(), Value.t()) :: Value.t()
  def item({:undefined, text}, _key), do: Problem.fail(text)

  def item(%Dict{} = dict, key) do
    case {dict_item(dict, key), key} do
      {{:undefined, _text}, name} when is_binary(name) -> attribute(dict, name)
      {value, _key} -> value
    end
  end

  def item(value, {:slice, start, stop, step}) do
    if not (is_binary(value) or is_list(value) or match?({:tuple, _items}, value)) do
      Problem.fail("'#{Value.type(value)}' object can't be sliced")
    end

    Value.slice(value, bound(start), bound(stop), bound(step))
  end

  def item(value, name) when is_binary(name), do: attribute(value, name)
  def item(value, key) when is_boolean(key), do: item(value, Value.number(key))

  def item(value, index) when is_integer(index) and (is_binary(value) or is_list(value) or elem(value, 0) == :tuple) do
    case Value.at(value, index) do
      {:ok, item} -> item
      :error -> absent(value, "element #{index}")
    end
  end

  def item(value, key), do: absent(value, "element #{Value.repr(key)}")

  @doc "The getter of a filter's `attribute`: a number, or names and numbers with dots between."
  @spec path(Value.t(), Value.t()) :: Value.t()
  def path(value, names) when is_binary(names) do
    names
    |> String.split(".")
    |> Enum.reduce(value, fn name, value ->
      case Integer.parse(name) do
        {index, ""} -> item(value, index)
        _name -> item(value, name)
      end
    end)
  end

  def path(value, key), do: item(value, key)

  defp dict_item(%Dict{} = dict, key) do
    case Dict.fetch(dict, key) do
      {:ok, value} -> value
      :error -> absent(dict, "attribute #{Value.repr(key)}")
    end
  end

  defp dict_item(value, name), do: absent(value, "attribute #{Text.repr(name)}")

  defp absent(nil, what), do: {:undefined, "'None' has no #{what}"}
  defp absent(value, what), do: {:undefined, "'#{Value.type(value)} object' has no #{what}"}

  defp bound(nil), do: nil
  defp bound(index) when is_integer(index), do: index
  defp bound(index) when is_boolean(index), do: Value.number(index)
  defp bound(_index), do: Problem.fail("slice indices must be integers or None")
end
