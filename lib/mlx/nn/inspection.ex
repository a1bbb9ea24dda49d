defmodule Mlx.NN.Inspection do
  @moduledoc false
  # How `inspect/1` shows a layer: its fields, of arrays the type and shape. Their elements are many, and to show them
  # would compute them.

  import Inspect.Algebra

  alias Mlx.Array
  alias Mlx.Distributed.Group
  alias Mlx.Values.Printing

  @doc "The document of a layer. One with layers inside is a tree, with a line for each field."
  @spec document(struct(), Inspect.Opts.t()) :: Inspect.Algebra.t()
  def document(%module{} = layer, opts) do
    fields = for %{field: name} <- module.__info__(:struct), do: {name, Map.fetch!(layer, name)}
    break = if Enum.any?(fields, fn {_name, value} -> layers?(value) end), do: :strict, else: :flex
    container_doc("##{inspect(module)}<", fields, ">", opts, &field/2, separator: ",", break: break)
  end

  defp layers?([head | tail]), do: layers?(head) or layers?(tail)
  defp layers?(%module{}) when module in [Array, Group], do: false
  defp layers?(value), do: is_struct(value)

  defp field({name, value}, opts), do: concat("#{name}: ", value(value, opts))

  defp value(%Array{} = array, _opts), do: Printing.header(array)
  defp value([_ | _] = list, opts), do: container_doc("[", list, "]", opts, &value/2)
  defp value(other, opts), do: to_doc(other, opts)
end
