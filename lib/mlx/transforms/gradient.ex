defmodule Mlx.Transforms.Gradient do
  @moduledoc false
  # Derivatives of functions.

  use Mlx.Ops.Topic, title: "Derivatives"

  import Mlx.NonFinite.Operations, only: [checked: 3]

  alias Mlx.{Array, Native, Tree}
  alias Mlx.Arguments.{Arity, Options}
  alias Mlx.Transforms.{Recording, Replacement}

  @doc """
  A function that gives the value of `fun` and its gradient.

  `fun` takes containers of arrays (see `Mlx.Tree`) and returns a scalar, or a container whose first array is a scalar:
  the gradient is that of this scalar. The returned function takes the same arguments and returns `{value, gradient}`,
  where the gradient has the form of the argument. It can itself be transformed.

  While `fun` runs, the arrays have their values and can be read.

  Options:

    * `:argnums` - the arguments to differentiate, an index or a list of them, default 0. For a list the gradients come
      as a tuple in its order. Numbers among these arguments are taken as `:f32` arrays.

  Raises `ArgumentError` when `fun` does not return a scalar first, or when there is nothing to differentiate.

      iex> loss = fn %{w: w, b: b}, x -> Mlx.mean(Mlx.square(Mlx.add(Mlx.multiply(w, x), b))) end
      iex> model = %{w: Mlx.array(2.0), b: Mlx.array(1.0)}
      iex> {value, gradient} = Mlx.value_and_grad(loss).(model, Mlx.array([1.0, 3.0]))
      iex> {Mlx.to_number(value), Mlx.to_number(gradient.w), Mlx.to_number(gradient.b)}
      {29.0, 24.0, 10.0}

  Python: `mlx.core.value_and_grad`.
  """
  @spec value_and_grad(function(), keyword()) :: function()
  def value_and_grad(fun, options \\ []) when is_function(fun) do
    transformed(:value_and_grad, fun, options, & &1)
  end

  @doc """
  A function that gives the gradient of `fun`. Otherwise as `value_and_grad/2`.

      iex> cube = fn x -> Mlx.pow(x, 3) end
      iex> Mlx.grad(cube).(Mlx.array(2.0)) |> Mlx.to_number()
      12.0
      iex> Mlx.grad(Mlx.grad(cube)).(Mlx.array(2.0)) |> Mlx.to_number()
      12.0
      iex> {dx, dy} = Mlx.grad(&Mlx.multiply/2, argnums: [0, 1]).(Mlx.array(3.0), Mlx.array(4.0))
      iex> {Mlx.to_number(dx), Mlx.to_number(dy)}
      {4.0, 3.0}

  Python: `mlx.core.grad`.
  """
  @spec grad(function(), keyword()) :: function()
  def grad(fun, options \\ []) when is_function(fun) do
    transformed(:grad, fun, options, fn {_value, gradient} -> gradient end)
  end

  defp transformed(function, fun, options, result) do
    name = "Mlx.#{function}"
    arity = Arity.of(fun)
    [argnums] = Options.without_stream(options, function, argnums: 0)
    differentiated = argnums |> List.wrap() |> Enum.map(&argument_number!(&1, arity, name))

    if Enum.uniq(differentiated) != differentiated or differentiated == [] do
      raise ArgumentError, "#{name}: expected distinct :argnums, got: #{inspect(argnums)}"
    end

    Arity.function(arity, fn arguments ->
      checked name, [fun | arguments] do
        {value, gradients} = differentiate(name, fun, arguments, differentiated)
        result.({value, if(is_list(argnums), do: List.to_tuple(gradients), else: hd(gradients))})
      end
    end)
  end

  defp argument_number!(number, arity, _name) when is_integer(number) and number >= -arity and number < arity do
    Integer.mod(number, arity)
  end

  defp argument_number!(number, arity, name) do
    raise ArgumentError, "#{name}: the function takes #{arity} arguments and has no argument #{inspect(number)}"
  end

  defp differentiate(name, fun, arguments, differentiated) do
    arguments = Enum.reduce(differentiated, arguments, &List.update_at(&2, &1, fn value -> with_arrays(value) end))
    recorded = Recording.with_values(name, arguments, Replacement.carried(fun))
    check_scalar!(name, elem(recorded.result, 0))
    {numbers, ranges} = array_numbers(name, arguments, differentiated)
    instruction = Native.program_value_and_grad(recorded.program, numbers)
    results = Recording.run(instruction, Tree.arrays(arguments) ++ recorded.captured)
    {values, gradients} = Enum.split(results, length(results) - length(numbers))
    by_number = numbers |> Enum.zip(gradients) |> Map.new()

    gradients =
      for {argument, range} <- Enum.zip(differentiated, ranges) do
        arguments |> Enum.at(argument) |> Tree.with_arrays(Enum.map(range, &Map.fetch!(by_number, &1)))
      end

    {recorded.result |> Tree.with_arrays(values) |> Replacement.received(arguments), gradients}
  end

  defp with_arrays(number) when is_number(number), do: Native.scalar(number, :f32)
  defp with_arrays(container), do: container

  # The numbers of the arrays to differentiate among all arrays of the arguments, ascending, and those of each argument.
  defp array_numbers(name, arguments, differentiated) do
    counts = Enum.map(arguments, &length(Tree.arrays(&1)))
    starts = Enum.scan([0 | counts], &+/2)

    ranges =
      for argument <- differentiated do
        first = Enum.at(starts, argument)
        Enum.to_list(first..(first + Enum.at(counts, argument) - 1)//1)
      end

    case ranges |> Enum.concat() |> Enum.sort() do
      [] -> raise ArgumentError, "#{name}: the arguments to differentiate hold no arrays"
      numbers -> {numbers, ranges}
    end
  end

  defp check_scalar!(name, result) do
    case Tree.arrays(result) do
      [%Array{shape: {}} | _] ->
        :ok

      [%Array{shape: shape} | _] ->
        raise ArgumentError,
              "#{name}: expected a function that returns a scalar first, got an array of shape #{inspect(shape)}"

      [] ->
        raise ArgumentError, "#{name}: expected a function that returns a scalar first, got: #{inspect(result)}"
    end
  end

  @doc """
  The value of a function and its vector-Jacobian products: `{fun.(primals...), products}`.

  `primals` is the list of arguments and `cotangents` a container as `fun` returns it, with arrays of the same shapes.
  The products are a list with a container for each primal.

      iex> {y, [dx]} = Mlx.vjp(&Mlx.square/1, [Mlx.array([1.0, 2.0])], Mlx.array([1.0, 10.0]))
      iex> {Mlx.to_list(y), Mlx.to_list(dx)}
      {[1.0, 4.0], [2.0, 40.0]}

  Raises `ArgumentError` when the cotangents do not fit the value. Python: `mlx.core.vjp`.
  """
  @spec vjp(function(), [term()], term()) :: {term(), [term()]}
  def vjp(fun, primals, cotangents) when is_function(fun) and length(primals) >= 0 do
    Arity.check!(fun, length(primals), "Mlx.vjp")
    recorded = Recording.with_values("Mlx.vjp", primals, &apply(fun, &1))
    check_same_shapes!("Mlx.vjp", "cotangents", recorded.result, cotangents)
    inputs = Tree.arrays(primals)
    instruction = Native.program_vjp(recorded.program, length(inputs))
    results = Recording.run(instruction, inputs ++ recorded.captured ++ Tree.arrays(cotangents))
    {values, products} = Enum.split(results, length(results) - length(inputs))
    {Tree.with_arrays(recorded.result, values), Tree.with_arrays(primals, products)}
  end

  @doc """
  The value of a function and its Jacobian-vector product: `{fun.(primals...), product}`.

  `primals` and `tangents` are lists with a container for each argument; the product has the form of the value.

      iex> {y, dy} = Mlx.jvp(&Mlx.sin/1, [Mlx.array(0.0)], [Mlx.array(2.0)])
      iex> {Mlx.to_number(y), Mlx.to_number(dy)}
      {0.0, 2.0}

  Raises `ArgumentError` when the tangents do not fit the primals. Python: `mlx.core.jvp`.
  """
  @spec jvp(function(), [term()], [term()]) :: {term(), term()}
  def jvp(fun, primals, tangents) when is_function(fun) and length(primals) >= 0 do
    Arity.check!(fun, length(primals), "Mlx.jvp")
    check_same_shapes!("Mlx.jvp", "tangents", primals, tangents)
    recorded = Recording.with_values("Mlx.jvp", primals, &apply(fun, &1))
    inputs = Tree.arrays(primals)
    instruction = Native.program_jvp(recorded.program, length(inputs))
    results = Recording.run(instruction, inputs ++ recorded.captured ++ Tree.arrays(tangents))
    {values, products} = Enum.split(results, div(length(results), 2))
    {Tree.with_arrays(recorded.result, values), Tree.with_arrays(recorded.result, products)}
  end

  defp check_same_shapes!(name, what, expected, given) do
    expected = for %Array{shape: shape} <- Tree.arrays(expected), do: shape
    given = for %Array{shape: shape} <- Tree.arrays(given), do: shape

    if expected != given do
      raise ArgumentError,
            "#{name}: expected #{what} of the shapes #{inspect(expected)}, got: #{inspect(given)}"
    end
  end

  @doc """
  A function that gives the Jacobian of `fun`, which takes an array and returns one.

  The Jacobian has the shape of the value followed by the shape of the argument: element `[i..., j...]` is the derivative
  of the value's element `i` with respect to the argument's element `j`.

      iex> Mlx.jacobian(&Mlx.square/1).(Mlx.array([1.0, 2.0])) |> Mlx.to_list()
      [[2.0, 0.0], [0.0, 4.0]]
  """
  @spec jacobian((Array.t() -> Array.t())) :: (Array.t() -> Array.t())
  def jacobian(fun) when is_function(fun, 1) do
    fn %Array{} = x ->
      %Array{shape: shape, type: type} = fun.(x)
      size = Tuple.product(shape)
      cotangents = Mlx.reshape(Mlx.eye(size, type: type), Tuple.insert_at(shape, 0, size))
      pull_back = fn cotangent -> fun |> Mlx.vjp([x], cotangent) |> elem(1) |> hd() end
      rows = Mlx.vmap(pull_back).(cotangents)
      Mlx.reshape(rows, List.to_tuple(Tuple.to_list(shape) ++ Tuple.to_list(x.shape)))
    end
  end

  @doc """
  A function that gives the Hessian of `fun`, which takes an array and returns a scalar.

  The Hessian has the shape of the argument twice.

      iex> Mlx.hessian(fn x -> Mlx.sum(Mlx.pow(x, 3)) end).(Mlx.array([1.0, 2.0])) |> Mlx.to_list()
      [[6.0, 0.0], [0.0, 12.0]]
  """
  @spec hessian((Array.t() -> Array.t())) :: (Array.t() -> Array.t())
  def hessian(fun) when is_function(fun, 1), do: jacobian(grad(fun))
end
