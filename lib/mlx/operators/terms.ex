defmodule Mlx.Operators.Terms do
  @moduledoc false
  # What the operators of `Mlx.Operators` do once it is known what the operands are.

  for {operator, arity, function, owner} <- Mlx.Operators.operators() do
    operands = Macro.generate_arguments(arity, __MODULE__)

    def unquote(function)(unquote_splicing(operands)) do
      if Enum.any?(unquote(operands), &is_struct(&1, Mlx.Array)) do
        Mlx.unquote(function)(unquote_splicing(operands))
      else
        unquote(owner).unquote(operator)(unquote_splicing(operands))
      end
    end
  end
end
