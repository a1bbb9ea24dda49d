defmodule Mlx.LM.Tokenizer.Scripts do
  @moduledoc false
  # The script of each character, as Unicode 16 has it, and the cut between scripts that SentencePiece makes.

  import Bitwise

  @file_of_ranges Path.join(__DIR__, "scripts.txt")
  @external_resource @file_of_ranges

  # The characters that SentencePiece's cut has in another script than Unicode 16: it knows Unicode 8.
  @file_of_older Path.join(__DIR__, "older_scripts.txt")
  @external_resource @file_of_older

  read = fn file ->
    for line <- File.stream!(file), [name | ranges] = String.split(line), range <- ranges do
      [from | to] = String.split(range, "-")
      from = String.to_integer(from, 16)
      {from, if(to == [], do: from, else: String.to_integer(hd(to), 16)), name}
    end
  end

  ranges = read.(@file_of_ranges)
  @older @file_of_older |> read.() |> Enum.sort() |> List.to_tuple()

  @ranges ranges |> Enum.sort() |> List.to_tuple()
  @names ranges
         |> Enum.map(&elem(&1, 2))
         |> Enum.uniq()
         |> Map.new(&{&1 |> String.replace("_", "") |> String.downcase(), &1})

  @doc "The script of a code point, or nil."
  @spec of(char) :: String.t() | nil
  def of(code), do: search(@ranges, code, 0, tuple_size(@ranges) - 1)

  defp search(_ranges, _code, low, high) when low > high, do: nil

  defp search(ranges, code, low, high) do
    middle = (low + high) >>> 1

    case elem(ranges, middle) do
      {from, _to, _name} when code < from -> search(ranges, code, low, middle - 1)
      {_from, to, _name} when code > to -> search(ranges, code, middle + 1, high)
      {_from, _to, name} -> name
    end
  end

  @doc "The name of a script, by its name in lower case without underscores, or nil."
  @spec find(String.t()) :: String.t() | nil
  def find(name), do: @names[name]

  @doc """
  Cuts a text where the script changes. Japanese syllables belong to Chinese characters, and a space to what stands before.

      iex> Mlx.LM.Tokenizer.Scripts.split("abcдом カナ漢")
      ["abc", "дом ", "カナ漢"]
  """
  @spec split(String.t()) :: [String.t()]
  def split(text) do
    {places, _last, _at} =
      for <<code::utf8 <- text>>, reduce: {[], nil, 0} do
        {places, last, at} ->
          script = joined(code)
          cuts = script != :any and last != :any and last != script

          {if(cuts, do: [at | places], else: places), if(script == :any, do: last, else: script),
           at + byte_size(<<code::utf8>>)}
      end

    {parts, _to} = Enum.map_reduce(places, byte_size(text), &{binary_part(text, &1, &2 - &1), &1})
    Enum.reverse(parts)
  end

  defp joined(?\s), do: :any
  defp joined(0x30FC), do: "Han"

  defp joined(code) do
    case search(@older, code, 0, tuple_size(@older) - 1) || of(code) do
      script when script in ["Hiragana", "Katakana"] -> "Han"
      script when script in [nil, "Any"] -> :any
      script -> script
    end
  end
end
