defmodule Mlx.LM.Tokenizer.Encodings do
  @moduledoc false
  # The encodings of a batch of texts or pairs of texts: their tokens, cut, with those that are put around them, and filled up.

  alias Mlx.Arguments.{CalledFunction, Given, Options}
  alias Mlx.LM.Tokenizer
  alias Mlx.LM.Tokenizer.{Edges, Padding, PostProcessor, Table, Tokens, Trimming, Truncation}

  @doc "The encodings of a batch, for a function of `Mlx.LM.Tokenizer` and its options."
  @spec batch(Tokenizer.t(), [binary | {binary, binary}], keyword, atom) :: [Tokenizer.encoding()]
  def batch(tokenizer, texts, options, function) do
    called = "Mlx.LM.Tokenizer.#{function}"
    defaults = [special: true, add_special: true, truncation: :file, padding: :file, offsets: false]
    options = Options.complete(options, :"LM.Tokenizer.#{function}", defaults)

    for name <- [:special, :add_special, :offsets], not is_boolean(options[name]) do
      raise ArgumentError, "#{called}: expected #{inspect(name)} to be true or false, got: #{Given.text(options[name])}"
    end

    truncation = Truncation.option(options[:truncation], tokenizer.truncation, called)
    padding = Padding.option(options[:padding], tokenizer.padding_settings, tokenizer.padding, called)
    template = Edges.template(tokenizer)
    {tokens, encoding} = if options[:offsets], do: {&Tokens.placed/3, &placed/4}, else: {&Tokens.ids/3, &plain/4}

    encodings =
      for text <- texts do
        texts = texts!(text, called)
        kind = if tuple_size(texts) == 2, do: :pair, else: :single
        added = if options[:add_special], do: PostProcessor.count(template, kind), else: 0

        parts =
          for text <- Tuple.to_list(texts),
              do: CalledFunction.name(called, fn -> tokens.(tokenizer, text, options[:special]) end)

        parts = Truncation.cut(truncation, List.to_tuple(parts), added, called)
        encoding.(tokenizer, template, parts, options[:add_special])
      end

    Padding.fill(encodings, padding)
  end

  defp texts!(text, _called) when is_binary(text), do: {text}
  defp texts!({a, b}, _called) when is_binary(a) and is_binary(b), do: {a, b}

  defp texts!(other, called) do
    raise ArgumentError, "#{called}: expected a string, or a pair of strings {a, b}, got: #{Given.text(other)}"
  end

  defp plain(_tokenizer, template, parts, add) do
    {ids, types, special} = PostProcessor.apply(template, parts, add, & &1)
    %{ids: ids, types: types, special: special, mask: List.duplicate(1, length(ids))}
  end

  # Tokens that are put around texts stand for nothing.
  defp placed(tokenizer, template, parts, add) do
    parts =
      parts
      |> Tuple.to_list()
      |> Enum.with_index(fn tokens, text ->
        Enum.with_index(tokens, &trimmed(&1, {&2, text}, tokenizer, template.trims, add))
      end)
      |> List.to_tuple()

    {tokens, types, special} = PostProcessor.apply(template, parts, add, &{&1, {0, 0}, {0, 0}})
    {ids, bytes, characters} = :lists.unzip3(tokens)

    %{
      ids: ids,
      types: types,
      special: special,
      mask: List.duplicate(1, length(ids)),
      byte_offsets: bytes,
      offsets: characters
    }
  end

  defp trimmed({id, _written, bytes, characters}, _place, _tokenizer, [], _add), do: {id, bytes, characters}

  defp trimmed({id, written, bytes, characters}, place, tokenizer, steps, add) do
    written = written || Table.get(tokenizer.tokens, id)
    [bytes, characters] = Trimming.trim([bytes, characters], steps, written, place, add)
    {id, bytes, characters}
  end
end
