defmodule Mlx.LM.Grammar.Kinds do
  @moduledoc false
  # Kinds of bytes as bits of an integer: which kinds the tokens below a node of the vocabulary's tree have, and on which kinds
  # a state of a grammar stays where it is. Where a state stays on all kinds below a node, all tokens there fit, and none of them
  # is looked at.
  #
  # Most kinds are single characters that grammars tell apart. All characters with bytes above 0x7F are one kind, whose bytes may
  # also end inside of a character; bytes that are no part of one are another kind, on which no state stays.

  import Bitwise

  alias Mlx.LM.Grammar.Program

  @type t :: non_neg_integer()

  @typedoc "The places in a character, as bits, from which bytes are characters, of which the last may be cut off."
  @type places :: non_neg_integer()

  # Letters and digits of hexadecimal numbers are apart from the others.
  @ranges Enum.map(
            [0x00..0x08, 0x09..0x09, 0x0A..0x0A, 0x0B..0x0C, 0x0D..0x0D, 0x0E..0x1F, ?0..?0, ?1..?9, ?A..?F, ?G..?Z] ++
              [?a..?f, ?g..?z, 0x7F..0x7F] ++
              for(byte <- Enum.concat([?\s..?/, ?:..?@, ?[..?`, ?{..?~]), do: byte..byte),
            &{&1.first, &1.last}
          )

  @kinds List.to_tuple(
           for byte <- 0x00..0x7F do
             1 <<< Enum.find_index(@ranges, fn {low, high} -> byte in low..high end)
           end
         )

  @character 1 <<< length(@ranges)
  @wrong 2 * @character

  # The places in a character: at its first byte, with so many bytes to come, and behind first bytes that not all bytes follow.
  @first 0
  @one 1
  @two 2
  @three 3
  @places [
    {@first, 0x00..0x7F, @first},
    {@first, 0xC2..0xDF, @one},
    {@first, 0xE0..0xE0, 4},
    {@first, 0xE1..0xEC, @two},
    {@first, 0xED..0xED, 5},
    {@first, 0xEE..0xEF, @two},
    {@first, 0xF0..0xF0, 6},
    {@first, 0xF1..0xF3, @three},
    {@first, 0xF4..0xF4, 7},
    {@one, 0x80..0xBF, @first},
    {@two, 0x80..0xBF, @one},
    {@three, 0x80..0xBF, @two},
    {4, 0xA0..0xBF, @one},
    {5, 0x80..0x9F, @one},
    {6, 0x90..0xBF, @two},
    {7, 0x80..0x8F, @two}
  ]

  # Of each byte the places from which it leads on, each with the place that it leads to.
  @moves List.to_tuple(
           for byte <- 0..255 do
             for {from, bytes, to} <- @places, byte in bytes, do: {1 <<< from, 1 <<< to}
           end
         )

  @doc "The places of no bytes: all."
  @spec everywhere() :: places()
  def everywhere, do: 0xFF

  @doc "The places from which a byte and all texts of bytes behind it, whose places are known, are characters."
  @spec before(byte(), places()) :: places()
  def before(byte, places) do
    for {from, to} <- elem(@moves, byte), (places &&& to) != 0, reduce: 0, do: (all -> all ||| from)
  end

  @doc "The kind of a byte."
  @spec of(byte()) :: t()
  def of(byte) when byte <= 0x7F, do: elem(@kinds, byte)
  def of(_byte), do: @character

  @doc "The kinds of bytes below a node, with what the places say of them."
  @spec below(t(), places()) :: t()
  def below(kinds, places), do: if((places &&& 1 <<< @first) == 0, do: kinds ||| @wrong, else: kinds)

  @doc """
  Of each state the kinds on which it stays, on whose bytes it comes back to itself, in 64 bits, little-endian. None where a text
  of its rule may end in it, or where it calls rules.
  """
  @spec kept(Program.t()) :: binary()
  def kept(program) do
    by_class = by_class(program)

    for state <- 1..(byte_size(program.flags) - 1)//1, into: <<0::64>> do
      kinds = if silent?(program, state), do: kept(program, state, by_class, &(&1 == state)), else: 0
      <<kinds::64-little>>
    end
  end

  @doc "The kinds on whose bytes the first state of a counted rule comes to the end of the rule."
  @spec counted(Program.t(), pos_integer()) :: t()
  def counted(program, state), do: kept(program, state, by_class(program), &Program.accepting?(program, &1))

  # Of each class of bytes the kinds that have some of them.
  defp by_class(program) do
    kinds = Enum.group_by(0x00..0x7F, &:binary.at(program.classes, &1), &elem(@kinds, &1))
    for class <- 0..(program.width - 1), do: kinds |> Map.get(class, []) |> Enum.reduce(0, &|||/2)
  end

  defp kept(program, state, by_class, home?) do
    gone = gone(Program.row(program, state), by_class, home?, 0)
    kinds = @character - 1 &&& bnot(gone)
    if characters?(program, state, @first, home?), do: kinds ||| @character, else: kinds
  end

  # The kinds with bytes that lead elsewhere.
  defp gone(<<next::32-little, row::binary>>, [kinds | by_class], home?, gone),
    do: gone(row, by_class, home?, if(home?.(next), do: gone, else: gone ||| kinds))

  defp gone(<<>>, [], _home?, gone), do: gone

  # Whether all bytes from a place in a character lead home at its end, by states that neither return nor call.
  defp characters?(program, state, place, home?) do
    Enum.all?(@places, fn {from, low..high//1, to} ->
      from != place or high < 0x80 or
        (Program.next(program, state, low) != 0 and all_characters?(program, state, low..high, to, home?))
    end)
  end

  defp all_characters?(program, state, bytes, to, home?) do
    case bytes |> Enum.map(&Program.next(program, state, &1)) |> Enum.uniq() do
      nexts when to == @first -> Enum.all?(nexts, &(&1 != 0 and home?.(&1)))
      nexts -> Enum.all?(nexts, &(&1 != 0 and silent?(program, &1) and characters?(program, &1, to, home?)))
    end
  end

  defp silent?(program, state), do: not Program.accepting?(program, state) and Program.calls(program, state) == []
end
