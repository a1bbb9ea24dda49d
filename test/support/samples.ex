defmodule Mlx.Samples do
  @moduledoc "Arrays of every type for tests: the same in each run."

  @special [:nan, :infinity, :neg_infinity, 0.0, -0.0, 1.0, -1.0]

  @doc """
  An array of `shape` and `type`. Floating-point elements are between -4 and 4, with NaN, infinities and zeros in front
  when `special: true`; integers are between -9 and 9. With `positive: true` all are positive and booleans true.
  """
  def array(shape, type, options \\ []) do
    seed = :rand.seed_s(:exsss, {1, tuple_size(shape), Keyword.get(options, :seed, 0)})

    {elements, _seed} =
      Enum.map_reduce(1..Tuple.product(shape)//1, seed, &element(&1, &2, Mlx.Type.class(type), options))

    elements
    |> with_special(type, options)
    |> Mlx.array(type: type)
    |> Mlx.reshape(shape)
  end

  defp element(_index, seed, class, options) do
    {x, seed} = :rand.uniform_s(seed)
    {y, seed} = :rand.uniform_s(seed)
    {value(class, x, y, Keyword.get(options, :positive, false)), seed}
  end

  defp value(:bool, x, _y, positive), do: positive or x < 0.5
  defp value(:unsigned, x, _y, positive), do: trunc(x * 9) + if(positive, do: 1, else: 0)
  defp value(:signed, x, _y, true), do: trunc(x * 9) + 1
  defp value(:signed, x, _y, false), do: trunc(x * 19) - 9
  defp value(:float, x, _y, positive), do: if(positive, do: x * 4 + 0.01, else: x * 8 - 4)
  defp value(:complex, x, y, _positive), do: {x * 8 - 4, y * 8 - 4}

  defp with_special(elements, type, options) do
    if options[:special] && Mlx.Type.class(type) == :float do
      Enum.take(@special ++ Enum.drop(elements, length(@special)), length(elements))
    else
      elements
    end
  end
end
