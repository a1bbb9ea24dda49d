defmodule Mlx.LM.Grammar.UTF8 do
  @moduledoc false
  # Ranges of code points as sequences of ranges of bytes.

  import Bitwise

  alias Mlx.LM.Grammar.Expression

  @sizes [{0x00, 0x7F}, {0x80, 0x7FF}, {0x800, 0xD7FF}, {0xE000, 0xFFFF}, {0x10000, 0x10FFFF}]

  @doc """
  The sequences of ranges of bytes, each of which stands for the characters with one byte of each range.

      iex> Mlx.LM.Grammar.UTF8.sequences([{?a, ?z}, {0xE9, 0xE9}])
      [[{97, 122}], [{195, 195}, {169, 169}]]
  """
  @spec sequences(Expression.ranges()) :: [[{byte(), byte()}]]
  def sequences(ranges) do
    for {low, high} <- Expression.union(ranges),
        {first, last} <- @sizes,
        from = max(low, first),
        to = min(high, last),
        from <= to,
        sequence <- split(:binary.bin_to_list(<<from::utf8>>), :binary.bin_to_list(<<to::utf8>>)),
        do: sequence
  end

  # Both have the same number of bytes.
  defp split([a], [b]), do: [[{a, b}]]

  defp split([a | low], [a | high]), do: for(rest <- split(low, high), do: [{a, a} | rest])

  defp split([a | low], [b | high]) do
    {first, a} = if least?(low), do: {[], a}, else: {heads(a, split(low, most(low))), a + 1}
    {last, b} = if most?(high), do: {[], b}, else: {heads(b, split(least(high), high)), b - 1}
    middle = if a <= b, do: [[{a, b} | Enum.zip(least(low), most(low))]], else: []
    first ++ middle ++ last
  end

  defp heads(byte, sequences), do: for(rest <- sequences, do: [{byte, byte} | rest])
  defp least(bytes), do: Enum.map(bytes, fn _byte -> 0x80 end)
  defp most(bytes), do: Enum.map(bytes, fn _byte -> 0xBF end)
  defp least?(bytes), do: Enum.all?(bytes, &(band(&1, 0x3F) == 0))
  defp most?(bytes), do: Enum.all?(bytes, &(band(&1, 0x3F) == 0x3F))
end
