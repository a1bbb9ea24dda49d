defmodule Mlx.Differential.Indices do
  @moduledoc "Random expressions of the index language."

  import Mlx.Differential.Draw
  import Mlx.Differential.Input, only: [random: 2]

  alias Mlx.Differential.{Input, Python}

  # Arrays of `:u64` and of a signed type have no integer type in common.
  @index_types [:s8, :s16, :s32, :s64, :u8, :u16, :u32]

  @doc """
  An index for a shape: in Elixir, and in Python. With `updates: true` it selects something, and has no new axes.
  """
  def index(shape, options \\ []) do
    sizes = shape |> Tuple.to_list() |> Enum.take(one_of(0..tuple_size(shape)))
    common = List.to_tuple(several(one_of(0..2), fn -> one_of(1..3) end))

    {entries, _count} =
      Enum.map_reduce(sizes, 0, fn size, count ->
        {elixir, python, used} = entry(size, common, count, options)
        {{elixir, python}, count + used}
      end)

    entries = with_ellipsis(entries, tuple_size(shape))
    entries = if options[:updates], do: entries, else: with_new_axes(entries)
    {elixir, python} = Enum.unzip(entries)

    case elixir do
      [one] when not is_list(one) -> if chance?(2), do: {one, hd(python)}, else: {elixir, Python.tuple(python)}
      _ -> {elixir, Python.tuple(python)}
    end
  end

  # What stands for one axis, with the number of arrays.
  defp entry(size, common, count, options) do
    case one_of([:integer, :range, :range, :range, :all, :array, :array]) do
      :array when size > 0 and count < 3 -> array_entry(size, common, count)
      :integer when size > 0 -> one_of(-size..(size - 1)) |> then(&{&1, "#{&1}", 0})
      :range -> range_entry(size, if(options[:updates], do: 1, else: 0))
      _ -> {.., "slice(None)", 0}
    end
  end

  defp array_entry(size, common, count) do
    array = indices(Enum.at(~w(i j k), count), beside(common), size)

    if chance?(4) and array.shape != {} do
      list = array |> Input.build() |> Mlx.to_list()
      {list, "mx.array(#{Python.term(list)})", 1}
    else
      {array, "#{array}", 1}
    end
  end

  defp range_entry(0, _least), do: {.., "slice(None)", 0}

  defp range_entry(size, least) do
    {first, step} = {one_of(0..(size - 1)), one_of([1, 1, 2, 3, -1, -2])}
    most = if step > 0, do: div(size - 1 - first, step) + 1, else: div(first, -step) + 1
    count = one_of(least..most)
    last = first + (count - 1) * step

    cond do
      count == 0 -> {1..0//1, "slice(0, 0)", 0}
      step > 0 -> {from_end(first, size)..from_end(last, size)//step, "slice(#{first}, #{last + 1}, #{step})", 0}
      true -> {from_end(first, size)..from_end(last, size)//step, "slice(#{first}, #{before(last)}, #{step})", 0}
    end
  end

  defp from_end(index, size), do: if(chance?(3), do: index - size, else: index)

  defp before(0), do: "None"
  defp before(index), do: "#{index - 1}"

  # Axes that are not mentioned stand at the end; with an ellipsis, where it is.
  defp with_ellipsis(entries, rank) do
    if length(entries) == rank and chance?(4),
      do: List.insert_at(entries, one_of(0..rank), {:..., "Ellipsis"}),
      else: entries
  end

  defp with_new_axes(entries) do
    if chance?(4), do: List.insert_at(entries, one_of(0..length(entries)), {:new_axis, "None"}), else: entries
  end

  @doc "An array of integers inside an axis of this size, also counted from its end."
  def indices(name, shape, size) do
    type = one_of(@index_types)
    random(name, shape: shape, type: type, values: if(Mlx.Type.class(type) == :signed, do: -size, else: 0)..(size - 1))
  end
end
