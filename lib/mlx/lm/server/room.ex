defmodule Mlx.LM.Server.Room do
  @moduledoc false
  # The memory that caches may take. A request is let in when what it and all others need at their longest, with the whole
  # prompt and all tokens that were asked for, is no more than the limit. So no request that was let in lacks memory later.
  #
  # The rows of a batch have the room of the longest, so the need of all is their number times the need of the longest.

  alias Mlx.Tree
  alias Mlx.LM.{Cache, CacheChoice, CompressedCache, Decoder, KeyValueCache, RotatingCache}
  alias Mlx.LM.Server.{Request, Slots}

  @enforce_keys [:parts, :limit]
  defstruct @enforce_keys ++ [taken: %{}]

  @typep part ::
           {:each, bytes :: pos_integer(), ratio :: pos_integer()}
           | {:window, bytes :: pos_integer(), pos_integer()}
           | {:fixed, integer()}

  @opaque t :: %__MODULE__{parts: [part], limit: pos_integer(), taken: %{reference() => pos_integer()}}

  @doc """
  The room of a server of these models, which read the same, with settings of which `:memory` is the limit in bytes; nil for
  what MLX has free now.
  """
  @spec new([Decoder.t(), ...], map()) :: t()
  def new(models, settings),
    do: %__MODULE__{parts: Enum.flat_map(models, &parts_of/1), limit: settings.memory || free(2)}

  defp parts_of(model), do: Enum.flat_map(CacheChoice.shapes(model), &parts/1)

  @doc """
  The most bytes of what is kept of earlier prompts for each model, of settings with `:prompt_cache`: they can keep the same.
  """
  @spec prompt_caches([Decoder.t(), ...], map()) :: [non_neg_integer()]
  def prompt_caches([_model], settings), do: [settings.prompt_cache || free(1)]

  def prompt_caches(models, settings) do
    limit = settings.prompt_cache || free(1)
    bytes = for model <- models, do: bytes(%__MODULE__{parts: parts_of(model), limit: limit}, 1, 1)
    for part <- bytes, do: div(limit * part, Enum.sum(bytes))
  end

  # So many quarters of what is left. One stays for what a step computes.
  defp free(quarters), do: max(div((Mlx.Memory.limit() - Mlx.Memory.active()) * quarters, 4), 1)

  # The bytes of a cache: of each entry, which stands for so many positions; of each position up to a window; or of all.
  defp parts(%KeyValueCache{} = cache), do: [{:each, entry(cache), 1}]
  defp parts(%RotatingCache{window: window} = cache), do: [{:window, entry(cache), window}]

  defp parts(cache) do
    nested = Cache.nested(cache)
    others = cache |> Map.from_struct() |> Map.drop(Keyword.keys(nested)) |> Tree.arrays()
    [{:fixed, others |> Enum.map(&Mlx.byte_size/1) |> Enum.sum()} | Enum.flat_map(nested, &nested(cache, &1))]
  end

  defp nested(%CompressedCache{ratio: ratio}, {:entries, entries}), do: [{:each, entry(entries), ratio}]
  defp nested(_cache, {_key, part}), do: parts(part)

  defp entry(%{keys: keys, values: values}), do: position(keys) + position(values)

  defp position(%Mlx.Array{shape: {1, heads, _room, features}, type: type}) do
    heads * features * Mlx.Type.bytes(type)
  end

  @doc "The bytes of so many rows of so many positions."
  @spec bytes(t(), non_neg_integer(), non_neg_integer()) :: non_neg_integer()
  def bytes(%__MODULE__{parts: parts}, rows, positions) do
    rows * Enum.sum(Enum.map(parts, &of_part(&1, positions)))
  end

  defp of_part({:each, bytes, ratio}, positions), do: bytes * Cache.room(div(positions + ratio - 1, ratio))
  defp of_part({:window, bytes, window}, positions), do: bytes * min(window, Cache.room(positions))
  defp of_part({:fixed, bytes}, _positions), do: bytes

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
  defp need(room, lengths), do: bytes(room, Slots.round(length(lengths)), Enum.max(lengths))

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
