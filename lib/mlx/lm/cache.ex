defmodule Mlx.LM.Cache do
  @moduledoc """
  What a part of a model keeps of the tokens that it has read. Each part chooses the kind of its cache:

    * `Mlx.LM.KeyValueCache` - the keys and values of all positions
    * `Mlx.LM.QuantizedCache` - the same, quantized, where a generation asks for it
    * `Mlx.LM.RotatingCache` - those of the last positions only, for attention with a sliding window
    * `Mlx.LM.StateCache` - a state of a fixed size, for recurrent parts

  A cache of another kind is a struct with the field `:length`, the number of positions that it has read, whose module
  implements this behaviour. Nothing changes in place for the caller: go on with the cache that a function returns.

  In a compiled step the length is an array without axes, or `{batch}` where each row of a batch has its own. The arrays of the cache go in and out of the step as they are
  (`c:buffers/1` and `c:put_buffers/3`), with room for the next position (`c:make_room/2`).
  """

  use Mlx.Arguments.Mismatch

  import Bitwise, only: [<<<: 2]

  alias Mlx.{Array, Native, Tree}
  alias Mlx.Values.Ahead

  @step 256

  @typedoc "A cache of any kind."
  @type t :: %{:__struct__ => module(), :length => non_neg_integer() | Array.t(), optional(atom()) => term()}

  @doc "The arrays of a cache that has read something, as a tuple."
  @callback buffers(t()) :: tuple()

  @doc "The cache with these arrays, which hold so many positions."
  @callback put_buffers(t(), tuple(), non_neg_integer() | Array.t()) :: t()

  @doc "The cache with room in its arrays for so many more positions."
  @callback make_room(t(), non_neg_integer()) :: t()

  @doc "Whether the cache can forget everything after its first positions."
  @callback can_trim?(t(), non_neg_integer()) :: boolean()

  @doc "The cache with only its first positions."
  @callback trim(t(), non_neg_integer()) :: t()

  @doc false
  # `c:trim/2` of caches whose positions are in their order.
  @spec shortened(t(), non_neg_integer()) :: t()
  def shortened(%kind{length: now} = cache, length) do
    if is_integer(now) and length > now do
      raise ArgumentError, "#{inspect(kind)}.trim: the cache has #{now} positions, and cannot keep the first #{length}"
    end

    %{cache | length: length}
  end

  @doc """
  Forgets everything after the first `length` positions, in caches of which all can do that; otherwise everything.
  Returns the caches and the number of positions that they keep.

      iex> {[cache], 0} = Mlx.LM.Cache.trim_all([Mlx.LM.StateCache.new()], 0)
      iex> cache.length
      0
  """
  @spec trim_all([t()], non_neg_integer()) :: {[t()], non_neg_integer()}
  def trim_all(caches, length) when is_list(caches) and is_integer(length) and length >= 0 do
    length = if Enum.all?(caches, fn %kind{} = cache -> kind.can_trim?(cache, length) end), do: length, else: 0
    {Enum.map(caches, fn %kind{} = cache -> kind.trim(cache, length) end), length}
  end

  # The cache without its arrays: what it is made of beside them.
  @doc false
  def emptied(cache) do
    for {key, value} <- Map.from_struct(cache), Mlx.Tree.arrays(value) != [], reduce: %{cache | length: 0} do
      cache -> Map.put(cache, key, if(cache?(value), do: emptied(value)))
    end
  end

  # The caches that a cache holds, by its fields.
  @doc false
  @spec nested(t()) :: [{atom(), t()}]
  def nested(cache), do: for({key, value} <- Map.from_struct(cache), cache?(value), do: {key, value})

  defp cache?(%module{length: _length}), do: Code.ensure_loaded?(module) and function_exported?(module, :put_buffers, 3)
  defp cache?(_value), do: false

  # How many positions a buffer has room for that is made for so many: they grow by 256, and from 2,048 on by an eighth, so
  # that the compiled step has few sizes of buffers to be compiled for.
  @doc false
  @spec room(pos_integer()) :: pos_integer()
  def room(length) do
    eighth = 1 <<< (Enum.count(Integer.digits(length - 1, 2)) - 4)
    step = max(@step, eighth)
    div(length + step - 1, step) * step
  end

  @doc false
  def buffers(%kind{} = cache), do: kind.buffers(cache)

  @doc false
  def put_buffers(%kind{} = cache, buffers, length), do: kind.put_buffers(cache, buffers, length)

  @doc false
  def make_room(%kind{} = cache, count), do: kind.make_room(cache, count)

  # Has MLX compute caches that have read so many positions, and what comes with them, while the next step is built: the
  # caches, what is gone on with, whose arrays nobody else has, and what is read. See `Mlx.Values.Ahead`.
  @doc false
  def start(caches, length, continued, read, function) do
    buffers = Enum.map(caches, &buffers/1)
    {{continued, buffers}, read} = Ahead.start({continued, buffers}, read, function)
    {Enum.zip_with(caches, buffers, &put_buffers(&1, &2, length)), continued, read}
  end

  # Gives up all arrays of caches.
  @doc false
  def release(caches), do: caches |> Tree.arrays() |> Native.deallocate_all()
end
