defmodule Mlx.LM.Families.Llama4Text do
  @moduledoc false
  # Llama with other names, whose heads are normalised without weights, and of which some layers have no rotary positions.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain, Rope}

  @impl true
  def config(fields) do
    count = Fields.layers(fields, "num_hidden_layers")
    turned = Fields.list(fields, "no_rope_layers", count, List.duplicate(1, count))
    rope = Rope.read(fields, Plain.head_size(fields), traditional: true, scaling: false)
    eps = Fields.positive(fields, "rms_norm_eps")
    norm = if Fields.flag(fields, "use_qk_norm", false), do: [norm: {:rms_without_weight, eps}], else: []

    Plain.config(fields,
      attention: [bias: false, output_bias: false] ++ norm,
      block: &[attention: [rope: if(Enum.at(turned, &1) not in [0, false], do: rope)]],
      feed_forward: [hidden: Fields.size(fields, "intermediate_size_mlp"), bias: false]
    )
  end

  @impl true
  def names, do: [{"feed_forward", "mlp"}, {"output", "lm_head"}]
end
