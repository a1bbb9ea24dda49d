defmodule Mlx.Arguments.Given do
  @moduledoc false
  # Wrong arguments in messages.

  alias Mlx.Array

  @doc "A term as Elixir writes it, arrays by their type and shape: to show their elements would compute them."
  @spec text(term()) :: String.t()
  def text(term), do: inspect(term, inspect_fun: &document/2, limit: 20, printable_limit: 100)

  defp document(%Array{} = array, _opts), do: "#Mlx.Array<#{Mlx.Values.Printing.header(array)}>"
  defp document(term, opts), do: Inspect.inspect(term, opts)

  @doc "What makes an array of what was given in its place, or nothing. It goes behind the term."
  @spec hint(term()) :: String.t()
  def hint([%Array{} | _]), do: "; Mlx.stack/1 makes one array of a list of arrays"
  def hint([{name, _value} | _]) when is_atom(name), do: "; options come after all other arguments"
  def hint(list) when is_list(list), do: "; Mlx.array/1 makes an array of a list"
  def hint(%Range{}), do: "; Mlx.array/1 makes an array of a range"
  def hint(%{__struct__: Nx.Tensor}), do: "; Mlx.Nx.from_nx/1 makes an array of a tensor"
  def hint(_term), do: ""
end
