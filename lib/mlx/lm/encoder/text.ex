defmodule Mlx.LM.Encoder.Text do
  @moduledoc false
  # Texts and pairs of texts as tokens, with the special ones around them, cut to a length.

  alias Mlx.Arguments.Given
  alias Mlx.LM.Encoder.{Checkpoint, Config}
  alias Mlx.LM.Tokenizer
  alias Mlx.LM.Tokenizer.{Edges, PostProcessor}

  @enforce_keys [:tokenizer, :encode, :front, :back, :separators, :typed]
  defstruct @enforce_keys

  @typedoc """
  `front` and `back` are the special tokens around a text; those of a pair have types where `typed` is true. A tokenizer knows
  how a pair is written; without one it has `separators` between its texts.
  """
  @type t :: %__MODULE__{
          tokenizer: Tokenizer.t() | nil,
          encode: (String.t() -> [Tokenizer.id()]),
          front: [Tokenizer.id()],
          back: [Tokenizer.id()],
          separators: pos_integer(),
          typed: boolean()
        }

  @type sequence :: {ids :: [Tokenizer.id()], types :: [non_neg_integer()] | nil}

  @doc """
  What makes tokens of texts for a model: `tokenizer` is a `Mlx.LM.Tokenizer`, a function, or nil for the one of the
  folder. It is nil for a folder that has none.
  """
  @spec new(term(), Path.t(), Config.t(), atom()) :: t() | nil
  def new(tokenizer, folder, config, function) do
    case encoding(tokenizer, folder, function) do
      nil -> nil
      %Tokenizer{} = tokenizer -> with_special_tokens(tokenizer, &Tokenizer.encode(tokenizer, &1), config)
      encode -> with_special_tokens(nil, encode, config)
    end
  end

  defp encoding(%Tokenizer{} = tokenizer, _folder, _function), do: tokenizer
  defp encoding(encode, _folder, _function) when is_function(encode, 1), do: encode

  defp encoding(nil, folder, _function) do
    if File.regular?(Path.join(folder, "tokenizer.json")), do: Tokenizer.from_folder(folder)
  end

  defp encoding(other, _folder, function) do
    raise ArgumentError,
          "Mlx.#{function}: expected :tokenizer to be a Mlx.LM.Tokenizer or a function of a text that returns its tokens, " <>
            "got: #{Given.text(other)}"
  end

  # The empty text has nothing but special tokens, and another text has some of them behind it.
  defp with_special_tokens(tokenizer, encode, config) do
    typed = config.token_types > 1
    if tokenizer != nil and typed, do: check_types!(Edges.template(tokenizer).pair, config.token_types)
    special = encode.("")
    back = common(Enum.reverse(special), Enum.reverse(encode.("a")))

    %__MODULE__{
      tokenizer: tokenizer,
      encode: encode,
      front: Enum.drop(special, -length(back)),
      back: Enum.reverse(back),
      separators: config.separators,
      typed: typed
    }
  end

  defp check_types!(pieces, count) do
    case Enum.find(pieces, fn {_piece, type} -> type >= count end) do
      nil ->
        :ok

      {_piece, type} ->
        Checkpoint.fail!(
          "tokenizer.json, post_processor gives tokens the type #{type}, and the model has the types 0 to #{count - 1}"
        )
    end
  end

  defp common([id | a], [id | b]), do: [id | common(a, b)]
  defp common(_a, _b), do: []

  @doc "How many special tokens a text has."
  @spec special(t()) :: non_neg_integer()
  def special(%__MODULE__{front: front, back: back}), do: length(front) + length(back)

  @doc "How many special tokens a pair has."
  @spec special_of_pair(t()) :: non_neg_integer()
  def special_of_pair(%__MODULE__{tokenizer: %Tokenizer{} = tokenizer}),
    do: PostProcessor.count(Edges.template(tokenizer), :pair)

  def special_of_pair(%__MODULE__{front: front, back: back, separators: separators}) do
    length(front) + (separators + 1) * length(back)
  end

  @doc "The tokens of a text, at most so many, the special ones at its end among them."
  @spec single(t(), String.t(), pos_integer()) :: sequence()
  def single(%__MODULE__{} = text, string, longest) do
    {text.front ++ Enum.take(body(text, string), longest - special(text)) ++ text.back, nil}
  end

  @doc """
  The tokens of a pair of texts, at most so many. The longer text is cut first: it loses all that is too much, as long as
  it is the longer one.
  """
  @spec pair(t(), {String.t(), String.t()}, pos_integer()) :: sequence()
  def pair(%__MODULE__{tokenizer: %Tokenizer{} = tokenizer} = text, pair, longest) do
    %{ids: ids, types: types} = Tokenizer.encoding(tokenizer, pair, truncation: [max_length: longest], padding: nil)
    {ids, if(text.typed, do: types)}
  end

  def pair(%__MODULE__{} = text, {a, b}, longest) do
    between = text.back |> List.duplicate(text.separators) |> Enum.concat()
    room = longest - length(text.front) - length(between) - length(text.back)
    {a, b} = cut(body(text, a), body(text, b), room)
    {first, second} = {text.front ++ a ++ between, b ++ text.back}
    types = if text.typed, do: List.duplicate(0, length(first)) ++ List.duplicate(1, length(second))
    {first ++ second, types}
  end

  @doc "The tokens of a text without the special ones around it."
  @spec body(t(), String.t()) :: [Tokenizer.id()]
  def body(text, string) do
    ids = text.encode.(string)
    ids |> Enum.drop(length(text.front)) |> Enum.drop(-length(text.back))
  end

  defp cut(a, b, room) do
    {first, second} = lengths(length(a), length(b), room)
    {Enum.take(a, first), Enum.take(b, second)}
  end

  defp lengths(a, b, room) when a + b <= room, do: {a, b}

  defp lengths(a, b, room) when a > b do
    {second, first} = lengths(b, a, room)
    {first, second}
  end

  defp lengths(a, _b, room) do
    shorter = min(a, div(room, 2))
    {shorter, room - shorter}
  end
end
