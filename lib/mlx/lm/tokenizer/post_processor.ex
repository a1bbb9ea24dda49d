defmodule Mlx.LM.Tokenizer.PostProcessor do
  @moduledoc false
  # The tokens that are put around those of a text: the object `post_processor` of a `tokenizer.json`, for single texts.

  alias Mlx.LM.Tokenizer.Fields

  @typedoc "The tokens in front, and those behind."
  @type t :: {[non_neg_integer], [non_neg_integer]}

  @kinds ~w(Sequence ByteLevel TemplateProcessing BertProcessing RobertaProcessing)
  @deepest 20

  @doc "Reads the post-processor; `nil` is one that adds nothing."
  @spec read(term, String.t()) :: t
  def read(object, place), do: read(object, place, 0)

  defp read(nil, _place, _depth), do: {[], []}

  defp read(_object, place, depth) when depth > @deepest,
    do: Fields.fail(place, "is in more than #{@deepest} sequences")

  defp read(object, place, depth) do
    object = Fields.check(object, :object, place)

    case Fields.get(object, "type", {:one_of, @kinds}, place) do
      "Sequence" ->
        object
        |> Fields.get("processors", :list, place)
        |> Fields.each("#{place}.processors", &read(Fields.check(&1, :object, &2), &2, depth + 1))
        |> Enum.reject(&(&1 == {[], []}))
        |> one("#{place}.processors")

      "ByteLevel" ->
        {[], []}

      "TemplateProcessing" ->
        template(object, place)

      _bert_or_roberta ->
        {[pair(object, "cls", place)], [pair(object, "sep", place)]}
    end
  end

  defp one([], _place), do: {[], []}
  defp one([edges], _place), do: edges
  defp one(_several, place), do: Fields.fail(place, "has more than one part that adds tokens, which is not supported")

  defp pair(object, name, place) do
    case Fields.get(object, name, :list, place) do
      [token, id] when is_binary(token) and is_integer(id) and id >= 0 -> id
      _other -> Fields.fail("#{place}.#{name}", "has to be a token and its id")
    end
  end

  defp template(object, place) do
    special = Fields.get(object, "special_tokens", :object, place)
    where = "#{place}.single"
    pieces = object |> Fields.get("single", :list, place) |> Fields.each(where, &piece(&1, &2, special, place))

    case Enum.chunk_by(pieces, &(&1 == :text)) do
      [[:text]] -> {[], []}
      [front, [:text]] -> {Enum.concat(front), []}
      [[:text], back] -> {[], Enum.concat(back)}
      [front, [:text], back] -> {Enum.concat(front), Enum.concat(back)}
      _other -> Fields.fail(where, "has to have the sequence A once")
    end
  end

  defp piece(%{"Sequence" => %{"id" => "A"}}, _where, _special, _place), do: :text

  defp piece(%{"SpecialToken" => %{"id" => name}}, where, special, place) when is_binary(name) do
    case special do
      %{^name => token} ->
        at = "#{place}.special_tokens[#{inspect(name)}]"

        token
        |> Fields.check(:object, at)
        |> Fields.get("ids", :list, at)
        |> Fields.each("#{at}.ids", &Fields.check(&1, :count, &2))

      _none ->
        Fields.fail(where, "names #{inspect(name)}, which is not in special_tokens")
    end
  end

  defp piece(_other, where, _special, _place), do: Fields.fail(where, "has to be the sequence A or a special token")
end
