defmodule Mlx.LM.Tokenizer.WordScanner.PlainWord do
  @moduledoc false
  # The words of the families `:words` and `:lines`, which take letters as one class.

  alias Mlx.LM.Tokenizer.WordScanner
  alias Mlx.LM.Tokenizer.WordScanner.{Contraction, Runs}

  @doc "The size in bytes of the first word."
  @spec size(binary, WordScanner.t()) :: pos_integer
  def size(text, %{family: :words, numbers: numbers}) do
    with 0 <- Contraction.lower_case(text) do
      case Runs.peek(text) do
        {:space, _size} -> spaces_or_word(text, numbers)
        {:number, size} when numbers == 1 -> size
        {class, size} -> Runs.run(text, size, class)
      end
    end
  end

  def size(text, %{family: :lines, numbers: numbers}) do
    with 0 <- Contraction.any_case(text) do
      case Runs.peek(text) do
        {:letter, size} -> Runs.run(text, size, :letter)
        {:number, size} -> Runs.digits(text, size, numbers - 1)
        {class, size} -> led_word(text, class, size)
      end
    end
  end

  # A space belongs to the word behind it. Of more of them the last does; a digit that is cut out takes none.
  defp spaces_or_word(<<?\s, rest::binary>> = text, numbers) do
    case Runs.peek(rest) do
      {:number, _size} when numbers == 1 -> 1
      {class, size} when class != :space -> Runs.run(text, 1 + size, class)
      _other -> Runs.spaces(text, numbers)
    end
  end

  defp spaces_or_word(text, numbers), do: Runs.spaces(text, numbers)

  # A character that is no letter, number or line break may lead a word of letters; a space may lead one of others.
  defp led_word(<<first, rest::binary>> = text, class, size) when first not in [?\r, ?\n] do
    rest = if size == 1, do: rest, else: binary_part(text, size, byte_size(text) - size)

    case {class, Runs.peek(rest)} do
      {_class, {:letter, next}} -> Runs.run(text, size + next, :letter)
      {:other, _next} -> Runs.line_breaks(text, Runs.run(text, size, :other), false)
      {:space, {:other, next}} when first == ?\s -> Runs.line_breaks(text, Runs.run(text, 1 + next, :other), false)
      {:space, _next} -> Runs.lines(text)
    end
  end

  defp led_word(text, :space, _size), do: Runs.lines(text)
end
