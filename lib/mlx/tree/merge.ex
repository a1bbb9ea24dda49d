defmodule Mlx.Tree.Merge do
  @moduledoc false
  # Two containers in one.

  alias Mlx.Array
  alias Mlx.Tree.{Elements, Paths}

  @doc "See `Mlx.Tree.merge/3`; `keys` lead to the two, the last one first."
  @spec merge(term(), term(), (term(), term() -> term()) | nil, [term()]) :: term()
  def merge(nil, b, _fun, _keys), do: b
  def merge(a, nil, _fun, _keys), do: a

  def merge(a, b, fun, keys) do
    {form_a, form_b} = {Elements.form(a), Elements.form(b)}

    cond do
      empty?(form_b, b) and (form_a == form_b or not empty?(form_a, a)) -> a
      empty?(form_a, a) and not empty?(form_b, b) -> b
      fits?(form_a, form_b) -> merge_elements(a, b, fun, keys)
      a === b and not is_struct(a, Array) -> a
      fun != nil -> fun.(a, b)
      true -> raise ArgumentError, "Mlx.Tree.merge: both containers have an element at #{inspect(Paths.path(keys))}"
    end
  end

  defp empty?(:none, _other), do: false
  defp empty?(_form, container), do: container in [[], {}] or container == %{}

  defp fits?(:none, _form), do: false
  defp fits?(form, form), do: true

  defp fits?(form_a, form_b),
    do: {form_a, form_b} in [{:list, :tuple}, {:tuple, :list}] or struct_and_map?(form_a, form_b)

  defp struct_and_map?(form_a, form_b), do: form_b == :map and form_a not in [:list, :keyword, :tuple]

  defp merge_elements(a, b, fun, keys) do
    {pairs_a, pairs_b} = {Elements.pairs(a), Elements.pairs(b)}
    {elements_a, elements_b} = {Map.new(pairs_a), Map.new(pairs_b)}
    merged_keys = for {key, _element} <- pairs_a ++ pairs_b, uniq: true, do: key
    check_keys!(a, merged_keys)

    Elements.with_pairs(
      a,
      for(key <- merged_keys, do: {key, merge(elements_a[key], elements_b[key], fun, [key | keys])})
    )
  end

  defp check_keys!(%module{} = struct, keys) do
    case Enum.reject(keys, &is_map_key(struct, &1)) do
      [] -> :ok
      unknown -> raise ArgumentError, "Mlx.Tree.merge: #{inspect(module)} has no keys #{inspect(unknown)}"
    end
  end

  defp check_keys!(_container, _keys), do: :ok
end
