if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Compiler.Counting do
    @moduledoc false
    # Loops that count from one number in the definition to another, as those over the elements of a tensor do. A few rounds
    # of few operations are recorded one after the other: nothing waits for a condition then, and MLX compiles them together
    # with what is around them.

    alias Mlx.Type
    alias Mlx.Nx.Backend.Conversion
    alias Mlx.Nx.Compiler.Expression
    alias Nx.Defn.{Composite, Expr}
    alias Nx.Tensor

    # The most nodes that the rounds of a loop have together.
    @most 512

    @doc """
    The loops of an expression, also those within others, that may be recorded round by round: how often each runs, by id.
    """
    @spec few_rounds(Nx.Container.t()) :: %{reference() => non_neg_integer()}
    def few_rounds(expression) do
      {_size, counts} = measure(expression, %{})
      counts
    end

    # How many nodes are recorded for an expression, and the loops so far. Each loop is looked at once, however deep it is.
    defp measure(expression, counts) do
      Expression.reduce(expression, :scope, {0, counts}, fn node, {size, counts} ->
        {own_size, counts} = measure_node(node, counts)
        {size + own_size, counts}
      end)
    end

    defp measure_node(%Tensor{data: %Expr{op: :while, id: id, args: [initial, _, condition, body]}}, counts) do
      {_size, counts} = measure(condition, counts)
      {size, counts} = measure(body, counts)

      case rounds(initial, condition, body) do
        {:ok, count} when count <= @most and count * size <= @most -> {count * size, Map.put(counts, id, count)}
        _many_or_unknown -> {1, counts}
      end
    end

    defp measure_node(_node, counts), do: {1, counts}

    defp rounds(initial, %Tensor{data: %Expr{op: op, args: [counter, limit]}}, body) when op in [:less, :less_equal] do
      with {:parameter, position} <- leaf(counter),
           {:constant, limit} <- leaf(limit),
           {:constant, first} <- initial |> at(position) |> leaf(),
           %Tensor{data: %Expr{op: :add, args: [step, ^counter]}} <- at(body, position),
           {:constant, step} <- leaf(step),
           true <- Enum.all?([first, limit, step], &is_integer/1) and step > 0 do
        stop = if op == :less, do: limit, else: limit + 1
        count = max(div(stop - first + step - 1, step), 0)
        # Or else it would wrap around, and the loop go on.
        if first + count * step <= Type.max(Conversion.type(counter)), do: {:ok, count}, else: :error
      else
        _other -> :error
      end
    end

    defp rounds(_initial, _condition, _body), do: :error

    defp leaf(%Tensor{data: %Expr{op: op, args: [value]}, shape: {}}) when op in [:parameter, :constant],
      do: {op, value}

    defp leaf(_node), do: :other

    defp at(container, position), do: [container] |> Composite.flatten_list() |> Enum.at(position)
  end
end
