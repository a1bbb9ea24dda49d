defmodule Mlx.LM.Families.DeepseekV32 do
  @moduledoc false
  # DeepSeek V3 whose positions see only the best positions before them, by an indexer.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{DeepseekV3, Fields, GLM4MoE, Rope}

  @impl true
  defdelegate packing(path), to: Mlx.LM.Families.GLM4MoE

  @impl true
  def config(fields), do: DeepseekV3.config(fields, indexer: indexer(fields, false))

  @doc "The options of the indexer. Whether neighbouring features are pairs has a default."
  @spec indexer(Fields.t(), boolean()) :: keyword()
  def indexer(fields, neighbours?) do
    size = Fields.size(fields, "index_head_dim", 128)
    traditional = Fields.flag(fields, "indexer_rope_interleave", neighbours?)

    [
      width: Fields.size(fields, "hidden_size"),
      query_latent: Fields.size(fields, "q_lora_rank"),
      heads: Fields.size(fields, "index_n_heads", 64),
      size: size,
      top: Fields.size(fields, "index_topk", 2048),
      rope: Rope.read(fields, size, dims: Fields.size(fields, "qk_rope_head_dim"), traditional: traditional)
    ]
  end

  @impl true
  defdelegate names, to: GLM4MoE

  @impl true
  defdelegate tensors(tensors, fields), to: DeepseekV3
end
