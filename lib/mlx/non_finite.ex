defmodule Mlx.NonFinite do
  @moduledoc """
  Finds the operation that made the first NaN or infinity.

      iex> Mlx.NonFinite.with_check(fn ->
      ...>   x = Mlx.array([1.0, 0.0])
      ...>   x |> Mlx.divide(x) |> Mlx.sum() |> Mlx.exp()
      ...> end)
      ** (Mlx.NonFiniteError) Mlx.divide: element [1] of the result of type :f32 and shape {2} is :nan, and no operand has a NaN

  While it is switched on, each operation is computed at once, its result is looked through, and a `Mlx.NonFiniteError` is
  raised where the result has a NaN or an infinity that none of the operands has. The stack trace shows the line of the call.
  What comes from such an element later is not told of. It takes far more time than without, and is for finding mistakes.

  An infinity is often meant, as in the mask of an attention: `[:nan]` in place of both kinds looks for NaN only.

  ## What is checked

    * the operations of `Mlx`, `Mlx.Operators`, `Mlx.Linalg`, `Mlx.FFT`, `Mlx.Fast` and `Mlx.Random`. A function that is made of
      others is checked as a whole: it may use an infinity on the way
    * the operations of Nx on tensors of `Mlx.Backend`, which have the names of Nx: `"Nx.log"`

  Numbers that you bring in are yours: arrays made of terms or bytes, such as by `Mlx.array/2` and `Mlx.full/3`, and of files
  are not checked, and `:infinity` among the arguments counts as an operand. `check/2` looks through any array.

  ## Inside of transforms

  | | |
  | --- | --- |
  | `Mlx.grad/2`, `Mlx.value_and_grad/2`, `Mlx.vjp/3`, `Mlx.jvp/3`, `Mlx.checkpoint/1`, `Mlx.custom_function/2` | arrays have values: the operations of the function are checked, and then the derivative, which has the name of the transform |
  | `Mlx.compile/2`, `compiler: Mlx` of Nx | functions are computed operation by operation, as after `Mlx.disable_compile/0`, so that these are checked |
  | `Mlx.vmap/2`, the derivatives of `Mlx.custom_function/2`, `Mlx.export_function/4` | arrays have no values there: operations are not checked, and what the mapped function returns has the name `"Mlx.vmap"` |

  Without a switch, each operation asks for it once, which takes some nanoseconds.

  Python: none in MLX; JAX has `jax_debug_nans` and `jax_debug_infs`, PyTorch has `detect_anomaly`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.NonFinite.{Operations, Search}
  alias Mlx.{NonFiniteError, Tree}

  @kinds [:nan, :infinity]

  @type kind :: :nan | :infinity

  @doc """
  Has the operations of all processes checked, until `disable/0`.

  `kinds` is what is looked for, by default both of `[:nan, :infinity]`.

      iex> Mlx.NonFinite.enable([:nan])
      iex> Mlx.divide(1.0, 0.0) |> Mlx.to_number()
      :infinity
      iex> Mlx.subtract(Mlx.divide(1.0, 0.0), Mlx.divide(2.0, 0.0))
      ** (Mlx.NonFiniteError) Mlx.subtract: element [] of the result of type :f32 and shape {} is :nan, and no operand has a NaN

  Raises an `ArgumentError` for other kinds.
  """
  @spec enable([kind()]) :: :ok
  def enable(kinds \\ @kinds), do: kinds |> kinds!("enable") |> Operations.watch()

  @doc """
  Ends what `enable/1` began. Functions inside of `with_check/2` are still checked.

      iex> Mlx.NonFinite.disable()
      iex> Mlx.log(0.0) |> Mlx.to_number()
      :neg_infinity
  """
  @spec disable() :: :ok
  def disable, do: Operations.watch([])

  @doc """
  Calls a function whose operations are checked for `kinds`, by default both of `[:nan, :infinity]`.

  It holds for the calling process, whatever `enable/1` said, and ends with the function, however it ends. Calls can be
  nested: an empty list has nothing checked in the inner function.

      iex> Mlx.NonFinite.with_check(fn -> Mlx.sqrt(-1.0) end)
      ** (Mlx.NonFiniteError) Mlx.sqrt: element [] of the result of type :f32 and shape {} is :nan, and no operand has a NaN

      iex> Mlx.NonFinite.with_check(fn -> Mlx.NonFinite.with_check([], fn -> Mlx.sqrt(-1.0) end) end) |> Mlx.to_number()
      :nan

  Raises an `ArgumentError` for other kinds.
  """
  @spec with_check([kind()], (-> result)) :: result when result: term()
  def with_check(kinds \\ @kinds, fun)

  def with_check(kinds, fun) when is_function(fun, 0) do
    kinds |> kinds!("with_check") |> Operations.watch_within(fun)
  end

  @doc """
  Looks through the arrays of a container (see `Mlx.Tree`), and returns it. The arrays are evaluated.

      iex> Mlx.NonFinite.check(%{weights: Mlx.ones({2})}) |> Map.keys()
      [:weights]
      iex> Mlx.NonFinite.check([Mlx.array([1.0, :nan])])
      ** (Mlx.NonFiniteError) Mlx.NonFinite.check: element [1] of an array of type :f32 and shape {2} is :nan

  Raises an `ArgumentError` for other kinds than `:nan` and `:infinity`.
  """
  @spec check(container, [kind()]) :: container when container: term()
  def check(container, kinds \\ @kinds) do
    kinds = kinds!(kinds, "check")

    for array <- Tree.arrays(container), found = Search.first(array, kinds) do
      raise struct!(NonFiniteError, [function: "Mlx.NonFinite.check", made: false] ++ found)
    end

    container
  end

  defp kinds!(kinds, function) do
    if is_list(kinds) and Enum.all?(kinds, &(&1 in @kinds)) do
      kinds
    else
      raise ArgumentError, "Mlx.NonFinite.#{function}: expected a list of :nan and :infinity, got: #{inspect(kinds)}"
    end
  end
end
