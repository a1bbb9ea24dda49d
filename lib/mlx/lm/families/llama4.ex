defmodule Mlx.LM.Families.Llama4 do
  @moduledoc false
  # Three of four layers see their chunk of positions alone, and normalise rotated heads; the fourth has no rotary
  # positions, and queries that grow. Some layers have experts, whose inputs are weighed, and a shared one.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Experts
  alias Mlx.LM.Families.{Fields, Plain, Rope, Tensors}

  @impl true
  def config(fields) do
    rope = Rope.read(fields, Plain.head_size(fields), traditional: true)
    step = Fields.size(fields, "interleave_moe_layer_step", 1)
    norm = if Fields.flag(fields, "use_qk_norm", false), do: [norm: {:rms_without_weight, 1.0e-6}, norm_of: :rotated]
    chunked = [chunk: Fields.size(fields, "attention_chunk_size", 8192), rope: rope] ++ (norm || [])
    whole = [rope: nil, temperature: temperature(fields)]

    Plain.config(fields,
      block: fn layer ->
        forward = if rem(layer, step) == step - 1, do: experts(fields), else: dense(fields)
        [attention: if(rem(layer + 1, 4) == 0, do: whole, else: chunked), feed_forward: forward]
      end,
      tied: false
    )
  end

  defp temperature(fields) do
    if fields.map["attn_temperature_tuning"] not in [0, false] do
      {Fields.number(fields, "attn_scale", 0.1), Fields.size(fields, "floor_scale", 8192), 1}
    end
  end

  defp dense(fields), do: [hidden: Fields.size(fields, "intermediate_size_mlp"), bias: false]

  defp experts(fields) do
    hidden = Fields.size(fields, "intermediate_size")

    {Experts,
     width: Fields.size(fields, "hidden_size"),
     experts: Fields.size(fields, "num_local_experts"),
     top: Fields.size(fields, "num_experts_per_tok", 1),
     hidden: hidden,
     scores: :sigmoid_of_chosen,
     weigh: :inputs,
     shared: hidden}
  end

  @impl true
  def names do
    stacks = for matrix <- ~w(gate up down), do: {"experts.#{matrix}_proj", "switch_mlp.#{matrix}_proj"}

    [
      {"feed_forward.router", "mlp.gate"},
      {"feed_forward", "mlp"} | for({theirs, ours} <- stacks, do: {"feed_forward." <> theirs, "mlp." <> ours})
    ]
  end

  # In files of Hugging Face the experts are transposed stacks, in which the gate and the other factor are one.
  @impl true
  def tensors(tensors, _fields) do
    Tensors.replace(tensors, ~r/\.mlp\.(experts\.gate_up_proj|switch_mlp\.down_proj)$/, fn name, array ->
      Tensors.stacks(String.replace(name, ".switch_mlp.", ".experts."), Mlx.matrix_transpose(array))
    end)
  end
end
