defmodule Mlx.LM.Grammar.Escapes do
  @moduledoc false
  # How JSON writes the bytes of a string: those that it takes as they are, and one way for each of the others.

  @short %{?\b => ?b, ?\t => ?t, ?\n => ?n, ?\f => ?f, ?\r => ?r, ?" => ?", ?\\ => ?\\}

  @type path :: {firsts :: [{byte(), byte()}], behind :: [{byte(), byte()}]}

  @doc "The paths that stand for one byte of a range: ranges of the first byte, and those of the bytes behind it."
  @spec of_range({byte(), byte()}) :: [path()]
  def of_range({low, high}) do
    plain =
      for {first, last} <- [{0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0xFF}],
          from = max(low, first),
          to = min(high, last),
          from <= to,
          do: {from, to}

    escaped = for byte <- [?", ?\\ | Enum.to_list(0..0x1F)], byte in low..high, do: {[{?\\, ?\\}], behind(byte)}
    if plain == [], do: escaped, else: [{plain, []} | escaped]
  end

  defp behind(byte) do
    case @short do
      %{^byte => letter} ->
        [{letter, letter}]

      _none ->
        <<digit, letter>> = Base.encode16(<<byte>>, case: :lower)
        for byte <- [?u, ?0, ?0, digit, letter], do: {byte, byte}
    end
  end
end
