defmodule Mlx.LM.Tokenizer.PostProcessor do
  @moduledoc false
  # The tokens that are put around those of a text, or of a pair of texts, and their types: the object `post_processor` of a
  # `tokenizer.json`.
  #
  # It is a template: a list of pieces, which are a text with the type of its tokens, or a token with its type.

  alias Mlx.LM.Tokenizer.{Fields, Trimming}

  @type piece :: {:a | :b, non_neg_integer} | {non_neg_integer, non_neg_integer}
  @type t :: %{single: [piece], pair: [piece], trims: [Trimming.step()]}

  @kinds ~w(Sequence ByteLevel TemplateProcessing BertProcessing RobertaProcessing)
  @deepest 20

  @plain %{single: [a: 0], pair: [a: 0, b: 1]}

  @doc "Reads the post-processor; `nil` is one that adds nothing."
  @spec read(term, String.t()) :: t
  def read(object, place), do: (read(object, place, 0) || @plain) |> Map.put(:trims, Trimming.read(object, place))

  # Nil for a part that adds nothing.
  defp read(nil, _place, _depth), do: nil

  defp read(_object, place, depth) when depth > @deepest,
    do: Fields.fail(place, "is in more than #{@deepest} sequences")

  defp read(object, place, depth) do
    object = Fields.check(object, :object, place)

    case Fields.get(object, "type", {:one_of, @kinds}, place) do
      "Sequence" ->
        object
        |> Fields.get("processors", :list, place)
        |> Fields.each("#{place}.processors", &read(Fields.check(&1, :object, &2), &2, depth + 1))
        |> Enum.reject(&is_nil/1)
        |> one("#{place}.processors")

      "ByteLevel" ->
        nil

      "TemplateProcessing" ->
        template(object, place)

      kind ->
        named(kind, token(object, "cls", place), token(object, "sep", place))
    end
  end

  defp one([], _place), do: nil
  defp one([template], _place), do: template
  defp one(_several, place), do: Fields.fail(place, "has more than one part that adds tokens, which is not supported")

  defp named("BertProcessing", cls, sep) do
    first = [{cls, 0}, {:a, 0}, {sep, 0}]
    %{single: first, pair: first ++ [{:b, 1}, {sep, 1}]}
  end

  # All types are 0.
  defp named("RobertaProcessing", cls, sep) do
    first = [{cls, 0}, {:a, 0}, {sep, 0}]
    %{single: first, pair: first ++ [{sep, 0}, {:b, 0}, {sep, 0}]}
  end

  defp token(object, name, place) do
    case Fields.get(object, name, :list, place) do
      [token, id] when is_binary(token) and is_integer(id) and id >= 0 -> id
      _other -> Fields.fail("#{place}.#{name}", "has to be a token and its id")
    end
  end

  defp template(object, place) do
    special = Fields.get(object, "special_tokens", :object, place)

    read = fn name, default ->
      where = "#{place}.#{name}"

      object
      |> Fields.get(name, :list, place, default)
      |> Fields.each(where, &pieces(&1, &2, special, place))
      |> Enum.concat()
    end

    {single, pair} = {read.("single", :required), read.("pair", [])}
    if texts(single) != [:a], do: Fields.fail("#{place}.single", "has to have the sequence A once")

    if pair != [] and not (:a in texts(pair) and :b in texts(pair)),
      do: Fields.fail("#{place}.pair", "has to have the sequences A and B")

    %{single: single, pair: if(pair == [], do: @plain.pair, else: pair)}
  end

  defp texts(pieces), do: for({text, _type} when is_atom(text) <- pieces, do: text)

  defp pieces(%{"Sequence" => %{"id" => id} = piece}, where, _special, _place) when id in ["A", "B"],
    do: [{if(id == "A", do: :a, else: :b), type(piece, where)}]

  defp pieces(%{"SpecialToken" => %{"id" => name} = piece}, where, special, place) when is_binary(name) do
    case special do
      %{^name => token} ->
        at = "#{place}.special_tokens[#{inspect(name)}]"
        type = type(piece, where)

        token
        |> Fields.check(:object, at)
        |> Fields.get("ids", :list, at)
        |> Fields.each("#{at}.ids", &{Fields.check(&1, :count, &2), type})

      _none ->
        Fields.fail(where, "names #{inspect(name)}, which is not in special_tokens")
    end
  end

  defp pieces(_other, where, _special, _place), do: Fields.fail(where, "has to be a sequence or a special token")

  defp type(piece, where), do: Fields.get(piece, "type_id", :count, where, 0)

  @doc "The template that puts these tokens around each text."
  @spec around([non_neg_integer], [non_neg_integer]) :: t
  def around(front, back) do
    pieces = fn text, type -> for(piece <- front ++ [text] ++ back, do: {piece, type}) end
    %{single: pieces.(:a, 0), pair: pieces.(:a, 0) ++ pieces.(:b, 1), trims: []}
  end

  @doc "The tokens in front of a single text, and those behind."
  @spec edges(t) :: {[non_neg_integer], [non_neg_integer]}
  def edges(%{single: pieces}) do
    {front, [{:a, _type} | back]} = Enum.split_while(pieces, fn {piece, _type} -> piece != :a end)
    {for({id, _type} <- front, do: id), for({id, _type} <- back, do: id)}
  end

  @doc "How many tokens are put around a text, or a pair."
  @spec count(t, :single | :pair) :: non_neg_integer
  def count(template, kind), do: Enum.count(template[kind], fn {piece, _type} -> is_integer(piece) end)

  @doc """
  The tokens of a text or a pair with those of the template, their types, and whether each is of the template. Without
  `add`, the template only gives types. A token of the template is what `token` makes of its id.
  """
  @spec apply(t, {[token]} | {[token], [token]}, boolean, (non_neg_integer -> token)) ::
          {[token], [non_neg_integer], [0 | 1]}
        when token: term
  def apply(template, texts, add, token) do
    pieces = if tuple_size(texts) == 2, do: template.pair, else: template.single

    parts =
      for {piece, type} <- pieces, is_atom(piece) or add do
        case piece do
          :a -> {elem(texts, 0), type, 0}
          :b -> {elem(texts, 1), type, 0}
          id -> {[token.(id)], type, 1}
        end
      end

    {Enum.flat_map(parts, &elem(&1, 0)), repeated(parts, 1), repeated(parts, 2)}
  end

  defp repeated(parts, place), do: Enum.flat_map(parts, &List.duplicate(elem(&1, place), length(elem(&1, 0))))
end
