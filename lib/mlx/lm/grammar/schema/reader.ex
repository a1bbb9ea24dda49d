defmodule Mlx.LM.Grammar.Schema.Reader do
  @moduledoc false
  # What a schema says once its references are followed and all of `allOf` is one: its keywords, or true or false.

  alias Mlx.LM.Grammar.Schema.{Document, Keywords, Merge}

  @steps 2000

  @doc "The keywords of a schema, without `$ref` and `allOf`. Throws `{:wrong, message}`."
  @spec read(Document.t(), Document.t(), [String.t()]) :: map() | boolean()
  def read(schema, root, path) do
    {read, _steps} = read(schema, root, path, [], @steps)
    read
  catch
    :none -> false
  end

  defp read(_schema, _root, path, _seen, 0), do: Keywords.refuse!("allOf", path, "it has too many parts")
  defp read(schema, _root, _path, _seen, steps) when is_boolean(schema), do: {schema, steps - 1}
  defp read([], _root, _path, _seen, steps), do: {true, steps - 1}

  defp read({:object, pairs}, root, path, seen, steps) do
    keywords = Keywords.read(pairs, path)
    {reference, keywords} = Map.pop(keywords, "$ref")
    {parts, keywords} = Map.pop(keywords, "allOf", [])
    own = {if(keywords == %{}, do: true, else: keywords), steps - 1}

    {all, steps} =
      parts
      |> Enum.with_index()
      |> Enum.reduce(own, fn {part, index}, {all, steps} ->
        {part, steps} = read(part, root, ["#{index}", "allOf" | path], seen, steps)
        {joined(all, part, path), steps}
      end)

    if reference do
      if reference in seen, do: Keywords.refuse!("$ref", path, "#{inspect(reference)} leads back to itself")

      case Document.at(root, reference) do
        {:ok, target} ->
          {target, steps} = read(target, root, path_of(reference), [reference | seen], steps)
          {joined(target, all, path), steps}

        :error ->
          Keywords.refuse!(
            "$ref",
            path,
            "#{inspect(reference)} is no place in the schema; write it as in \"#/$defs/name\""
          )
      end
    else
      {all, steps}
    end
  end

  defp read(other, _root, path, _seen, _steps) do
    shown = if is_list(other), do: "a list", else: inspect(other)

    throw(
      {:wrong,
       "at #{Document.place(Enum.reverse(path))}: expected a schema, which is an object, true or false, got: #{shown}"}
    )
  end

  defp path_of("#"), do: []
  defp path_of("#/" <> pointer), do: pointer |> String.split("/") |> Enum.reverse()

  defp joined(true, other, _path), do: other
  defp joined(other, true, _path), do: other
  defp joined(a, b, _path) when a == false or b == false, do: false
  defp joined(a, b, path), do: Merge.keywords(a, b, path)

  @doc "The keywords of two that are read."
  @spec join(map() | boolean(), map() | boolean(), [String.t()]) :: map() | boolean()
  def join(a, b, path) do
    joined(a, b, path)
  catch
    :none -> false
  end
end
