defmodule Mlx.Training.Evaluation do
  @moduledoc false
  # Means of functions of a model over batches.

  alias Mlx.{Array, Tree}
  alias Mlx.Training.Processes

  @type functions :: [{atom(), (Tree.t(), Tree.t() -> Array.t())}]
  @type compiled :: (Tree.t(), Tree.t() -> [Array.t()])

  @doc "What computes all of the functions for a batch."
  @spec compile(functions()) :: compiled()
  def compile(functions) do
    Mlx.compile(fn model, batch -> for {_name, fun} <- functions, do: fun.(model, batch) end)
  end

  @doc """
  The means over the batches. A batch counts by its rows, the first axis of its first array. Of a group, each process
  computes with its rows of each batch.
  """
  @spec means(compiled(), [atom()], Tree.t(), Enumerable.t(), Processes.group()) ::
          {:ok, %{atom() => number() | atom()}} | :none
  def means(compiled, names, model, batches, group \\ nil) do
    zeros = {for(_ <- names, do: Mlx.array(0.0)), 0}

    {sums, rows} =
      for batch <- batches, part = Processes.part(batch, group), reduce: zeros do
        former -> add(compiled.(model, part), rows(part), former)
      end

    case Processes.sum(rows, group) do
      0 -> :none
      rows -> {:ok, names |> Enum.zip(for sum <- sums, do: mean(Processes.sum(sum, group), rows)) |> Map.new()}
    end
  end

  defp add(values, rows, {sums, former}) do
    sums =
      for {sum, value} <- Enum.zip(sums, values), do: Mlx.add(sum, value |> Mlx.as_type(:f32) |> Mlx.multiply(rows))

    {Mlx.eval(sums), former + rows}
  end

  defp mean(sum, rows), do: sum |> Mlx.divide(rows) |> Mlx.to_number()

  defp rows(batch) do
    case Tree.arrays(batch) do
      [%Array{shape: shape} | _] when tuple_size(shape) > 0 -> elem(shape, 0)
      _scalars -> 1
    end
  end
end
