defmodule Mlx.Random do
  @moduledoc """
  Random numbers.

  Numbers come from keys: the same key gives the same numbers, whatever the device. Give one with the option `:key`, and
  make new ones from it with `split/2`:

      iex> key = Mlx.Random.key(0)
      iex> a = Mlx.Random.uniform({2}, key: key)
      iex> b = Mlx.Random.uniform({2}, key: key)
      iex> Mlx.to_list(a) == Mlx.to_list(b)
      true

  Without a key, every process has a sequence of its own, which starts at a random place, or where `seed/1` says. For the
  same seed it is the sequence of Python MLX.

      iex> Mlx.Random.seed(7)
      :ok
      iex> first = Mlx.Random.uniform({2}) |> Mlx.to_list()
      iex> Mlx.Random.seed(7)
      iex> first == Mlx.Random.uniform({2}) |> Mlx.to_list()
      true

  All functions take the options `:key` and `:stream`. Types are those of floating-point numbers where nothing else is
  said.

  Python: `mlx.core.random`.
  """

  use Mlx.NonFinite.Definitions

  alias Mlx.Random.Integers

  alias Mlx.{Array, Linalg, Native, Type}
  alias Mlx.Arguments.{Arity, CalledFunction, Given, Operand, Options, Sizes}
  alias Mlx.Ops.Shape

  @state {__MODULE__, :key}

  @doc """
  A key, made from an integer from 0 to `2 ** 64 - 1`.

      iex> Mlx.Random.key(42) |> Mlx.to_list()
      [0, 42]

  Python: `mlx.core.random.key`.
  """
  @spec key(non_neg_integer()) :: Array.t()
  def key(seed), do: Native.random_key(seed)

  @doc """
  New keys from a key: an array `{parts, 2}`. The old one should not be used again.

  Options:

    * `:parts` - how many, default 2

  Examples:

      iex> [a, b] = Mlx.unstack(Mlx.Random.split(Mlx.Random.key(0)))
      iex> {a.shape, a.type, Mlx.to_list(a) == Mlx.to_list(b)}
      {{2}, :u32, false}

  Python: `mlx.core.random.split`.
  """
  @spec split(Array.t(), keyword()) :: Array.t()
  def split(key, options \\ []) do
    [parts, stream] = Options.values(options, :"Random.split", parts: 2)
    Native.random_split_num(key, parts, stream)
  end

  @doc """
  Starts the sequence of the calling process anew, or takes it up at a state that `state/0` gave.

      iex> Mlx.Random.seed(0)
      :ok

  Python: `mlx.core.random.seed`.
  """
  @spec seed(non_neg_integer() | Array.t()) :: :ok
  def seed(%Array{} = state) do
    Process.put(@state, check_state!(state, "seed"))
    :ok
  end

  def seed(seed), do: "Mlx.Random.seed" |> CalledFunction.name(["Mlx.Random.key"], fn -> key(seed) end) |> seed()

  @doc """
  Where the sequence of the calling process is: a key.

      iex> state = Mlx.Random.state()
      iex> first = Mlx.Random.uniform({2}) |> Mlx.to_list()
      iex> Mlx.Random.seed(state)
      iex> first == Mlx.Random.uniform({2}) |> Mlx.to_list()
      true

  Python: `random.state`, which is no function.
  """
  @spec state() :: Array.t()
  def state do
    with nil <- Process.get(@state) do
      Process.put(@state, key(random_seed()))
      state()
    end
  end

  @doc """
  Runs a function with the sequence of the calling process at a state, and returns its result and the state after it. The
  process's own sequence goes on later as if nothing had happened.

  So a compiled function can use random numbers without keys, and give others at each call:

      iex> noisy = Mlx.compile(fn state, x -> Mlx.Random.with_state(state, fn -> Mlx.add(x, Mlx.Random.normal({2})) end) end)
      iex> x = Mlx.zeros({2})
      iex> {first, state} = noisy.(Mlx.Random.state(), x)
      iex> {second, state} = noisy.(state, x)
      iex> Mlx.Random.seed(state)
      iex> Mlx.to_list(first) == Mlx.to_list(second)
      false

  Python: none; `random.state` as the `inputs` and `outputs` of `compile`.
  """
  @spec with_state(Array.t(), (-> result)) :: {result, Array.t()} when result: term()
  def with_state(state, fun) do
    Arity.check!(fun, 0, "Mlx.Random.with_state")
    former = Process.put(@state, state |> Operand.array!(:"Random.with_state") |> check_state!("with_state"))

    try do
      {fun.(), state()}
    after
      if former, do: Process.put(@state, former), else: Process.delete(@state)
    end
  end

  defp check_state!(%Array{shape: {2}, type: :u32} = state, _function), do: state

  defp check_state!(%Array{shape: shape, type: type}, function) do
    raise ArgumentError,
          "Mlx.Random.#{function}: expected a key, of the shape {2} and type :u32, got: #{inspect(shape)}, #{inspect(type)}"
  end

  @doc """
  Random bits, as unsigned integers.

  Options:

    * `:width` - of the integers in bytes: 4 (default), 2 or 1

  Examples:

      iex> Mlx.Random.bits({2, 3}, width: 1).type
      :u8

  Python: none; `mlx::core::random::bits` in C++.
  """
  @spec bits(Array.sizes(), keyword()) :: Array.t()
  def bits(shape, options \\ []) do
    [width, key, stream] = values(options, :bits, width: 4)
    Native.random_bits(sizes!(shape, :bits), width, key, stream)
  end

  @doc """
  Uniform numbers from `low` (included) to `high` (not included).

  Options:

    * `:low`, `:high` - numbers, or arrays that broadcast to the shape; default 0 and 1
    * `:type` - default `:f32`

  Examples:

      iex> x = Mlx.Random.uniform({100}, low: 2, high: 3)
      iex> Mlx.to_number(Mlx.reduce_min(x)) >= 2 and Mlx.to_number(Mlx.reduce_max(x)) < 3
      true

  Python: `mlx.core.random.uniform`.
  """
  @spec uniform(Array.sizes(), keyword()) :: Array.t()
  def uniform(shape, options \\ []) do
    [low, high, type, key, stream] = values(options, :uniform, low: 0, high: 1, type: :f32)
    Native.random_uniform(low, high, sizes!(shape, :uniform), Type.normalize!(type, :"Random.uniform"), key, stream)
  end

  @doc """
  Normally distributed numbers.

  Options:

    * `:loc`, `:scale` - mean and standard deviation: numbers, or arrays that broadcast to the shape; default 0 and 1
    * `:type` - default `:f32`; `:c64` too

  Examples:

      iex> Mlx.Random.normal({2, 3}, loc: 5, scale: 0.1, type: :bf16).type
      :bf16

  Python: `mlx.core.random.normal`.
  """
  @spec normal(Array.sizes(), keyword()) :: Array.t()
  def normal(shape, options \\ []) do
    [loc, scale, type, key, stream] = values(options, :normal, loc: nil, scale: nil, type: :f32)
    type = Type.normalize!(type, :"Random.normal")
    [loc, scale] = for value <- [loc, scale], do: if(value, do: Operand.of_type(value, type, :"Random.normal"))
    Native.random_normal_broadcast(sizes!(shape, :normal), type, loc, scale, key, stream)
  end

  @doc """
  Numbers of a normal distribution with several dimensions.

  `mean` has the shape `{..., n}`, `covariance` the shape `{..., n, n}`; it has to be positive semi-definite, which is
  not checked. It is computed on the CPU unless a stream is given, since it needs singular values.

  Options:

    * `:shape` - must be compatible with the leading axes of both; by default those
    * `:type` - default `:f32`, the only one that MLX has; another raises `Mlx.Error`

  Examples:

      iex> Mlx.Random.multivariate_normal(Mlx.zeros({2}), Mlx.array([[1.0, 0.0], [0.0, 4.0]]), shape: {5}).shape
      {5, 2}

  Python: `mlx.core.random.multivariate_normal`.
  """
  @spec multivariate_normal(Array.t(), Array.t(), keyword()) :: Array.t()
  def multivariate_normal(mean, covariance, options \\ []) do
    [shape, type, key, _stream] = values(options, :multivariate_normal, shape: {}, type: :f32)
    shape = sizes!(shape, :multivariate_normal)

    Native.random_multivariate_normal(
      mean,
      covariance,
      shape,
      Type.normalize!(type, :"Random.multivariate_normal"),
      key,
      Linalg.stream(options)
    )
  end

  @doc """
  Integers from `low` (included) to `high` (not included), numbers or arrays.

  They are those of Python, which are computed in `:f32` from 24 random bits: of more than `2 ** 24` integers most never
  come, and bounds beyond that are rounded. With `exact: true` each of them is as likely as any other, to within
  `2 ** -64`; the integers are others than Python's for the same key.

  Options:

    * `:shape` - `low` and `high` broadcast to it, default `{}`
    * `:type` - default `:s32`
    * `:exact` - default false

  Raises an `ArgumentError` if `exact: true` gets bounds that are no integers, or numbers of which `low` is not less than
  `high` or that the type does not hold. Where bounds in arrays leave no integer, `low` comes.

  Examples:

      iex> x = Mlx.Random.randint(0, 10, shape: {100})
      iex> {x.type, Mlx.to_number(Mlx.reduce_max(x)) < 10}
      {:s32, true}
      iex> y = Mlx.Random.randint(0, 2 ** 64, shape: {100}, type: :u64, exact: true)
      iex> y |> Mlx.to_list() |> Enum.uniq() |> length()
      100

  Python: `mlx.core.random.randint`.
  """
  @spec randint(Array.operand(), Array.operand(), keyword()) :: Array.t()
  def randint(low, high, options \\ []) do
    [shape, type, exact, key, stream] = values(options, :randint, shape: {}, type: :s32, exact: false)
    {shape, type} = {sizes!(shape, :randint), Type.normalize!(type, :"Random.randint")}

    if exact do
      :ok = integers!(low, high, type)
      Integers.draw(low, high, shape, type, key, stream)
    else
      Native.random_randint(low, high, shape, type, key, stream)
    end
  end

  defp integers!(low, high, type) do
    cond do
      not Type.subtype?(type, :integer) ->
        raise ArgumentError, "Mlx.Random.randint: expected a type of integers, got: #{inspect(type)}"

      not (integer?(low) and integer?(high)) ->
        raise ArgumentError,
              "Mlx.Random.randint: expected integers or arrays of integers with exact: true, got: " <>
                "#{inspect(low)} and #{inspect(high)}"

      is_integer(low) and is_integer(high) and low >= high ->
        raise ArgumentError, "Mlx.Random.randint: there is no integer from #{low} up to less than #{high}"

      not (held?(low, type) and (not is_integer(high) or held?(high - 1, type))) ->
        raise ArgumentError,
              "Mlx.Random.randint: the type #{inspect(type)} does not hold all integers from #{inspect(low)} up to less than " <>
                inspect(high)

      true ->
        :ok
    end
  end

  defp integer?(%Array{type: type}), do: Type.subtype?(type, :integer)
  defp integer?(term), do: is_integer(term)

  defp held?(%Array{}, _type), do: true
  defp held?(integer, type), do: integer in Type.min(type)..Type.max(type)

  @doc """
  Booleans that are true with the probability `p`, a number or an array.

  Options:

    * `:shape` - `p` broadcasts to it; by default the shape of `p`

  Examples:

      iex> Mlx.Random.bernoulli(1.0, shape: {3}) |> Mlx.to_list()
      [true, true, true]

  Python: `mlx.core.random.bernoulli`.
  """
  @spec bernoulli(Array.operand(), keyword()) :: Array.t()
  def bernoulli(p, options \\ []) do
    [shape, key, stream] = values(options, :bernoulli, shape: nil)
    p = Operand.of_type(p, :f32, :"Random.bernoulli")
    Native.random_bernoulli(p, sizes!(shape || p.shape, :bernoulli), key, stream)
  end

  @doc """
  Normally distributed numbers (mean 0, deviation 1) that lie between `lower` and `upper`, numbers or arrays.

  Options:

    * `:shape` - the bounds broadcast to it; by default their common shape
    * `:type` - default `:f32`

  Examples:

      iex> x = Mlx.Random.truncated_normal(-1, 1, shape: {100})
      iex> Mlx.to_number(Mlx.reduce_max(Mlx.abs(x))) <= 1
      true

  Python: `mlx.core.random.truncated_normal`.
  """
  @spec truncated_normal(Array.operand(), Array.operand(), keyword()) :: Array.t()
  def truncated_normal(lower, upper, options \\ []) do
    [shape, type, key, stream] = values(options, :truncated_normal, shape: nil, type: :f32)
    shape = sizes!(shape || Shape.broadcast_shapes([shape(lower), shape(upper)]), :truncated_normal)
    Native.random_truncated_normal(lower, upper, shape, Type.normalize!(type, :"Random.truncated_normal"), key, stream)
  end

  @doc """
  Numbers of the standard Gumbel distribution.

  Options:

    * `:type` - default `:f32`

  Examples:

      iex> Mlx.Random.gumbel({2, 3}).shape
      {2, 3}

  Python: `mlx.core.random.gumbel`.
  """
  @spec gumbel(Array.sizes(), keyword()) :: Array.t()
  def gumbel(shape, options \\ []) do
    [type, key, stream] = values(options, :gumbel, type: :f32)
    Native.random_gumbel(sizes!(shape, :gumbel), Type.normalize!(type, :"Random.gumbel"), key, stream)
  end

  @doc """
  Numbers of a Laplace distribution.

  Options:

    * `:loc`, `:scale` - mean and scale, numbers; default 0 and 1
    * `:type` - default `:f32`

  Examples:

      iex> Mlx.Random.laplace({2}, scale: 2).shape
      {2}

  Python: `mlx.core.random.laplace`.
  """
  @spec laplace(Array.sizes(), keyword()) :: Array.t()
  def laplace(shape, options \\ []) do
    [loc, scale, type, key, stream] = values(options, :laplace, loc: 0, scale: 1, type: :f32)
    Native.random_laplace(sizes!(shape, :laplace), Type.normalize!(type, :"Random.laplace"), loc, scale, key, stream)
  end

  @doc """
  Indices drawn with the probabilities `softmax(logits)`, in `:u32`.

  Options:

    * `:axis` - the axis of the logits that is drawn from, default -1; the result does not have it
    * `:num_samples` - how many to draw for each distribution, as a new last axis
    * `:shape` - the shape of the result, in place of `:num_samples`: the other axes of the logits broadcast to it

  Examples:

      iex> logits = Mlx.array([[0.0, :neg_infinity], [:neg_infinity, 0.0]])
      iex> Mlx.Random.categorical(logits) |> Mlx.to_list()
      [0, 1]
      iex> Mlx.Random.categorical(logits, num_samples: 3) |> Mlx.to_list()
      [[0, 0, 0], [1, 1, 1]]

  Python: `mlx.core.random.categorical`.
  """
  @spec categorical(Array.t(), keyword()) :: Array.t()
  def categorical(logits, options \\ []) do
    case values(options, :categorical, axis: -1, shape: nil, num_samples: nil) do
      [axis, nil, nil, key, stream] ->
        Native.random_categorical(logits, axis, key, stream)

      [axis, nil, count, key, stream] ->
        Native.random_categorical_num_samples(logits, axis, count, key, stream)

      [axis, shape, nil, key, stream] ->
        Native.random_categorical_shape(logits, axis, sizes!(shape, :categorical), key, stream)

      _ ->
        raise ArgumentError, "Mlx.Random.categorical: give :shape or :num_samples, not both"
    end
  end

  @doc """
  The elements of an array in random order along an axis, or, for an integer `n`, of `0..n-1`.

  Options:

    * `:axis` - default 0

  Examples:

      iex> Mlx.Random.permutation(5) |> Mlx.to_list() |> Enum.sort()
      [0, 1, 2, 3, 4]

      iex> Mlx.Random.permutation(Mlx.array([[1, 2], [3, 4]])) |> Mlx.to_list() |> Enum.sort()
      [[1, 2], [3, 4]]

  Python: `mlx.core.random.permutation`.
  """
  @spec permutation(Array.t() | non_neg_integer(), keyword()) :: Array.t()
  def permutation(array, options \\ []) do
    [axis, key, stream] = values(options, :permutation, axis: 0)

    # MLX divides by the size of what it sorts.
    cond do
      array == 0 -> Native.from_binary("", {0}, :u32)
      is_integer(array) -> Native.random_permutation_arange(array, key, stream)
      not is_struct(array, Array) -> not_permutable!(array)
      array.shape == {} -> raise ArgumentError, "Mlx.Random.permutation: a 0-d array has no axis to permute along"
      Tuple.product(array.shape) == 0 -> array
      true -> Native.random_permutation(array, axis, key, stream)
    end
  end

  defp not_permutable!(other) do
    raise ArgumentError,
          "Mlx.Random.permutation: expected an Mlx.Array or an integer, got: #{Given.text(other)}#{Given.hint(other)}"
  end

  # The options of a function, its key, and its stream.
  defp values(options, function, defaults) do
    {own, [key, stream]} = Enum.split(Options.values(options, :"Random.#{function}", defaults ++ [key: nil]), -2)
    own ++ [key || next_key(), stream]
  end

  defp sizes!(shape, function), do: Sizes.shape!(shape, :"Random.#{function}")

  defp next_key do
    {state, key} = Native.random_split(state(), nil)
    Process.put(@state, state)
    key
  end

  # Differs between processes that start at the same time, and leaves the process's own `:rand` sequence alone.
  defp random_seed do
    {number, _state} = :rand.uniform_s(2 ** 64, :rand.seed_s(:exsss))
    number - 1
  end

  defp shape(%Array{shape: shape}), do: shape
  defp shape(_number), do: {}
end
