defmodule Mlx.LM.Tokenizer.Fields do
  @moduledoc false
  # Reads the fields of an object of a JSON file. What is missing or of another type raises an `Mlx.Error` that names the
  # place, such as `tokenizer.json, pre_tokenizer.pretokenizers[0].pattern`.

  alias Mlx.Arguments.Given

  @doc "The value of a field, of a kind; `:required` has no default."
  @spec get(map, String.t(), atom | {:one_of, [term]}, String.t(), term) :: term
  def get(object, name, kind, place, default \\ :required) do
    case object do
      %{^name => value} when value != nil or default == :required ->
        if is?(value, kind), do: value, else: wrong(value, kind, "#{place}.#{name}")

      _none when default == :required ->
        fail(place, "has no #{inspect(name)}, which has to be #{words(kind)}")

      _none ->
        default
    end
  end

  @doc "The value itself, when it is of a kind."
  @spec check(term, atom, String.t()) :: term
  def check(value, kind, place), do: if(is?(value, kind), do: value, else: wrong(value, kind, place))

  @doc "Reads the elements of a list, each with its place."
  @spec each([term], String.t(), (term, String.t() -> element)) :: [element] when element: term
  def each(list, place, read) do
    list |> Enum.with_index() |> Enum.map(fn {element, index} -> read.(element, "#{place}[#{index}]") end)
  end

  @doc "Raises for what is wrong at a place."
  @spec fail(String.t(), String.t()) :: no_return
  def fail(place, problem), do: raise(Mlx.Error, message: "#{place} #{problem}")

  @spec wrong(term, atom | {:one_of, [term]}, String.t()) :: no_return
  defp wrong(value, kind, place), do: fail(place, "has to be #{words(kind)}, and is #{Given.text(value)}")

  defp is?(value, :string), do: is_binary(value)
  defp is?(value, :boolean), do: is_boolean(value)
  defp is?(value, :count), do: is_integer(value) and value >= 0
  defp is?(value, :number), do: is_number(value)
  defp is?(value, :list), do: is_list(value)
  defp is?(value, :object), do: is_map(value)
  defp is?(value, :character), do: is_binary(value) and match?(<<_code::utf8>>, value)
  defp is?(value, {:one_of, values}), do: value in values

  defp words(:string), do: "a string"
  defp words(:boolean), do: "true or false"
  defp words(:count), do: "an integer that is not negative"
  defp words(:number), do: "a number"
  defp words(:list), do: "a list"
  defp words(:object), do: "an object"
  defp words(:character), do: "one character"
  defp words({:one_of, values}), do: "one of #{Enum.map_join(values, ", ", &inspect/1)}"
end
