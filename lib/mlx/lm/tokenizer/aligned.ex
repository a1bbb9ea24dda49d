defmodule Mlx.LM.Tokenizer.Aligned do
  @moduledoc false
  # A text that was made of a part of another one, the original, and the span of the original that each of its bytes stands
  # for. What changes a text also says here what becomes of the spans; they are those of the package `tokenizers`.
  #
  # A span is eight bytes, the places where it begins and ends. `:same` are the spans of a text that is a part of the original
  # itself: each character stands for itself.

  import Mlx.LM.Tokenizer.CharacterSize

  @enforce_keys [:text, :spans, :from, :to]
  defstruct @enforce_keys

  @type t :: %__MODULE__{text: String.t(), spans: binary | :same, from: non_neg_integer, to: non_neg_integer}

  @typedoc """
  A character of a new text, and how many more characters it stands for than the one that comes next in the old text: 1 for none,
  0 for that one, and `-n` for it and `n` more.
  """
  @type change :: {char, integer}

  @doc "A text as it is."
  @spec new(String.t()) :: t
  def new(text), do: %__MODULE__{text: text, spans: :same, from: 0, to: byte_size(text)}

  @doc "A part of a text."
  @spec slice(t, non_neg_integer, non_neg_integer) :: t
  def slice(%{from: from}, at, 0), do: %__MODULE__{text: "", spans: :same, from: from + at, to: from + at}

  def slice(%{text: text, spans: :same} = aligned, at, size) do
    from = aligned.from + at
    %{aligned | text: binary_part(text, at, size), from: from, to: from + size}
  end

  def slice(%{text: text, spans: spans}, at, size) do
    part = binary_part(spans, 8 * at, 8 * size)
    <<from::32, _rest::binary>> = part
    <<to::32>> = binary_part(part, byte_size(part), -4)
    %__MODULE__{text: binary_part(text, at, size), spans: part, from: from, to: to}
  end

  @doc "The span of the bytes of a text from one place to another, whole characters where it cuts one."
  @spec span(t, non_neg_integer, non_neg_integer) :: {non_neg_integer, non_neg_integer}
  def span(%{from: from}, at, at), do: {from + at, from + at}
  def span(%{text: text}, from, to) when to > byte_size(text), do: {from, to}
  def span(%{text: text, spans: :same, from: at}, from, to), do: {at + beginning(text, from), at + ending(text, to)}

  def span(%{spans: spans}, from, to) do
    <<first::32, _rest::binary>> = binary_part(spans, 8 * from, 8)
    <<last::32>> = binary_part(spans, 8 * to, -4)
    {first, last}
  end

  defp beginning(text, at), do: if(inside?(text, at), do: beginning(text, at - 1), else: at)
  defp ending(text, at), do: if(inside?(text, at), do: ending(text, at + 1), else: at)

  defp inside?(text, at), do: at < byte_size(text) and :binary.at(text, at) in 0x80..0xBF

  @doc "The spans of all bytes."
  @spec spans(t) :: binary
  def spans(%{spans: :same, text: text, from: from}), do: own(text, from, <<>>)
  def spans(%{spans: spans}), do: spans

  defp own(<<code::utf8, rest::binary>>, at, spans) do
    to = at + size(code)
    own(rest, to, <<spans::binary, :binary.copy(<<at::32, to::32>>, to - at)::binary>>)
  end

  defp own("", _at, spans), do: spans

  @doc "Writes each character as a text, which stands for what the character did."
  @spec map(t, (char -> String.t())) :: t
  def map(%{text: text} = aligned, function) do
    case mapped(text, spans(aligned), function, <<>>, <<>>) do
      {^text, _spans} -> aligned
      {text, spans} -> %{aligned | text: text, spans: spans}
    end
  end

  defp mapped(<<code::utf8, rest::binary>>, spans, function, text, done) do
    {span, spans} = first(spans, size(code))
    new = function.(code)
    done = <<done::binary, :binary.copy(span, byte_size(new))::binary>>
    mapped(rest, spans, function, <<text::binary, new::binary>>, done)
  end

  defp mapped("", _spans, _function, text, done), do: {text, done}

  defp first(spans, size) do
    <<span::binary-8, _same::binary-size(8 * (size - 1)), rest::binary>> = spans
    {span, rest}
  end

  @doc "Keeps a part of a text, which goes on being made of the same part of the original."
  @spec keep(t, non_neg_integer, non_neg_integer) :: t
  def keep(%{text: text} = aligned, 0, size) when size == byte_size(text), do: aligned

  def keep(%{text: text} = aligned, at, size) do
    %{aligned | text: binary_part(text, at, size), spans: aligned |> spans() |> binary_part(8 * at, 8 * size)}
  end

  @doc "Puts a text in front, which stands for what the first character does. Without a text, that one stands for nothing."
  @spec prepend(t, String.t()) :: t
  def prepend(%{text: ""} = aligned, _prefix), do: aligned

  def prepend(%{text: <<code::utf8, _rest::binary>> = text} = aligned, prefix) do
    {span, rest} = aligned |> spans() |> first(size(code))
    span = if prefix == "", do: nothing(aligned), else: span
    %{aligned | text: prefix <> text, spans: :binary.copy(span, byte_size(prefix) + size(code)) <> rest}
  end

  defp nothing(%{from: from}), do: <<from::32, from::32>>

  @doc "Puts a text in the place of others, each a place and a size. It stands for what the last byte of them does."
  @spec replace(t, [{non_neg_integer, non_neg_integer}], String.t()) :: t
  def replace(aligned, [], _content), do: aligned

  def replace(%{text: text} = aligned, places, content) do
    spans = spans(aligned)

    {parts, from} =
      Enum.map_reduce(places, 0, fn {at, size}, from ->
        to = at + size
        span = if to == 0, do: nothing(aligned), else: binary_part(spans, 8 * (to - 1), 8)
        kept = binary_part(spans, 8 * from, 8 * (at - from))
        {{[binary_part(text, from, at - from), content], [kept, :binary.copy(span, byte_size(content))]}, to}
      end)

    {texts, parts} = Enum.unzip(parts)
    left = byte_size(text) - from
    text = IO.iodata_to_binary([texts, binary_part(text, from, left)])
    %{aligned | text: text, spans: IO.iodata_to_binary([parts, binary_part(spans, 8 * from, 8 * left)])}
  end

  @doc "The text of characters that stand for those of the old one in their order."
  @spec changed(t, [change]) :: t
  def changed(%{text: text} = aligned, changes) do
    {text, spans} = changes(changes, text, spans(aligned), nothing(aligned), <<>>, <<>>)
    %{aligned | text: text, spans: spans}
  end

  # `before` is the span of the byte in front of what is left of the old text.
  defp changes([{code, change} | changes], old, spans, before, text, done) when change > 0 or old == "" do
    {text, done} = {<<text::binary, code::utf8>>, <<done::binary, :binary.copy(before, size(code))::binary>>}
    changes(changes, old, spans, before, text, done)
  end

  defp changes([{code, change} | changes], old, spans, _before, text, done) do
    span = binary_part(spans, 0, 8)
    {old, spans, before} = skip(old, spans, span, 1 - change)
    {text, done} = {<<text::binary, code::utf8>>, <<done::binary, :binary.copy(span, size(code))::binary>>}
    changes(changes, old, spans, before, text, done)
  end

  defp changes([], _old, _spans, _before, text, done), do: {text, done}

  defp skip(<<code::utf8, rest::binary>>, spans, _before, count) when count > 0 do
    {before, spans} = first(spans, size(code))
    skip(rest, spans, before, count - 1)
  end

  defp skip(old, spans, before, _count), do: {old, spans, before}
end
