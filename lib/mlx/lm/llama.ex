defmodule Mlx.LM.Llama do
  @moduledoc """
  The Llama model (Touvron et al., "LLaMA: Open and Efficient Foundation Language Models", 2023):

      x = embedding(tokens)
      x = block(x)                    for each block
      logits = output(norm(x))
  """

  alias Mlx.Array
  alias Mlx.LM.{Embedding, KeyValueCache, Linear, Norm, Weights}
  alias Mlx.LM.Llama.{Block, Config}

  @enforce_keys [:config, :embedding, :blocks, :norm, :output]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          config: Config.t(),
          embedding: Embedding.t(),
          blocks: [Block.t()],
          norm: Norm.t(),
          output: Linear.t()
        }

  @doc "The model with the tensors of a GGUF file. Raises `Mlx.Error` where one is missing."
  @spec new(Weights.t(), Config.t()) :: t()
  def new(weights, config) do
    # A file without an output matrix uses that of the embedding.
    output = if Weights.has?(weights, "output.weight"), do: "output", else: "token_embd"

    # The largest matrix comes first: while it is made, there is no other beside it.
    %__MODULE__{
      config: config,
      output: Linear.new(weights, output),
      embedding: Embedding.new(weights, "token_embd"),
      blocks: for(index <- 0..(config.layers - 1), do: Block.new(weights, config, index)),
      norm: Norm.new(weights, "output_norm", config.norm_eps)
    }
  end

  @doc "Empty caches, one for each block."
  @spec caches(t()) :: [KeyValueCache.t()]
  def caches(%__MODULE__{blocks: blocks}), do: Enum.map(blocks, fn _block -> KeyValueCache.new() end)

  @doc """
  The logits `{batch, vocabulary}` of the token after `ids`, an array `{batch, length}`, and the caches.

  The positions of `ids` follow those that are in the caches.
  """
  @spec call(t(), Array.t(), [KeyValueCache.t()]) :: {Array.t(), [KeyValueCache.t()]}
  def call(%__MODULE__{} = model, ids, caches) do
    {caches, x} =
      Enum.map_reduce(Enum.zip(model.blocks, caches), Embedding.call(model.embedding, ids), fn {block, cache}, x ->
        {x, cache} = Block.call(block, x, cache)
        {cache, x}
      end)

    {batch, length, width} = x.shape
    last = x |> Mlx.slice([0, length - 1, 0], [batch, 1, width]) |> Mlx.squeeze(axes: [1])
    {Linear.call(model.output, Norm.call(model.norm, last)), caches}
  end
end
