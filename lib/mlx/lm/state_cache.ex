defmodule Mlx.LM.StateCache do
  @moduledoc """
  The state of a recurrent part of a model: a tuple of arrays whose shapes do not depend on how much was read.

      cache = Mlx.LM.StateCache.new()
      cache = Mlx.LM.StateCache.put(cache, {convolution, state}, 5)

  It is `nil` before anything was read. It can keep all that was read or nothing, and no part of it.
  """

  @behaviour Mlx.LM.Cache

  use Mlx.Arguments.Mismatch

  alias Mlx.Array

  @type t :: %__MODULE__{state: tuple() | nil, length: non_neg_integer() | Array.t()}

  defstruct state: nil, length: 0

  @doc """
  An empty cache.

      iex> Mlx.LM.StateCache.new().state
      nil
  """
  @spec new() :: t()
  def new, do: %__MODULE__{}

  @doc """
  The cache with the state after `count` more positions.

      iex> cache = Mlx.LM.StateCache.put(Mlx.LM.StateCache.new(), {Mlx.zeros({1, 4})}, 3)
      iex> {Mlx.LM.StateCache.put(cache, {Mlx.ones({1, 4})}, 1).length, Mlx.LM.StateCache.can_trim?(cache, 2)}
      {4, false}
  """
  @spec put(t(), tuple(), pos_integer()) :: t()
  def put(%__MODULE__{length: %Array{} = length} = cache, state, count) when is_tuple(state) and is_integer(count) do
    %{cache | state: state, length: Mlx.add(length, count)}
  end

  def put(%__MODULE__{length: length} = cache, state, count) when is_tuple(state) and is_integer(count) do
    %{cache | state: state, length: length + count}
  end

  @impl true
  def buffers(%__MODULE__{state: state}), do: state

  @impl true
  def put_buffers(%__MODULE__{} = cache, state, length), do: %{cache | state: state, length: length}

  @impl true
  def make_room(%__MODULE__{} = cache, _count), do: cache

  @impl true
  def can_trim?(%__MODULE__{length: length}, kept), do: kept in [0, length]

  @impl true
  def trim(%__MODULE__{length: length} = cache, length), do: cache
  def trim(%__MODULE__{}, 0), do: new()
end
