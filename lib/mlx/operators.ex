defmodule Mlx.Operators do
  @moduledoc """
  Operators for arrays.

      iex> use Mlx.Operators
      iex> x = Mlx.array([1.0, 2.0, 3.0])
      iex> Mlx.to_list(2 * x + 1)
      [3.0, 5.0, 7.0]
      iex> Mlx.to_list(x > 1.5)
      [false, true, true]
      iex> Mlx.to_number((x <~> x) / 2)
      7.0

  `use Mlx.Operators`, in a module or a function, puts them in the place of those of `Kernel`. Where no operand is an
  array, and in guards and patterns, they are those of `Kernel`, so that the code around means what it did.

  | operator | for arrays |
  | --- | --- |
  | `-a` | `Mlx.negate/1` |
  | `a + b` `a - b` `a * b` `a / b` `a ** b` | `Mlx.add/2`, `Mlx.subtract/2`, `Mlx.multiply/2`, `Mlx.divide/2`, `Mlx.pow/2` |
  | `a == b` `a != b` | `Mlx.equal/2`, `Mlx.not_equal/2` |
  | `a < b` `a <= b` `a > b` `a >= b` | `Mlx.less/2`, `Mlx.less_equal/2`, `Mlx.greater/2`, `Mlx.greater_equal/2` |
  | `a <~> b` | `Mlx.matmul/2`, which is `@` in Python; it binds less than `+`, so it needs parentheses: `(x <~> w) + b` |

  A comparison of arrays is an array, which is always true to `if`: see `Mlx.array_equal/2` and `Mlx.all/1`.
  """

  alias Mlx.Array

  @operators [
    {:-, 1, :negate},
    {:+, 2, :add},
    {:-, 2, :subtract},
    {:*, 2, :multiply},
    {:/, 2, :divide},
    {:**, 2, :pow},
    {:==, 2, :equal},
    {:!=, 2, :not_equal},
    {:<, 2, :less},
    {:<=, 2, :less_equal},
    {:>, 2, :greater},
    {:>=, 2, :greater_equal}
  ]

  @kernel for {operator, arity, _function} <- @operators, do: {operator, arity}

  defmacro __using__(_options) do
    quote do
      import Kernel, except: unquote(@kernel)
      import Mlx.Operators, only: unquote([{:<~>, 2} | @kernel])
    end
  end

  @doc """
  `Mlx.matmul/2`.

      iex> import Mlx.Operators, only: [<~>: 2]
      iex> Mlx.to_number(Mlx.array([1.0, 2.0]) <~> Mlx.array([3.0, 4.0]))
      11.0
  """
  @spec Array.t() <~> Array.t() :: Array.t()
  def a <~> b, do: Mlx.matmul(a, b)

  for {operator, arity, function} <- @operators do
    operands = Macro.generate_arguments(arity, __MODULE__)

    @doc "`Mlx.#{function}/#{arity}` where an operand is an array, else that of `Kernel`."
    defmacro unquote(operator)(unquote_splicing(operands)) do
      dispatch(__CALLER__.context, unquote(operator), unquote(function), unquote(operands))
    end

    @doc false
    def unquote(function)(unquote_splicing(operands)) do
      if Enum.any?(unquote(operands), &is_struct(&1, Array)) do
        Mlx.unquote(function)(unquote_splicing(operands))
      else
        Kernel.unquote(operator)(unquote_splicing(operands))
      end
    end
  end

  # Guards and patterns allow nothing but the operators of Kernel.
  defp dispatch(nil, _operator, function, operands) do
    quote do: Mlx.Operators.unquote(function)(unquote_splicing(operands))
  end

  defp dispatch(_guard_or_match, operator, _function, operands) do
    quote do: Kernel.unquote(operator)(unquote_splicing(operands))
  end
end
