defmodule Mlx.Random.Integers do
  @moduledoc false
  # Random integers of which each is as likely as any other, for `Mlx.Random.randint/3` with `exact: true`: 128 random bits
  # modulo the number of integers. They are computed in `:u64`, where those of signed types wrap around.

  alias Mlx.{Array, Native, Type}

  @typep bound :: Array.t() | integer()

  @word 64
  @half 32
  @words 2 ** @word
  @halves 2 ** @half

  @doc """
  Integers from `low` (included) to `high` (not included); `low` where there is none. The shape is that of the result, and the
  bounds broadcast to it.
  """
  @spec draw(bound(), bound(), tuple(), Type.t(), Array.t(), term()) :: Array.t()
  def draw(low, high, shape, type, key, stream) do
    [first, second] = words(shape, key, stream)
    start = wrapped(low, stream)
    count = count(low, high, stream)

    offset =
      if count == :all,
        do: second,
        else: first |> Native.remainder(count, stream) |> append(second, count, low, high, stream)

    offset |> Native.add(start, stream) |> Native.astype(type, stream)
  end

  defp words(shape, key, stream) do
    rank = tuple_size(shape)
    words = shape |> Tuple.insert_at(rank, 4) |> Native.random_bits(4, key, stream) |> Native.view(:u64, stream)
    for index <- 0..1, do: Native.take_axis(words, index, rank, stream)
  end

  # The bits of 64-bit two's complement.
  defp wrapped(%Array{} = array, stream), do: Native.astype(array, :u64, stream)
  defp wrapped(integer, _stream), do: Native.scalar(Integer.mod(integer, @words), :u64)

  # How many integers there are, at least one; `:all` are as many as a word holds.
  defp count(low, high, _stream) when is_integer(low) and is_integer(high) do
    if high - low == @words, do: :all, else: number(high - low)
  end

  defp count(low, high, stream) do
    above = Native.greater(array(high), array(low), stream)
    count = high |> wrapped(stream) |> Native.subtract(wrapped(low, stream), stream)
    Native.where(above, count, Native.scalar(1, :u64), stream)
  end

  defp array(%Array{} = array), do: array
  defp array(integer), do: Native.scalar(integer, if(integer < 2 ** 63, do: :s64, else: :u64))

  # The remainder of remainder * 2 ** 64 + word. Of few integers no product is beyond 64 bits, else it goes bit by bit.
  defp append(remainder, word, count, low, high, stream) do
    if is_integer(low) and is_integer(high) and high - low <= @halves do
      for shift <- [@half, 0], reduce: remainder do
        remainder ->
          half = word |> Native.right_shift(number(shift), stream) |> Native.bitwise_and(number(@halves - 1), stream)

          remainder
          |> Native.left_shift(number(@half), stream)
          |> Native.add(half, stream)
          |> Native.remainder(count, stream)
      end
    else
      for shift <- (@word - 1)..0//-1, reduce: remainder do
        remainder ->
          bit = word |> Native.right_shift(number(shift), stream) |> Native.bitwise_and(number(1), stream)
          remainder |> doubled(count, stream) |> add(bit, count, stream)
      end
    end
  end

  # Modulo the count, without a sum beyond 64 bits.
  defp doubled(remainder, count, stream), do: add(remainder, remainder, count, stream)

  defp add(a, b, count, stream) do
    rest = Native.subtract(count, b, stream)
    wraps = Native.greater_equal(a, rest, stream)
    Native.where(wraps, Native.subtract(a, rest, stream), Native.add(a, b, stream), stream)
  end

  defp number(integer), do: Native.scalar(integer, :u64)
end
