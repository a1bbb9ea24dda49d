defmodule Mlx.Operation do
  @moduledoc false
  # Defines the operations that only pass their operands to the native function:
  #
  #     @doc "The sum, element by element."
  #     operation add(a, b)
  #
  #     @doc "The inverse sine."
  #     operation asin(array), :arcsin
  #
  # Each gets a spec and the `:stream` option. The native function has the same name unless another is given.

  defmacro __using__(_options) do
    quote do
      import Mlx.Operation, only: [operation: 1, operation: 2]
    end
  end

  defmacro operation({name, _, operands}, native \\ nil) do
    types = for _ <- operands, do: quote(do: Mlx.Array.operand())

    quote do
      @spec unquote(name)(unquote_splicing(types), keyword()) :: Mlx.Array.t()
      def unquote(name)(unquote_splicing(operands), options \\ []) do
        Mlx.Native.unquote(native || name)(unquote_splicing(operands), Mlx.Options.stream(options, unquote(name)))
      end
    end
  end
end
