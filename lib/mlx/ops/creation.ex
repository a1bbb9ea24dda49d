defmodule Mlx.Ops.Creation do
  @moduledoc false

  use Mlx.Ops.Topic, title: "Creating arrays"

  alias Mlx.{Array, Native, Stream, Type}
  alias Mlx.Arguments.{CalledFunction, Options, Sizes}
  alias Mlx.Values.{Garbage, TermConversion}

  @s32 -0x80000000..0x7FFFFFFF

  defguardp is_bound(term) when is_number(term) or term in [:nan, :infinity, :neg_infinity]

  @doc """
  An array of a number, a boolean, or nested lists of them.

      iex> Mlx.array([[1, 2, 3], [4, 5, 6]])
      #Mlx.Array<
        s32[2][3]
        [
          [1, 2, 3],
          [4, 5, 6]
        ]
      >
      iex> Mlx.array(1.5)
      #Mlx.Array<
        f32
        1.5
      >

  `:nan`, `:infinity` and `:neg_infinity` are floating-point numbers, `{real, imaginary}` is a complex one:

      iex> Mlx.array([1.0, :infinity, :nan])
      #Mlx.Array<
        f32[3]
        [1.0, Inf, NaN]
      >
      iex> Mlx.array([{1.0, 2.0}, 3])
      #Mlx.Array<
        c64[2]
        [1.0+2.0i, 3.0+0.0i]
      >

  A range is the list of its integers. An array is returned as it is, or in the type that is asked for.

  The type is the first of `:bool`, `:s32`, `:s64`, `:u64`, `:f32` and `:c64` that holds all elements (an empty list is
  `:f32`), unless it is given:

      iex> Mlx.array([1, 2], type: :bf16).type
      :bf16

  Options: `:type`, and `:stream` for the conversion to that type.

  Raises an `ArgumentError` when the lists have no common shape, and says where; also when an element is no number.

  Python: `mlx.core.array`, `mlx.core.asarray`.
  """
  @spec array(term(), keyword()) :: Array.t()
  def array(term, options \\ [])

  def array(%Array{} = array, []), do: array
  def array(%Range{} = range, options), do: range |> Enum.to_list() |> array(options)

  def array(term, options) do
    [type, stream] = Options.values(options, :array, type: nil)
    type = type && Type.normalize!(type, :array)
    term |> stored(type) |> convert(type, stream)
  end

  defp stored(%Array{} = array, _type), do: array

  defp stored(term, type) do
    {bytes, sizes, type} = TermConversion.encode(term, type)
    upload(bytes, List.to_tuple(sizes), type)
  end

  defp convert(array, nil, _stream), do: array
  defp convert(%Array{type: type} = array, type, _stream), do: array
  defp convert(array, type, stream), do: Native.astype(array, type, Stream.for_type(stream, array.type))

  @doc """
  An array of a shape and a type from the bytes of its elements, row after row and in the byte order of the machine.

  The bytes are copied. `to_binary/1` is the inverse.

      iex> Mlx.from_binary(<<1, 2, 3, 4>>, {2, 2}, :u8)
      #Mlx.Array<
        u8[2][2]
        [
          [1, 2],
          [3, 4]
        ]
      >

  Raises an `ArgumentError` when the number of bytes is not that of the shape and type.

  Python: `mlx.core.array` of a buffer.
  """
  @spec from_binary(binary(), Array.sizes(), Type.t() | Type.nx()) :: Array.t()
  def from_binary(bytes, shape, type) when is_binary(bytes) do
    shape = Sizes.shape!(shape, :from_binary)
    type = Type.normalize!(type, :from_binary)
    expected = Tuple.product(shape) * Type.bytes(type)

    if byte_size(bytes) != expected do
      raise ArgumentError,
            "Mlx.from_binary: expected #{expected} bytes for #{inspect(type)} of shape #{inspect(shape)}, " <>
              "got #{byte_size(bytes)}"
    end

    upload(bytes, shape, type)
  end

  defp upload(bytes, shape, type) do
    Garbage.watch_upload(byte_size(bytes), fn -> Native.from_binary(bytes, shape, type) end)
  end

  @doc """
  An array of zeros.

      iex> Mlx.zeros({2, 2}, type: :s32)
      #Mlx.Array<
        s32[2][2]
        [
          [0, 0],
          [0, 0]
        ]
      >

  A shape is a tuple or a list of sizes, or the size of the only axis, here and wherever one is taken.

      iex> {Mlx.zeros([2, 3]).shape, Mlx.zeros(3).shape}
      {{2, 3}, {3}}

  Options: `:type` (default `:f32`), `:stream`.

  Python: `mlx.core.zeros`, `mlx.core.empty`.
  """
  @spec zeros(Array.sizes(), keyword()) :: Array.t()
  def zeros(shape, options \\ []) do
    [type, stream] = Options.values(options, :zeros, type: :f32)
    Native.zeros(Sizes.shape!(shape, :zeros), Type.normalize!(type, :zeros), stream)
  end

  @doc """
  An array of ones.

      iex> Mlx.ones({3})
      #Mlx.Array<
        f32[3]
        [1.0, 1.0, 1.0]
      >

  Options: `:type` (default `:f32`), `:stream`.

  Python: `mlx.core.ones`.
  """
  @spec ones(Array.sizes(), keyword()) :: Array.t()
  def ones(shape, options \\ []) do
    [type, stream] = Options.values(options, :ones, type: :f32)
    Native.ones(Sizes.shape!(shape, :ones), Type.normalize!(type, :ones), stream)
  end

  @doc """
  An array whose elements are all `value`, a number or an array that is broadcast to the shape.

      iex> Mlx.full({2, 2}, 7)
      #Mlx.Array<
        s32[2][2]
        [
          [7, 7],
          [7, 7]
        ]
      >

  Options: `:type` (default: that of `value`), `:stream`.

  Python: `mlx.core.full`.
  """
  @spec full(Array.sizes(), Array.operand(), keyword()) :: Array.t()
  def full(shape, value, options \\ []) do
    [type, stream] = Options.values(options, :full, type: nil)
    value = fill_value(value, type, "Mlx.full")
    Native.full(Sizes.shape!(shape, :full), value, Type.normalize!(type || value.type, :full), stream)
  end

  @doc """
  Zeros in the shape of another array.

      iex> Mlx.zeros_like(Mlx.array([1, 2, 3]))
      #Mlx.Array<
        s32[3]
        [0, 0, 0]
      >

  Options: `:type` (default: that of the array), `:stream`.

  Python: `mlx.core.zeros_like`, `mlx.core.empty_like`.
  """
  @spec zeros_like(Array.t(), keyword()) :: Array.t()
  def zeros_like(array, options \\ []) do
    [type, stream] = Options.values(options, :zeros_like, type: nil)
    type = type && Type.normalize!(type, :zeros_like)
    if type, do: Native.zeros_like_dtype(array, type, stream), else: Native.zeros_like(array, stream)
  end

  @doc """
  Ones in the shape of another array.

      iex> Mlx.ones_like(Mlx.array([1, 2, 3]), type: :f32)
      #Mlx.Array<
        f32[3]
        [1.0, 1.0, 1.0]
      >

  Options: `:type` (default: that of the array), `:stream`.

  Python: `mlx.core.ones_like`.
  """
  @spec ones_like(Array.t(), keyword()) :: Array.t()
  def ones_like(array, options \\ []) do
    [type, stream] = Options.values(options, :ones_like, type: nil)
    type = type && Type.normalize!(type, :ones_like)
    if type, do: Native.ones_like_dtype(array, type, stream), else: Native.ones_like(array, stream)
  end

  @doc """
  An array in the shape of another whose elements are all `value`.

      iex> Mlx.full_like(Mlx.array([1.0, 2.0]), 7)
      #Mlx.Array<
        f32[2]
        [7.0, 7.0]
      >

  Options: `:type` (default: that of the array), `:stream`.

  Python: `mlx.core.full_like`.
  """
  @spec full_like(Array.t(), Array.operand(), keyword()) :: Array.t()
  def full_like(%Array{} = array, value, options \\ []) do
    [type, stream] = Options.values(options, :full_like, type: array.type)
    Native.full_like(array, fill_value(value, type, "Mlx.full_like"), Type.normalize!(type, :full_like), stream)
  end

  # A number is not rounded to `:f32` on the way to another type.
  defp fill_value(%Array{} = value, _type, _function), do: value

  defp fill_value(value, type, function) do
    CalledFunction.name(function, ["Mlx.array"], fn -> array(value, type: type) end)
  end

  @doc """
  A matrix with ones on a diagonal and zeros elsewhere. `size` is a number of rows and columns, or `{rows, columns}`.

      iex> Mlx.eye(2)
      #Mlx.Array<
        f32[2][2]
        [
          [1.0, 0.0],
          [0.0, 1.0]
        ]
      >
      iex> Mlx.eye({2, 3}, k: 1, type: :u8)
      #Mlx.Array<
        u8[2][3]
        [
          [0, 1, 0],
          [0, 0, 1]
        ]
      >

  Options: `:k`, the diagonal (default 0; positive above the main diagonal, negative below), `:type` (default `:f32`),
  `:stream`.

  Python: `mlx.core.eye`, `mlx.core.identity`.
  """
  @spec eye(non_neg_integer() | {non_neg_integer(), non_neg_integer()}, keyword()) :: Array.t()
  def eye(size, options \\ [])

  def eye({rows, columns}, options) do
    [k, type, stream] = Options.values(options, :eye, k: 0, type: :f32)
    Native.eye(rows, columns, k, Type.normalize!(type, :eye), stream)
  end

  def eye(size, options), do: eye({size, size}, options)

  @doc """
  The numbers from `start` up to and without `stop`, `step` apart: `arange(stop)`, `arange(start, stop)` or
  `arange(start, stop, step)`, each with options.

      iex> Mlx.arange(4)
      #Mlx.Array<
        s32[4]
        [0, 1, 2, 3]
      >
      iex> Mlx.arange(1, 2, 0.25)
      #Mlx.Array<
        f32[4]
        [1.0, 1.25, 1.5, 1.75]
      >
      iex> Mlx.arange(3, 0, -1, type: :u8)
      #Mlx.Array<
        u8[3]
        [3, 2, 1]
      >

  Options: `:type` (default: `:s32` for integers, `:s64` for large ones, else `:f32`), `:stream`.

  Raises an `Mlx.Error` when there is no number of elements, as with the step 0 or NaN.

  Python: `mlx.core.arange`.
  """
  @spec arange(bound, bound | keyword(), bound | keyword(), keyword()) :: Array.t()
        when bound: number() | :nan | :infinity | :neg_infinity
  def arange(start, stop \\ [], step \\ [], options \\ [])
  def arange(stop, options, [], []) when is_list(options), do: arange(0, stop, 1, options)
  def arange(start, stop, options, []) when is_list(options), do: arange(start, stop, 1, options)

  def arange(start, stop, step, options) when is_bound(start) and is_bound(stop) and is_bound(step) do
    [type, stream] = Options.values(options, :arange, type: number_type([start, stop, step]))
    Native.arange(start, stop, step, Type.normalize!(type, :arange), stream)
  end

  def arange(start, stop, step, _options) do
    raise ArgumentError, "Mlx.arange: expected numbers, got: #{Enum.map_join([start, stop, step], ", ", &inspect/1)}"
  end

  defp number_type(numbers) do
    cond do
      Enum.any?(numbers, &(is_float(&1) or is_atom(&1))) -> :f32
      Enum.all?(numbers, &(&1 in @s32)) -> :s32
      true -> :s64
    end
  end

  @doc """
  An array whose elements count up from 0, or along one axis their index on that axis.

      iex> Mlx.iota({2, 3})
      #Mlx.Array<
        s32[2][3]
        [
          [0, 1, 2],
          [3, 4, 5]
        ]
      >
      iex> Mlx.iota({2, 3}, axis: 0)
      #Mlx.Array<
        s32[2][3]
        [
          [0, 0, 0],
          [1, 1, 1]
        ]
      >

  Options: `:axis` (negative from the end), `:type` (default `:s32`), `:stream`.

  Python: `mlx.core.arange` with `reshape` or `broadcast_to`.
  """
  @spec iota(Array.sizes(), keyword()) :: Array.t()
  def iota(shape, options \\ []) do
    shape = Sizes.shape!(shape, :iota)
    [axis, type, stream] = Options.values(options, :iota, axis: nil, type: :s32)
    type = Type.normalize!(type, :iota)

    case axis do
      nil ->
        Native.arange(0, Tuple.product(shape), 1, type, stream) |> Native.reshape(shape, stream)

      axis ->
        axis = iota_axis(axis, tuple_size(shape))
        size = elem(shape, axis)
        column = put_elem(Tuple.duplicate(1, tuple_size(shape)), axis, size)

        Native.arange(0, size, 1, type, stream)
        |> Native.reshape(column, stream)
        |> Native.broadcast_to(shape, stream)
    end
  end

  defp iota_axis(axis, rank) when axis in 0..(rank - 1)//1, do: axis
  defp iota_axis(axis, rank) when axis in -rank..-1//1, do: axis + rank

  defp iota_axis(axis, rank) do
    raise ArgumentError, "Mlx.iota: expected :axis to be one of #{rank} axes, got: #{inspect(axis)}"
  end

  @doc """
  Numbers at equal distances from `start` to `stop`.

      iex> Mlx.linspace(0, 1, n: 5)
      #Mlx.Array<
        f32[5]
        [0.0, 0.25, 0.5, 0.75, 1.0]
      >

  Options: `:n`, how many (default 50), `:endpoint`, whether `stop` is the last of them (default `true`), `:type`
  (default `:f32`), `:stream`.

  Python: `mlx.core.linspace`.
  """
  @spec linspace(number(), number(), keyword()) :: Array.t()
  def linspace(start, stop, options \\ []) do
    [n, endpoint, type, stream] = Options.values(options, :linspace, n: 50, endpoint: true, type: :f32)
    Native.linspace_endpoint(start, stop, n, endpoint, Type.normalize!(type, :linspace), stream)
  end

  @doc """
  A matrix with ones on and below a diagonal and zeros above.

      iex> Mlx.tri(2, 3, type: :u8)
      #Mlx.Array<
        u8[2][3]
        [
          [1, 0, 0],
          [1, 1, 0]
        ]
      >

  Options: `:k`, the diagonal (default 0; positive above the main diagonal, negative below), `:type` (default `:f32`),
  `:stream`.

  Python: `mlx.core.tri`.
  """
  @spec tri(non_neg_integer(), non_neg_integer(), keyword()) :: Array.t()
  def tri(rows, columns, options \\ []) do
    [k, type, stream] = Options.values(options, :tri, k: 0, type: :f32)
    Native.tri(rows, columns, k, Type.normalize!(type, :tri), stream)
  end

  @doc """
  The array with zeros above a diagonal of its last two axes.

      iex> Mlx.tril(Mlx.array([[1, 2], [3, 4]]))
      #Mlx.Array<
        s32[2][2]
        [
          [1, 0],
          [3, 4]
        ]
      >

  Options: `:k`, the diagonal (default 0; positive above the main diagonal, negative below), `:stream`.

  Python: `mlx.core.tril`.
  """
  @spec tril(Array.t(), keyword()) :: Array.t()
  def tril(array, options \\ []) do
    [k, stream] = Options.values(options, :tril, k: 0)
    Native.tril(array, k, stream)
  end

  @doc """
  The array with zeros below a diagonal of its last two axes.

      iex> Mlx.triu(Mlx.array([[1, 2], [3, 4]]))
      #Mlx.Array<
        s32[2][2]
        [
          [1, 2],
          [0, 4]
        ]
      >

  Options: `:k`, the diagonal (default 0; positive above the main diagonal, negative below), `:stream`.

  Python: `mlx.core.triu`.
  """
  @spec triu(Array.t(), keyword()) :: Array.t()
  def triu(array, options \\ []) do
    [k, stream] = Options.values(options, :triu, k: 0)
    Native.triu(array, k, stream)
  end

  @doc """
  The matrix with a vector on its diagonal, or the diagonal of a matrix.

      iex> Mlx.diag(Mlx.array([1, 2]))
      #Mlx.Array<
        s32[2][2]
        [
          [1, 0],
          [0, 2]
        ]
      >
      iex> Mlx.diag(Mlx.array([[1, 2], [3, 4]]), k: 1)
      #Mlx.Array<
        s32[1]
        [2]
      >

  Options: `:k`, the diagonal (default 0; positive above the main diagonal, negative below), `:stream`.

  Python: `mlx.core.diag`.
  """
  @spec diag(Array.t(), keyword()) :: Array.t()
  def diag(array, options \\ []) do
    [k, stream] = Options.values(options, :diag, k: 0)
    Native.diag(array, k, stream)
  end

  @doc """
  The diagonal of two axes of an array, as the last axis of the result.

      iex> Mlx.diagonal(Mlx.array([[1, 2], [3, 4]]))
      #Mlx.Array<
        s32[2]
        [1, 4]
      >

  Options: `:offset` from the main diagonal (default 0), `:axes`, the two axes (default `[0, 1]`), `:stream`.

  Python: `mlx.core.diagonal`.
  """
  @spec diagonal(Array.t(), keyword()) :: Array.t()
  def diagonal(array, options \\ []) do
    case Options.values(options, :diagonal, offset: 0, axes: [0, 1]) do
      [offset, [first, second], stream] ->
        Native.diagonal(array, offset, first, second, stream)

      [_offset, axes, _stream] ->
        raise ArgumentError, "Mlx.diagonal: expected :axes to be a list of two axes, got: #{inspect(axes)}"
    end
  end

  @windows [
    bartlett: {"a triangle, `1 - |2k / (n - 1) - 1|`", "[0.0, 1.0, 0.0]"},
    blackman: {"`0.42 - 0.5 cos(2πk / (n - 1)) + 0.08 cos(4πk / (n - 1))`", "[0.0, 1.0, 0.0]"},
    hamming: {"`0.54 - 0.46 cos(2πk / (n - 1))`", "[0.08, 1.0, 0.08]"},
    hanning: {"`0.5 - 0.5 cos(2πk / (n - 1))`", "[0.0, 1.0, 0.0]"}
  ]

  for {name, {formula, example}} <- @windows do
    @doc """
    The #{String.capitalize("#{name}")} window of `n` points: #{formula} for `k` from 0 to `n - 1`. The type is `:f32`.

        iex> Mlx.#{name}(3) |> Mlx.to_list() |> Enum.map(&abs(Float.round(&1, 3)))
        #{example}

    Python: `mlx.core.#{name}`.
    """
    @spec unquote(name)(non_neg_integer(), keyword()) :: Array.t()
    def unquote(name)(n, options \\ []), do: Native.unquote(name)(n, Options.stream(options, unquote(name)))
  end
end
