defmodule Mlx.LM.Decoding do
  @moduledoc false
  # One token after another: the model and the sampler as one function, which is compiled once for each size of the caches.
  #
  #     decode = Mlx.LM.Decoding.compile(model)
  #     {token, sampler, caches} = Mlx.LM.Decoding.next(decode, token, sampler, caches)
  #
  # The number of positions in the caches is an array to this function, so that it is compiled once for all; each call takes
  # as many positions of the caches as there are. It gives up the buffers of the caches that it is given, and MLX writes into
  # them.

  alias Mlx.Array
  alias Mlx.LM.{KeyValueCache, Llama, Sampler}

  @typedoc "What `compile/1` returns."
  @opaque t :: (Array.t(), Sampler.t(), [{Array.t(), Array.t()}], Array.t() ->
                  {Array.t(), Sampler.t(), [{Array.t(), Array.t()}]})

  @doc "The function for a model."
  @spec compile(Llama.t()) :: t()
  def compile(model), do: Mlx.compile(&decode(model, &1, &2, &3, &4), donate: [2])

  defp decode(model, token, sampler, buffers, position) do
    caches = for {keys, values} <- buffers, do: %KeyValueCache{keys: keys, values: values, length: position}
    {logits, caches} = Llama.call(model, Mlx.new_axis(token, 0), caches)
    {token, sampler} = Sampler.sample(sampler, logits)
    {token, sampler, buffers(caches)}
  end

  @doc """
  The token after `token`, both of the shape `{1}`, with the sampler and the caches for the next one.

  Nothing is evaluated.
  """
  @spec next(t(), Array.t(), Sampler.t(), [KeyValueCache.t()]) :: {Array.t(), Sampler.t(), [KeyValueCache.t()]}
  def next(decode, token, sampler, [%KeyValueCache{length: length} | _] = caches) do
    buffers = caches |> Enum.map(&KeyValueCache.make_room(&1, 1)) |> buffers()
    {token, sampler, buffers} = decode.(token, sampler, buffers, Mlx.array(length))
    {token, sampler, for({keys, values} <- buffers, do: %KeyValueCache{keys: keys, values: values, length: length + 1})}
  end

  defp buffers(caches), do: for(%KeyValueCache{keys: keys, values: values} <- caches, do: {keys, values})
end
