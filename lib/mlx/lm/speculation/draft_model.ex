defmodule Mlx.LM.Speculation.DraftModel do
  @moduledoc false
  # Drafts of a smaller model, with the sampler of the generation. Its tokens stay on the device until the larger model has
  # read them.
  #
  #     {drafts, probabilities, drafter} = DraftModel.draft(drafter, text, total, count, sampler)
  #     drafter = DraftModel.settle(drafter, total)          # the number of tokens that there are now
  #
  # Where the sampler draws tokens, `probabilities` are those that it drew by.

  alias Mlx.Array
  alias Mlx.LM.{Cache, Decoder, Sampler}
  alias Mlx.LM.Sampler.Distribution
  alias Mlx.LM.Speculation.Rewind

  # How much of the text it reads at once.
  @part 2048

  @enforce_keys [:model, :step, :caches]
  # `kept` is what `Rewind.keep/2` gave before the drafts, and `start` the number of positions then.
  defstruct @enforce_keys ++ [:kept, length: 0, start: 0]

  @type t :: %__MODULE__{
          model: Decoder.t(),
          step: function(),
          caches: [Cache.t()],
          length: non_neg_integer(),
          kept: term(),
          start: non_neg_integer()
        }

  @doc "The drafter of a model that has read nothing, for a model whose logits have `vocabulary` elements."
  @spec new(Decoder.t(), pos_integer()) :: t()
  def new(model, vocabulary) do
    caches = Decoder.caches(model)
    step = Mlx.compile(&step(model, caches, vocabulary, &1, &2, &3, &4), donate: [2])
    %__MODULE__{model: model, step: step, caches: caches}
  end

  defp step(model, empty, vocabulary, token, sampler, buffers, position) do
    caches = Enum.zip_with(empty, buffers, &Cache.put_buffers(&1, &2, position))
    {logits, caches} = Decoder.call(model, Mlx.new_axis(token, 0), caches)
    {token, probabilities, sampler} = Distribution.sample(sampler, fitted(logits, vocabulary))
    {token, probabilities, sampler, Enum.map(caches, &Cache.buffers/1)}
  end

  @doc """
  Logits as another model has them, with a last axis of `vocabulary` elements: models of one vocabulary may have more logits
  than tokens, and not all as many.
  """
  @spec fitted(Array.t(), pos_integer()) :: Array.t()
  def fitted(%Array{shape: shape, type: type} = logits, vocabulary) do
    last = tuple_size(shape) - 1

    case elem(shape, last) do
      ^vocabulary ->
        logits

      size when size > vocabulary ->
        Mlx.slice(logits, List.duplicate(0, last + 1), shape |> put_elem(last, vocabulary) |> Tuple.to_list())

      size ->
        more = Mlx.full(put_elem(shape, last, vocabulary - size), :neg_infinity, type: type)
        Mlx.concatenate([logits, more], axis: last)
    end
  end

  @doc """
  Up to `count` tokens, arrays `{1}`, after a text of `total` tokens, the latest first; their probabilities
  `{1, vocabulary}`, or nil; and the drafter. A text that the model's context has no room for gets none.
  """
  @spec draft(t(), [non_neg_integer(), ...], pos_integer(), pos_integer(), Sampler.t()) ::
          {[Array.t()], [Array.t()] | nil, t()}
  def draft(%__MODULE__{} = drafter, text, total, count, sampler) do
    case min(count, drafter.model.config.context_length - total + 1) do
      count when count < 1 -> {[], nil, drafter}
      count -> drafted(drafter, Enum.reverse(Enum.take(text, total - drafter.length)), count, sampler)
    end
  end

  defp drafted(drafter, unread, count, sampler) do
    {before, [last]} = Enum.split(unread, -1)
    drafter = read(drafter, before)
    kept = Rewind.keep(drafter.caches, count)
    drafter = %{drafter | kept: kept, start: drafter.length}

    {steps, {_token, _sampler, drafter}} =
      Enum.map_reduce(1..count, {Mlx.array([last], type: :s32), sampler, drafter}, fn _step,
                                                                                      {token, sampler, drafter} ->
        {token, probabilities, sampler, drafter} = next(drafter, token, sampler)
        {{token, probabilities}, {token, sampler, drafter}}
      end)

    {tokens, probabilities} = Enum.unzip(steps)
    {tokens, if(hd(probabilities), do: probabilities), drafter}
  end

  defp read(drafter, ids) do
    for part <- Enum.chunk_every(ids, @part), reduce: drafter do
      drafter ->
        {_x, caches} = Decoder.hidden(drafter.model, Mlx.array([part]), drafter.caches)
        %{drafter | caches: Mlx.eval(caches), length: drafter.length + length(part)}
    end
  end

  # Something was read before, because a prompt has a token and so has the answer.
  defp next(%{length: length} = drafter, token, sampler) do
    buffers = for cache <- drafter.caches, do: cache |> Cache.make_room(1) |> Cache.buffers()
    {token, probabilities, sampler, buffers} = drafter.step.(token, sampler, buffers, Mlx.array(length))
    caches = Enum.zip_with(drafter.caches, buffers, &Cache.put_buffers(&1, &2, length + 1))
    {token, probabilities, sampler, %{drafter | caches: caches, length: length + 1}}
  end

  @doc "The drafter after a round: it forgets the drafts that were not accepted. Of the text, the last token is new to it."
  @spec settle(t(), pos_integer()) :: t()
  def settle(%__MODULE__{length: length} = drafter, total) when length < total, do: %{drafter | kept: nil}

  def settle(%__MODULE__{} = drafter, total) do
    [%{length: length} | _] = caches = Rewind.to(drafter.caches, drafter.kept, drafter.start, total - 1)
    %{drafter | caches: caches, kept: nil, length: length}
  end

  @doc "Gives up its caches."
  @spec release(t()) :: :ok
  def release(%__MODULE__{caches: caches}), do: Cache.release(caches)
end
