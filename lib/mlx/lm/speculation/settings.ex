defmodule Mlx.LM.Speculation.Settings do
  @moduledoc false
  # The options `:draft`, who drafts, and `:draft_tokens`, how many tokens at most. Messages name no function.

  alias Mlx.Arguments.Given
  alias Mlx.LM.{Decoder, Tokenizer}
  alias Mlx.LM.Tokenizer.Table

  @ngram [longest: 3, shortest: 2]
  # A draft from the prompt costs nothing, and one of a model its time.
  @most [ngram: 8, model: 4]

  @type t :: %{draft: Mlx.LM.t() | {:ngram, keyword()}, most: pos_integer()}

  @doc "The settings for a model; nil where nobody drafts."
  @spec new!(keyword(), Mlx.LM.t()) :: t() | nil
  def new!(options, lm) do
    case {draft!(options[:draft], lm), options[:draft_tokens]} do
      {nil, nil} ->
        nil

      {nil, count} ->
        raise ArgumentError, "expected :draft with :draft_tokens, which says how many tokens it drafts: #{count}"

      {draft, count} ->
        refuse_cache!(options[:cache])
        without_grammar!(options)
        %{draft: draft, most: count || @most[if(is_struct(draft), do: :model, else: :ngram)]}
    end
  end

  @doc "Raises where there is a grammar, too."
  @spec without_grammar!(keyword()) :: nil
  def without_grammar!(options) do
    if options[:grammar], do: raise(ArgumentError, "expected either :draft or :grammar, got both")
  end

  # Caches of the last positions read several tokens in another way than one after the other.
  defp refuse_cache!(cache) do
    if Keyword.keyword?(cache) and cache[:max_size] != nil do
      raise ArgumentError,
            "expected :cache without :max_size beside :draft, because a cache of the last positions reads several tokens " <>
              "at once in another way than one after the other, got: #{Given.text(cache)}"
    end
  end

  defp draft!(nil, _lm), do: nil
  defp draft!(:prompt, _lm), do: {:ngram, @ngram}
  defp draft!({:ngram, options}, _lm) when is_list(options), do: {:ngram, ngram!(options)}
  defp draft!(%Mlx.LM{} = draft, lm), do: same_vocabulary!(draft, lm)
  defp draft!(other, _lm), do: refuse!("an Mlx.LM, :prompt or {:ngram, options}", other)

  defp ngram!(options) do
    known = Keyword.keys(@ngram)

    if not (Keyword.keyword?(options) and Enum.all?(options, fn {name, _value} -> name in known end)) do
      refuse!("{:ngram, options} with the options :longest and :shortest", {:ngram, options})
    end

    longest = Keyword.get(options, :longest, @ngram[:longest])

    case {Keyword.get(options, :shortest, min(@ngram[:shortest], longest)), longest} do
      {shortest, longest}
      when is_integer(shortest) and is_integer(longest) and shortest in 1..64 and longest in shortest..64//1 ->
        [longest: longest, shortest: shortest]

      _other ->
        refuse!("{:ngram, options} with integers 1 <= :shortest <= :longest <= 64", {:ngram, options})
    end
  end

  defp same_vocabulary!(draft, lm) do
    [ours, theirs] = [lm.tokenizer.tokens, draft.tokenizer.tokens]
    [size, their_size] = [Tokenizer.size(lm.tokenizer), Tokenizer.size(draft.tokenizer)]

    cond do
      ours == theirs ->
        draft

      size != their_size ->
        refuse!(
          "a model with the same vocabulary, of #{size} tokens",
          "#{draft.name}, of #{their_size} tokens"
        )

      id = Enum.find(0..(size - 1), &(Table.get(ours, &1) != Table.get(theirs, &1))) ->
        refuse!(
          "a model with the same vocabulary, in which the token #{id} is #{inspect(Table.get(ours, id))}",
          "#{draft.name}, in which it is #{inspect(Table.get(theirs, id))}"
        )

      true ->
        draft
    end
    |> predicting!()
  end

  # Every part of a decoder that looks at other tokens has a cache.
  defp predicting!(draft) do
    if Decoder.caches(draft.model) == [], do: refuse!("a model with caches", draft.name), else: draft
  end

  @spec refuse!(String.t(), term()) :: no_return()
  defp refuse!(expected, given) when is_binary(given) do
    raise ArgumentError, "expected :draft to be #{expected}, got: #{given}"
  end

  defp refuse!(expected, given) do
    raise ArgumentError, "expected :draft to be #{expected}, got: #{Given.text(given)}"
  end
end
