defmodule Mlx.Operators do
  @moduledoc """
  Operators for arrays.

      iex> use Mlx.Operators
      iex> x = Mlx.array([1.0, -2.0, 3.0])
      iex> Mlx.to_list(2 * x + 1)
      [3.0, -3.0, 7.0]
      iex> Mlx.to_list(max(x, 0))
      [1.0, 0.0, 3.0]
      iex> Mlx.to_number((x <~> x) / 2)
      7.0

  `use Mlx.Operators`, in a module or a function, puts them in the place of those of `Kernel` and `Bitwise`. Where no
  operand is an array, and in guards and patterns, they are those of `Kernel` and `Bitwise`, so that the code around means
  what it did. `import Bitwise` has to go: Elixir refuses an operator that two modules give.

  Three things are not as in Python:

    * A comparison of arrays is an array, and an array is always true to `if`, `and` and `&&`. Whether all elements are
      true is `Mlx.to_number(Mlx.all(x > 0))`; where some are, `Mlx.select/3` chooses element by element.

          iex> use Mlx.Operators
          iex> x = Mlx.array([1.0, -2.0])
          iex> if Mlx.to_number(Mlx.all(x > 0)), do: :positive, else: :mixed
          :mixed
          iex> Mlx.select(x > 0, x, 0.1 * x) |> Mlx.to_list() |> Enum.map(&Float.round(&1, 2))
          [1.0, -0.2]

    * `<~>` binds less than `+` and `*`, where Python's `@` binds as `*` does. Elixir has no operator left that binds so.
      A sum, difference, product or quotient beside it therefore does not compile, in parentheses or not, which Elixir
      cannot tell apart: write `(x <~> w) + b`, and give a sum that is meant a name, or to `Mlx.matmul/2`.

    * `&&&` and `|||` bind less than comparisons: `x > 0 &&& x < 1` needs no parentheses.

  | operator | for arrays |
  | --- | --- |
  | `-a` | `Mlx.negate/1` |
  | `a + b` `a - b` `a * b` `a / b` `a ** b` | `Mlx.add/2`, `Mlx.subtract/2`, `Mlx.multiply/2`, `Mlx.divide/2`, `Mlx.pow/2` |
  | `max(a, b)` `min(a, b)` | `Mlx.max/2`, `Mlx.min/2` |
  | `a == b` `a != b` | `Mlx.equal/2`, `Mlx.not_equal/2` |
  | `a < b` `a <= b` `a > b` `a >= b` | `Mlx.less/2`, `Mlx.less_equal/2`, `Mlx.greater/2`, `Mlx.greater_equal/2` |
  | `a &&& b` <code>a &#124;&#124;&#124; b</code> `~~~a` | `Mlx.bitwise_and/2`, `Mlx.bitwise_or/2`, `Mlx.bitwise_not/1`; logical for `:bool` |
  | `a <<< b` `a >>> b` | `Mlx.left_shift/2`, `Mlx.right_shift/2` |
  | `a <~> b` | `Mlx.matmul/2`, which is `@` in Python |

  `a === b` and `a !== b` stay those of `Kernel`: they compare references. An exclusive or is `Mlx.bitwise_xor/2`.
  """

  alias Mlx.Operators.Terms

  # operator, number of operands, function of Mlx, whose operator it is
  @operators [
    {:-, 1, :negate, Kernel},
    {:+, 2, :add, Kernel},
    {:-, 2, :subtract, Kernel},
    {:*, 2, :multiply, Kernel},
    {:/, 2, :divide, Kernel},
    {:**, 2, :pow, Kernel},
    {:max, 2, :max, Kernel},
    {:min, 2, :min, Kernel},
    {:==, 2, :equal, Kernel},
    {:!=, 2, :not_equal, Kernel},
    {:<, 2, :less, Kernel},
    {:<=, 2, :less_equal, Kernel},
    {:>, 2, :greater, Kernel},
    {:>=, 2, :greater_equal, Kernel},
    {:&&&, 2, :bitwise_and, Bitwise},
    {:|||, 2, :bitwise_or, Bitwise},
    {:"~~~", 1, :bitwise_not, Bitwise},
    {:<<<, 2, :left_shift, Bitwise},
    {:>>>, 2, :right_shift, Bitwise}
  ]

  @all for {operator, arity, _function, _owner} <- @operators, do: {operator, arity}
  @of_kernel for {operator, arity, _function, Kernel} <- @operators, do: {operator, arity}

  # What binds more than `<~>` and means something else in Python.
  @beside_matmul [:+, :-, :*, :/]

  @doc false
  def operators, do: @operators

  defmacro __using__(_options) do
    quote do
      import Kernel, except: unquote(@of_kernel)
      import Mlx.Operators, only: unquote([{:<~>, 2} | @all])
    end
  end

  @doc """
  `Mlx.matmul/2`.

      iex> import Mlx.Operators, only: [<~>: 2]
      iex> Mlx.to_number(Mlx.array([1.0, 2.0]) <~> Mlx.array([3.0, 4.0]))
      11.0

  A sum, difference, product or quotient beside it does not compile: `x <~> w + b` would be `x <~> (w + b)`.
  """
  @spec Macro.t() <~> Macro.t() :: Macro.t()
  defmacro a <~> b do
    check_operands!(a, b, __CALLER__)
    quote do: Mlx.matmul(unquote(a), unquote(b))
  end

  # On the left a product is the same in Python.
  defp check_operands!(a, b, caller) do
    with nil <- beside(a, [:+, :-]), nil <- beside(b, @beside_matmul) do
      :ok
    else
      operator ->
        raise CompileError,
          file: caller.file,
          line: caller.line,
          description:
            "#{operator} binds more than <~>, so #{Macro.to_string(quote(do: unquote(a) <~> unquote(b)))} is not what " <>
              "it is in Python; write (x <~> w) #{operator} y, or Mlx.matmul/2 if the operands are meant so"
    end
  end

  defp beside({operator, _, [_, _]}, operators), do: if(operator in operators, do: operator)
  defp beside(_operand, _operators), do: nil

  for {operator, arity, function, owner} <- @operators do
    operands = Macro.generate_arguments(arity, __MODULE__)

    @doc "`Mlx.#{function}/#{arity}` where an operand is an array, else that of `#{inspect(owner)}`."
    defmacro unquote(operator)(unquote_splicing(operands)) do
      dispatch(__CALLER__.context, unquote(owner), unquote(operator), unquote(function), unquote(operands))
    end
  end

  # Guards and patterns allow nothing but the operators of Kernel and Bitwise.
  defp dispatch(nil, _owner, _operator, function, operands) do
    quote do: unquote(Terms).unquote(function)(unquote_splicing(operands))
  end

  defp dispatch(_guard_or_match, owner, operator, _function, operands) do
    quote do: unquote(owner).unquote(operator)(unquote_splicing(operands))
  end
end
