defmodule Mlx.LM.Server.Reading do
  @moduledoc false
  # A prompt that is read in parts, between the steps of the batch, with caches of its own. After the last part the first
  # token is chosen, and the row can join the batch.

  alias Mlx.LM.{Cache, Decoder, Sampler}
  alias Mlx.LM.Server.{Batch, Choosing, Constraint, Row}

  @enforce_keys [:row, :caches, :rest, :left, :borders]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          row: Row.t(),
          caches: [Cache.t()],
          rest: [non_neg_integer(), ...],
          left: pos_integer(),
          borders: [pos_integer()]
        }

  @doc """
  The reading of a row's prompt, of which `caches` have read the first tokens. It stops after as many tokens as `borders` say.
  """
  @spec new(Row.t(), [Cache.t()], [pos_integer()]) :: t()
  def new(%Row{} = row, [%{length: length} | _] = caches, borders) do
    rest = Enum.drop(row.request.ids, length)
    borders = Enum.filter(borders, &(&1 > length))
    %__MODULE__{row: Row.known(row, length), caches: caches, rest: rest, left: length(rest), borders: borders}
  end

  @doc "The tokens that were read, at a border; otherwise nil."
  @spec at_border(t()) :: [non_neg_integer()] | nil
  def at_border(%__MODULE__{row: %{request: request}, left: left, borders: borders}) do
    read = request.prompt - left
    if read in borders, do: Enum.take(request.ids, read)
  end

  @doc "Reads up to `count` tokens. Returns the reading, or the row at its end, its caches and its first token `{1}`."
  @spec advance(t(), Decoder.t(), pos_integer()) ::
          {:more, t()} | {:read, Row.t(), [Cache.t()], Sampler.t(), Mlx.Array.t()}
  def advance(%__MODULE__{row: %{request: request}, left: left} = reading, model, count) do
    read = request.prompt - left
    step = Enum.min([count | for(border <- reading.borders, border > read, do: border - read)])
    if left > step, do: part(reading, model, step), else: last(reading, model)
  end

  defp part(%__MODULE__{left: left} = reading, model, count) do
    {part, rest} = Enum.split(reading.rest, count)
    {_logits, caches} = Decoder.call(model, Mlx.array([part]), reading.caches)
    {:more, %{reading | caches: Mlx.eval(caches), rest: rest, left: left - count}}
  end

  defp last(%__MODULE__{row: row} = reading, model) do
    {logits, caches} = Decoder.call(model, Mlx.array([reading.rest]), reading.caches)
    mask = Constraint.mask(row.constraint, Mlx.axis_size(logits, 1))
    {token, sampler} = Choosing.token(row.choose, row.sampler, logits, 0, mask)
    {token, last, _caches} = Mlx.eval({token, sampler.last, caches})
    {:read, row, caches, %{sampler | last: last}, token}
  end

  @doc "Gives up the caches."
  @spec leave(t()) :: :ok
  def leave(%__MODULE__{caches: caches}), do: Batch.release(caches)
end
