defmodule Mlx.LM.Tokenizer.Pattern.Choice do
  @moduledoc false
  # A choice between branches of a regular expression, by the first byte where that is ASCII: only branches that can begin
  # with it are tried.

  import Bitwise

  alias Mlx.LM.Tokenizer.Pattern.CharacterSet

  # The branches that a byte can begin, as bits.
  @bits 56

  @doc "The node of a choice: its branches, and for each byte those that are tried."
  @spec new([[tuple]]) :: {:choice, [[tuple]], binary}
  def new(branches) when length(branches) > @bits, do: {:choice, branches, :binary.copy(<<all()::@bits>>, 128)}

  def new(branches) do
    {:choice, branches, for(byte <- 0..127, into: <<>>, do: <<bits(branches, byte)::@bits>>)}
  end

  defp bits(branches, byte) do
    for {nodes, index} <- Enum.with_index(branches),
        begins(nodes, byte) != :no,
        reduce: 0,
        do: (bits -> bits ||| 1 <<< index)
  end

  defp all, do: (1 <<< @bits) - 1

  @doc "The bits of the branches that a byte can begin; all for one that is not ASCII. Branches beyond the bits are tried."
  @spec tried(binary, byte | nil) :: non_neg_integer
  def tried(table, byte) when byte < 128, do: table |> binary_part(byte * 7, 7) |> :binary.decode_unsigned()
  def tried(_table, _byte), do: all()

  @doc "Whether nodes can match a text that begins with this byte: `:yes`, `:no`, or `:empty` when they may match nothing."
  @spec begins([tuple], 0..127) :: :yes | :no | :empty
  def begins([], _byte), do: :empty
  def begins([{:set, set} | _rest], byte), do: yes_or_no(CharacterSet.member?(set, byte))

  def begins([{:many, set, min, max, _mode} | rest], byte) do
    cond do
      max != 0 and CharacterSet.member?(set, byte) -> :yes
      min > 0 -> :no
      true -> begins(rest, byte)
    end
  end

  def begins([{:choice, branches, _table} | rest], byte) do
    branches |> Enum.map(&begins(&1, byte)) |> together(rest, byte)
  end

  def begins([{:repeat, nodes, min, _max, _mode} | rest], byte) do
    if min > 0,
      do: together([begins(nodes, byte)], rest, byte),
      else: together([begins(nodes, byte), :empty], rest, byte)
  end

  def begins([{:atomic, nodes} | rest], byte), do: together([begins(nodes, byte)], rest, byte)
  def begins([{kind, _, _} | rest], byte) when kind in [:ahead, :behind], do: begins(rest, byte)
  def begins([{:anchor, _kind} | rest], byte), do: begins(rest, byte)

  defp yes_or_no(true), do: :yes
  defp yes_or_no(false), do: :no

  defp together(answers, rest, byte) do
    cond do
      :yes in answers -> :yes
      :empty in answers -> begins(rest, byte)
      true -> :no
    end
  end
end
