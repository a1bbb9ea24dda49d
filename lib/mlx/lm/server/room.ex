defmodule Mlx.LM.Server.Room do
  @moduledoc false
  # The memory that caches may take. A request is let in when what it and all others need at their longest, with the whole
  # prompt and all tokens that were asked for, is no more than the limit. So no request that was let in lacks memory later.
  #
  # The rows of a batch have the room of the longest, so the need of all is their number times the need of the longest.

  alias Mlx.LM.{CacheChoice, Decoder, KeyValueCache, RotatingCache}
  alias Mlx.LM.Server.Request

  @step 256

  @enforce_keys [:parts, :limit]
  defstruct @enforce_keys ++ [taken: %{}]

  @typep part ::
           {:each, bytes :: pos_integer()} | {:window, bytes :: pos_integer(), pos_integer()} | {:fixed, integer()}

  @opaque t :: %__MODULE__{parts: [part], limit: pos_integer(), taken: %{reference() => pos_integer()}}

  @doc "The room of a server with these settings, of which `:memory` is the limit in bytes; nil for what MLX has free now."
  @spec new(Decoder.t(), map()) :: t()
  def new(model, settings) do
    %__MODULE__{parts: Enum.map(CacheChoice.shapes(model), &part/1), limit: settings.memory || free()}
  end

  # A quarter of what is left stays for what a step computes.
  defp free, do: max(div((Mlx.Memory.limit() - Mlx.Memory.active()) * 3, 4), 1)

  # The bytes of a cache: of each position, of each up to a window, or of all.
  defp part(%KeyValueCache{keys: keys, values: values}), do: {:each, position(keys) + position(values)}

  defp part(%RotatingCache{keys: keys, values: values, window: window}) do
    {:window, position(keys) + position(values), window}
  end

  defp part(other), do: {:fixed, other |> Mlx.Tree.arrays() |> Enum.map(&Mlx.byte_size/1) |> Enum.sum()}

  defp position(%Mlx.Array{shape: {1, heads, _room, features}, type: type}) do
    heads * features * Mlx.Type.bytes(type)
  end

  @doc "The bytes of so many rows of so many positions."
  @spec bytes(t(), non_neg_integer(), non_neg_integer()) :: non_neg_integer()
  def bytes(%__MODULE__{parts: parts}, rows, positions) do
    rows * Enum.sum(Enum.map(parts, &of_part(&1, rounded(positions))))
  end

  defp of_part({:each, bytes}, positions), do: bytes * positions
  defp of_part({:window, bytes, window}, positions), do: bytes * min(window, positions)
  defp of_part({:fixed, bytes}, _positions), do: bytes

  defp rounded(positions), do: div(positions + @step - 1, @step) * @step

  @doc "Why a request fits in no case, or nil."
  @spec too_large(t(), Request.t()) :: String.t() | nil
  def too_large(room, request) do
    need = bytes(room, 1, longest(request))

    if need > room.limit do
      "the request needs #{need} bytes for its caches, with #{request.prompt} tokens of the prompt and up to " <>
        "#{request.most} of the answer, and the server has #{room.limit}; ask for fewer tokens by :max_tokens, or start " <>
        "the server with more :memory"
    end
  end

  @doc "Whether a request fits beside those that are there."
  @spec free?(t(), Request.t()) :: boolean()
  def free?(room, request), do: need(room, [longest(request) | Map.values(room.taken)]) <= room.limit

  defp need(_room, []), do: 0
  defp need(room, lengths), do: bytes(room, slots(length(lengths)), Enum.max(lengths))

  # A batch has a power of two of slots.
  defp slots(1), do: 1
  defp slots(count), do: 2 * slots(div(count + 1, 2))

  defp longest(request), do: request.prompt + request.most

  @doc "A request is there."
  @spec take(t(), reference(), Request.t()) :: t()
  def take(room, ref, request), do: put_in(room.taken[ref], longest(request))

  @doc "A request has gone."
  @spec give_back(t(), reference()) :: t()
  def give_back(room, ref), do: %{room | taken: Map.delete(room.taken, ref)}

  @doc "The figures in bytes: the limit, and what is set apart for the requests that are there."
  @spec info(t()) :: %{limit: pos_integer(), reserved: non_neg_integer()}
  def info(room), do: %{limit: room.limit, reserved: need(room, Map.values(room.taken))}
end
