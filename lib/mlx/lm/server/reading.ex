defmodule Mlx.LM.Server.Reading do
  @moduledoc false
  # A prompt that is read in parts, between the steps of the batch, with caches of its own: by the model, after which the first
  # token is chosen, and then by the draft model, where that drafts for the request. After that the row can join the batch.
  # Short prompts are read together.

  alias Mlx.Array
  alias Mlx.LM.{Cache, Decoder}
  alias Mlx.LM.Server.{Row, Slots}

  # `caches` are nil before the first part. `ready` are the model's caches and the first token `{1}`, when the draft model reads.
  @enforce_keys [:row, :rest, :left]
  defstruct @enforce_keys ++ [:caches, :ready, borders: []]

  @typep row :: Row.t()

  @type t :: %__MODULE__{
          row: row,
          rest: [non_neg_integer(), ...],
          left: pos_integer(),
          caches: [Cache.t()] | nil,
          ready: {[Cache.t()], Array.t()} | nil,
          borders: [pos_integer()]
        }

  @doc "The reading of a row's prompt by the model."
  @spec new(row) :: t()
  def new(%Row{request: request} = row), do: %__MODULE__{row: row, rest: request.ids, left: request.prompt}

  @doc "The reading of it by the draft model, after that by the model."
  @spec of_draft(row, [Cache.t()], Array.t()) :: t()
  def of_draft(row, caches, token), do: %{new(row) | ready: {caches, token}}

  @doc """
  The reading whose caches have read the first tokens. It stops after as many tokens as `borders` say.
  """
  @spec begin(t(), [Cache.t()], [pos_integer()]) :: t()
  def begin(%__MODULE__{row: row} = reading, [%{length: length} | _] = caches, borders) do
    row = if reading.ready, do: row, else: Row.known(row, length)
    rest = Enum.drop(reading.rest, length)
    borders = Enum.filter(borders, &(&1 > length))
    %{reading | row: row, caches: caches, rest: rest, left: reading.left - length, borders: borders}
  end

  @doc "The tokens that were read, at a border; otherwise nil."
  @spec at_border(t()) :: [non_neg_integer()] | nil
  def at_border(%__MODULE__{row: %{request: request}, left: left, borders: borders}) do
    read = request.prompt - left
    if read in borders, do: Enum.take(request.ids, read)
  end

  @doc "Reads up to `count` tokens. Returns the reading, at the end of the prompt with the logits `{1, vocabulary}` after it."
  @spec advance(t(), Decoder.t(), pos_integer()) :: {:more, t()} | {:read, t(), Array.t()}
  def advance(%__MODULE__{row: %{request: request}, left: left} = reading, model, count) do
    read = request.prompt - left
    step = Enum.min([count | for(border <- reading.borders, border > read, do: border - read)])
    if left > step, do: part(reading, model, step), else: last(reading, model)
  end

  defp part(%__MODULE__{left: left} = reading, model, count) do
    {part, rest} = Enum.split(reading.rest, count)
    {_x, caches} = Decoder.hidden(model, Mlx.array([part]), reading.caches)
    {:more, %{reading | caches: Mlx.eval(caches), rest: rest, left: left - count}}
  end

  defp last(reading, model) do
    {logits, caches} = Decoder.call(model, Mlx.array([reading.rest]), reading.caches)
    {logits, caches} = Mlx.eval({logits, caches})
    {:read, %{reading | caches: caches}, logits}
  end

  @doc """
  Reads the rest of several prompts, of each of which as many tokens were read: for each what `advance/3` returns at the end. It is
  for models of `Mlx.LM.Server.Batch.forgets?/1`, to which what is behind a prompt is of no matter.
  """
  @spec together([t(), ...], Decoder.t()) :: [{:read, t(), Array.t()}]
  def together([reading], model), do: [last(reading, model)]

  def together([%{caches: [%{length: start} | _]} | _] = readings, model) do
    lengths = for reading <- readings, do: reading.left
    most = Enum.max(lengths)
    ids = for reading <- readings, do: reading.rest ++ List.duplicate(0, most - reading.left)
    caches = if start == 0, do: Decoder.caches(model), else: joined(readings, start)
    {logits, caches} = Decoder.call_padded(model, Mlx.array(ids), caches, lengths)

    rows =
      for {length, slot} <- Enum.with_index(lengths),
          do: for(cache <- caches, do: Slots.row(cache, slot, start + length))

    {logits, rows} = Mlx.eval({logits, rows})
    Cache.release(caches)

    for {{reading, caches}, slot} <- readings |> Enum.zip(rows) |> Enum.with_index() do
      {:read, %{reading | caches: caches}, Mlx.take(logits, Mlx.array([slot]), axis: 0)}
    end
  end

  # Caches of one row each that have read the first `start` tokens, as caches of several rows.
  defp joined(readings, start) do
    for [cache | _] = caches <- Enum.zip_with(for(reading <- readings, do: reading.caches), & &1) do
      joined = Map.new([:keys, :values], fn part -> {part, Mlx.concatenate(first(caches, part, start), axis: 0)} end)
      Cache.release(caches)
      struct!(cache, joined)
    end
  end

  defp first(caches, part, start) do
    for cache <- caches do
      %Array{shape: {1, heads, _room, features}} = buffer = Map.fetch!(cache, part)
      Mlx.slice(buffer, [0, 0, 0, 0], [1, heads, start, features])
    end
  end

  @doc "Gives up the caches."
  @spec leave(t()) :: :ok
  def leave(%__MODULE__{caches: caches, ready: ready}) do
    Cache.release(caches || [])
    with {caches, _token} <- ready, do: Cache.release(caches)
    :ok
  end
end
