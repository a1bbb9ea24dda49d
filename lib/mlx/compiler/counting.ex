if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Compiler.Counting do
    @moduledoc false
    # Loops that count from one number in the definition to another, as those over the elements of a tensor do. A few rounds
    # of few operations are recorded one after the other: nothing waits for a condition then, and MLX compiles them together
    # with what is around them.

    alias Mlx.{Backend.Conversion, Compiler.Expression, Type}
    alias Nx.Defn.{Composite, Expr}
    alias Nx.Tensor

    # The most nodes that the rounds of a loop have together.
    @most 512

    @doc "How often the loop runs, if it is known and is so few times that it may be recorded round by round."
    @spec few_rounds(Nx.Container.t(), Tensor.t(), Nx.Container.t()) :: {:ok, non_neg_integer()} | :error
    def few_rounds(initial, condition, body) do
      with {:ok, count} <- rounds(initial, condition, body),
           true <- count <= @most and count * size(body) <= @most do
        {:ok, count}
      else
        _many_or_unknown -> :error
      end
    end

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

    # How many nodes are recorded for an expression.
    defp size(expression), do: Expression.reduce(expression, :scope, 0, fn node, size -> size + own_size(node) end)

    defp own_size(%Tensor{data: %Expr{op: :while, args: [initial, _parameters, condition, body]}}) do
      case few_rounds(initial, condition, body) do
        {:ok, count} -> count * size(body)
        :error -> 1
      end
    end

    defp own_size(_node), do: 1
  end
end
