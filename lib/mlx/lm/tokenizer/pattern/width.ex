defmodule Mlx.LM.Tokenizer.Pattern.Width do
  @moduledoc false
  # How many characters the branches of a look behind take, which has to be one number each.

  alias Mlx.LM.Tokenizer.Pattern.Parser

  @doc "The branches of nodes, each with its number of characters."
  @spec branches([tuple]) :: [{[tuple], non_neg_integer}]
  def branches([{:choice, branches, _table}]), do: for(nodes <- branches, do: {nodes, width(nodes)})
  def branches(nodes), do: [{nodes, width(nodes)}]

  defp width(nodes), do: nodes |> Enum.map(&of/1) |> Enum.sum()

  defp of({:set, _set}), do: 1
  defp of({:many, _set, count, count, _mode}), do: count
  defp of({:repeat, nodes, count, count, _mode}), do: count * width(nodes)
  defp of({:atomic, nodes}), do: width(nodes)
  defp of({kind, _, _}) when kind in [:ahead, :behind], do: 0
  defp of({:anchor, _kind}), do: 0

  defp of({:choice, branches, _table}) do
    case branches |> Enum.map(&width/1) |> Enum.uniq() do
      [width] -> width
      _several -> Parser.wrong("a look behind has branches of several lengths inside")
    end
  end

  defp of(_node), do: Parser.wrong("a look behind has no fixed length")
end
