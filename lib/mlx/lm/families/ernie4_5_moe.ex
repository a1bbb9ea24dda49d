defmodule Mlx.LM.Families.Ernie45MoE do
  @moduledoc false
  # ERNIE 4.5 with experts in some layers. Layers that predict further tokens are left out.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Experts
  alias Mlx.LM.Families.{Ernie45, Fields, Tensors}

  @dropped ~r/mtp_(block|linear_proj|hidden_norm|emb_norm)\.|e_score_correction_bias/

  @impl true
  def config(fields) do
    last = Fields.layers(fields, "num_hidden_layers") - 1
    range = Fields.count(fields, "moe_layer_start_index", 0)..Fields.count(fields, "moe_layer_end_index", last)//1
    interval = Fields.size(fields, "moe_layer_interval", 1)

    Ernie45.config(fields,
      block: &if(&1 in range and rem(&1 + 1, interval) == 0, do: [feed_forward: experts(fields)], else: [])
    )
  end

  defp experts(fields) do
    hidden =
      case Fields.count(fields, "moe_intermediate_size", 0) do
        0 -> Fields.size(fields, "intermediate_size")
        own -> own
      end

    shared = Fields.count(fields, "moe_num_shared_experts", 0)
    act = Fields.choice(fields, "moe_gate_act", ["softmax", "sigmoid"], "softmax")

    {Experts,
     width: Fields.size(fields, "hidden_size"),
     experts: Fields.size(fields, "moe_num_experts"),
     top: Fields.size(fields, "moe_k", 1),
     hidden: hidden,
     scores: if(act == "softmax", do: :softmax, else: :sigmoid),
     normalize: true,
     bias: Fields.flag(fields, "use_bias", false),
     shared: if(shared > 0, do: shared * hidden),
     shared_bias: Fields.flag(fields, "use_bias", false)}
  end

  @impl true
  def names, do: [{"mlp.shared_experts", "mlp.shared_expert"}]

  @impl true
  def tensors(tensors, _fields) do
    tensors |> Map.reject(fn {name, _array} -> name =~ @dropped end) |> Tensors.stack_experts()
  end
end
