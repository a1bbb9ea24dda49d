defmodule Mlx.LM.Families.Qwen35 do
  @moduledoc false
  # As Qwen 3 Next, with the matrices of the gated delta rule apart, and with or without experts, which are stacks in
  # files.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain, Qwen3MoE, Qwen3Next, Rope}

  @theta 100_000.0
  @rotated 0.25

  @impl true
  def config(fields) do
    fields = rotated(fields)
    size = Plain.head_size(fields)
    experts? = Fields.count(fields, "num_experts", 0) > 0
    fields = Fields.put_new(fields, "tie_word_embeddings", false)

    Qwen3Next.config(fields,
      delta: [],
      rope: Rope.read(fields, size, dims: Rope.partial(fields, size, @rotated), base: Rope.theta(fields, @theta)),
      block: fn _layer -> if experts?, do: [feed_forward: Qwen3Next.experts(fields, true)], else: [] end
    )
  end

  # What `rope_parameters` says counts before what stands beside it.
  defp rotated(fields) do
    case Fields.under(fields, "rope_parameters") do
      nil -> fields
      nested -> %{fields | map: Map.merge(fields.map, Map.take(nested.map, ["rope_theta", "partial_rotary_factor"]))}
    end
  end

  @impl true
  def tensors(tensors, _fields), do: tensors |> Qwen3Next.converted() |> Qwen3MoE.unstacked(false)
end
