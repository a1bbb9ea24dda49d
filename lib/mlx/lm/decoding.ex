defmodule Mlx.LM.Decoding do
  @moduledoc false
  # One token after another: the model and the sampler as one function, which is compiled once for each size of the caches.
  #
  #     decode = Mlx.LM.Decoding.compile(model)
  #     {token, sampler, caches} = Mlx.LM.Decoding.next(decode, token, sampler, caches)
  #
  # The number of positions in the caches is an array to this function, so that it is compiled once for all; each call takes
  # as many positions of the caches as there are. It gives up the buffers of the caches that it is given, and MLX writes into
  # them. The other parts of a cache come from the model. What was compiled for buffers of one size takes megabytes, and does
  # not come again when they have grown, so that only the last few are kept.

  alias Mlx.Array
  alias Mlx.LM.{Cache, Decoder, Sampler}

  # So many generations run at once, each with buffers of its own size, and compile nothing anew.
  @kept 8

  @typedoc "What `compile/1` returns."
  @opaque t :: (Array.t(), Sampler.t() | nil, [tuple()], Array.t() -> {Array.t(), Sampler.t() | nil, [tuple()]})

  @doc "The function for a model, and for caches of the kinds of these, by default those that the model chooses."
  @spec compile(Decoder.t(), [Cache.t()] | nil) :: t()
  def compile(model, caches \\ nil) do
    empty = if caches, do: Enum.map(caches, &Cache.emptied/1), else: Decoder.caches(model)
    Mlx.compile(&decode(model, empty, &1, &2, &3, &4), donate: [2], keep: @kept)
  end

  defp decode(model, empty, token, sampler, buffers, position) do
    caches = Enum.zip_with(empty, buffers, &Cache.put_buffers(&1, &2, position))
    {logits, caches} = Decoder.call(model, Mlx.new_axis(token, 0), caches)
    {token, sampler} = if sampler, do: Sampler.sample(sampler, logits), else: {logits, nil}
    {token, sampler, Enum.map(caches, &Cache.buffers/1)}
  end

  @doc """
  The token after `token`, both of the shape `{1}`, with the sampler and the caches for the next one.

  Without a sampler it is the logits `{1, vocabulary}` in place of the token.

  Nothing is evaluated.
  """
  @spec next(t(), Array.t(), Sampler.t() | nil, [Cache.t()]) :: {Array.t(), Sampler.t() | nil, [Cache.t()]}
  def next(decode, token, sampler, [%{length: length} | _] = caches) do
    buffers = for cache <- caches, do: cache |> Cache.make_room(1) |> Cache.buffers()
    {token, sampler, buffers} = decode.(token, sampler, buffers, Mlx.array(length))
    {token, sampler, Enum.zip_with(caches, buffers, &Cache.put_buffers(&1, &2, length + 1))}
  end

  @typedoc "A token as it is read, with the `last` of the sampler that chose it."
  @type chosen :: {Array.t(), term()}

  @doc """
  As `next/4`, and has MLX compute it: `{chosen, token, sampler, caches}`, of which the last three are for the next call. To
  read what was chosen does not wait until that is scheduled.
  """
  @spec start(t(), Array.t(), Sampler.t(), [Cache.t()]) :: {chosen(), Array.t(), Sampler.t(), [Cache.t()]}
  def start(decode, token, sampler, caches) do
    {token, sampler, caches} = next(decode, token, sampler, caches)
    {chosen, {token, sampler}, caches} = compute({token, sampler}, {token, sampler.last}, caches)
    {chosen, token, sampler, caches}
  end

  @doc "The same for a token that was chosen otherwise: `{chosen, token, caches}`. Others may have the token and the sampler."
  @spec begin(Array.t(), Sampler.t(), [Cache.t()]) :: {chosen(), Array.t(), [Cache.t()]}
  def begin(token, sampler, caches), do: compute(Mlx.copy(token), {token, sampler.last}, caches)

  @doc "The logits after a token and the caches, which MLX computes, for `begin/3`."
  @spec forward(t(), Array.t(), [Cache.t()]) :: {Array.t(), [Cache.t()]}
  def forward(decode, token, caches) do
    {logits, nil, caches} = next(decode, token, nil, caches)
    {nil, logits, caches} = compute(logits, nil, caches)
    {logits, caches}
  end

  defp compute(next, read, [%{length: length} | _] = caches) do
    {caches, next, chosen} = Cache.start(caches, length, next, read, "Mlx.LM.Generation.events")
    {chosen, next, caches}
  end
end
