defmodule Mlx.LM.Tokenizer.Definition do
  @moduledoc false
  # Makes a tokenizer of the content of a `tokenizer.json` and of what the files beside it say.

  alias Mlx.LM.Tokenizer

  alias Mlx.LM.Tokenizer.{
    AddedTokens,
    BytePairEncoding,
    Decoder,
    Fields,
    Model,
    Normalizer,
    Padding,
    PostProcessor,
    PreTokenizer
  }

  alias Mlx.LM.Tokenizer.{SpecialTokens, Table, Truncation}

  @file_name "tokenizer.json"

  @doc "The tokenizer of a decoded `tokenizer.json`, a decoded `tokenizer_config.json`, and ids that end an answer."
  @spec tokenizer(term, map, [non_neg_integer] | nil) :: Tokenizer.t()
  def tokenizer(definition, config, end_ids) do
    definition = Fields.check(definition, :object, @file_name)
    normalizer = Normalizer.read(definition["normalizer"], place("normalizer"))
    pre_tokenizer = PreTokenizer.read(definition["pre_tokenizer"], place("pre_tokenizer"))
    model = Fields.get(definition, "model", :object, @file_name)

    {pre_tokenizer, bytes} =
      if Model.takes_bytes?(model), do: PreTokenizer.without_bytes(pre_tokenizer), else: {pre_tokenizer, false}

    {model, vocabulary} = Model.read(model, place("model"), bytes)
    added = AddedTokens.read(definition["added_tokens"], place("added_tokens"), vocabulary)
    added = added ++ SpecialTokens.missing(config, added, vocabulary)
    template = PostProcessor.read(definition["post_processor"], place("post_processor"))
    {front, back} = PostProcessor.edges(template)

    new(
      %{
        normalizer: normalizer,
        pre_tokenizer: pre_tokenizer,
        model: model,
        decoder: Decoder.read(definition["decoder"], place("decoder")),
        template: template,
        truncation: Truncation.read(definition["truncation"], place("truncation")),
        padding_settings: Padding.read(definition["padding"], place("padding")),
        front: front,
        back: back,
        add_bos: front != [],
        add_eos: back != []
      },
      vocabulary,
      added,
      &SpecialTokens.named(config, &1),
      end_ids
    )
  end

  defp place(name), do: "#{@file_name}, #{name}"

  @doc "The tokenizer of its parts, its vocabulary, added tokens, what finds the named tokens, and ids that end an answer."
  @spec new(map, Model.vocabulary(), [AddedTokens.token()], (Model.vocabulary() -> map), [non_neg_integer] | nil) ::
          Tokenizer.t()
  def new(parts, vocabulary, added, named, end_ids) do
    ids = Enum.reduce(added, vocabulary, &Map.put(&2, &1.content, &1.id))
    named = named.(ids)
    written = Map.new(ids, fn {token, id} -> {id, token} end)
    special = for token <- added, token.special, do: token
    decoded = decoded(added, parts.normalizer)

    struct!(
      Tokenizer,
      Map.merge(parts, %{
        pre_tokenizer: cut(parts, vocabulary),
        ids: Table.new(ids),
        tokens: Table.new(written),
        added: AddedTokens.new(added, parts.normalizer),
        decoded: Table.new(decoded),
        special: for(%{id: id} <- special, not is_map_key(decoded, id), into: %{}, do: {id, true}) |> Table.new(),
        named: named.tokens,
        bos: named.ids[:bos_token],
        eos: named.ids[:eos_token],
        unknown: named.ids[:unk_token],
        padding: named.ids[:pad_token],
        end_ids: SpecialTokens.end_ids(special, ids, named.ids[:eos_token], end_ids)
      })
    )
  end

  defp cut(%{pre_tokenizer: pre_tokenizer, model: %BytePairEncoding{} = model}, vocabulary) do
    case BytePairEncoding.cuts(model, vocabulary) do
      nil -> pre_tokenizer
      cut -> PreTokenizer.with_cut(pre_tokenizer, cut)
    end
  end

  defp cut(%{pre_tokenizer: pre_tokenizer}, _vocabulary), do: pre_tokenizer

  # Tokens that are looked for in normalized text are decoded as they look there. The reference never takes these for special.
  defp decoded(added, normalizer) do
    for %{normalized: true, content: content, id: id} <- added,
        text = Normalizer.apply(normalizer, content, false),
        text != content,
        into: %{},
        do: {id, text}
  end
end
