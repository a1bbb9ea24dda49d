defmodule Mlx.LM.CachePair do
  @moduledoc false
  # Two caches of one part of a model, which have read the same positions.

  @behaviour Mlx.LM.Cache

  alias Mlx.LM.Cache

  @enforce_keys [:first, :second]
  defstruct [:first, :second, length: 0]

  @type t :: %__MODULE__{first: Cache.t(), second: Cache.t()}

  @doc "Two empty caches."
  @spec new(Cache.t(), Cache.t()) :: t()
  def new(first, second), do: %__MODULE__{first: first, second: second}

  @doc "The pair with what its caches became."
  @spec put(t(), Cache.t(), Cache.t()) :: t()
  def put(%__MODULE__{} = pair, first, second), do: %{pair | first: first, second: second, length: second.length}

  @impl true
  def buffers(%__MODULE__{first: first, second: second}), do: {Cache.buffers(first), Cache.buffers(second)}

  @impl true
  def put_buffers(%__MODULE__{} = pair, {first, second}, length) do
    put(pair, Cache.put_buffers(pair.first, first, length), Cache.put_buffers(pair.second, second, length))
  end

  @impl true
  def make_room(%__MODULE__{} = pair, count) do
    %{pair | first: Cache.make_room(pair.first, count), second: Cache.make_room(pair.second, count)}
  end

  @impl true
  def can_trim?(%__MODULE__{first: first, second: second}, length) do
    Enum.all?([first, second], fn %kind{} = cache -> kind.can_trim?(cache, length) end)
  end

  @impl true
  def trim(%__MODULE__{first: %first{}, second: %second{}} = pair, length) do
    put(pair, first.trim(pair.first, length), second.trim(pair.second, length))
  end
end
