defmodule Mlx.LM.Tokenizer.Piece do
  @moduledoc false
  # A text on its way through a tokenizer: a string or, where it is asked which part of the original it stands for,
  # `Mlx.LM.Tokenizer.Aligned`.

  alias Mlx.LM.Tokenizer.{Aligned, Growth}

  @type t :: String.t() | Aligned.t()

  @doc "The string."
  @spec text(t) :: String.t()
  def text(text) when is_binary(text), do: text
  def text(%Aligned{text: text}), do: text

  @doc "Parts of it, each a place and a size."
  @spec parts(t, [{non_neg_integer, non_neg_integer}]) :: [t]
  def parts(text, parts) when is_binary(text), do: for({at, size} <- parts, do: binary_part(text, at, size))
  def parts(aligned, parts), do: for({at, size} <- parts, do: Aligned.slice(aligned, at, size))

  @doc "The strings that a function cuts it into. They are the whole, or the end of it."
  @spec cut(t, (String.t() -> [String.t()])) :: [t]
  def cut(text, function) when is_binary(text), do: function.(text)

  def cut(%Aligned{text: text} = aligned, function) do
    sizes = text |> function.() |> Enum.map(&byte_size/1)

    {parts, _at} =
      Enum.map_reduce(sizes, byte_size(text) - Enum.sum(sizes), &{Aligned.slice(aligned, &2, &1), &2 + &1})

    parts
  end

  @doc "With text in front, unless it begins with that."
  @spec prefixed(t, String.t()) :: t
  def prefixed(piece, prefix) do
    text = text(piece)
    if String.starts_with?(text, prefix), do: piece, else: longer(piece, text, prefix)
  end

  defp longer(text, text, prefix), do: Growth.check(prefix <> text, text)

  defp longer(aligned, text, prefix) do
    longer = Aligned.prepend(aligned, prefix)
    Growth.check(longer.text, text)
    longer
  end

  @doc "With a string in the place of another, everywhere."
  @spec replaced(t, String.t(), String.t()) :: t
  def replaced(text, string, content) when is_binary(text), do: :binary.replace(text, string, content, [:global])
  def replaced(aligned, string, content), do: Aligned.replace(aligned, :binary.matches(aligned.text, string), content)

  @doc "Written anew, each character by itself."
  @spec written(t, (String.t() -> String.t())) :: t
  def written(text, function) when is_binary(text), do: function.(text)
  def written(aligned, function), do: Aligned.map(aligned, &function.(<<&1::utf8>>))
end
