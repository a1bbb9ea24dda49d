defmodule Mlx.LM.Families.GraniteMoEHybrid do
  @moduledoc false
  # Granite with a state space in most blocks, with or without experts, of which all tokens take a shared one.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.{Experts, Mamba2}
  alias Mlx.LM.Families
  alias Mlx.LM.Families.{Fields, Granite, GraniteMoE, Plain, Rope, Tensors}

  @times {0.001, 100.0}

  @impl true
  def config(fields) do
    kinds = Plain.layer_types(fields, ["mamba", "attention"])
    rope = if Fields.text(fields, "position_embedding_type", "rope") != "nope", do: rope(fields)

    Granite.config(fields,
      rope: rope,
      block: &if(Enum.at(kinds, &1) == "mamba", do: [mixers: [mamba: {Mamba2, state_space(fields)}]], else: []),
      feed_forward: if(experts?(fields), do: {Experts, experts(fields)}, else: [])
    )
  end

  defp experts?(fields), do: Fields.count(fields, "num_local_experts", 0) > 0

  defp rope(fields) do
    Rope.read(fields, Plain.head_size(fields), base: Rope.theta(fields), traditional: false, scaling: false)
  end

  defp state_space(fields) do
    bias = Fields.flag(fields, "mamba_proj_bias", false)

    [
      width: Fields.size(fields, "hidden_size"),
      heads: Fields.size(fields, "mamba_n_heads"),
      size: Fields.size(fields, "mamba_d_head"),
      groups: Fields.size(fields, "mamba_n_groups", 1),
      state: Fields.size(fields, "mamba_d_state"),
      kernel: Fields.size(fields, "mamba_d_conv", 4),
      bias: bias,
      output_bias: bias,
      kernel_bias: Fields.flag(fields, "mamba_conv_bias", true),
      times: Families.Mamba2.times(fields, @times),
      norm: Fields.positive(fields, "rms_norm_eps")
    ]
  end

  defp experts(fields) do
    GraniteMoE.experts(fields) ++ [shared: Fields.size(fields, "shared_intermediate_size"), shared_joined: true]
  end

  @impl true
  def names do
    [
      {"shared_mlp.input_linear", "mlp.shared_expert.gate_up_proj"},
      {"shared_mlp.output_linear", "mlp.shared_expert.down_proj"}
      | GraniteMoE.names()
    ]
  end

  # Without experts the shared one is the only one.
  @impl true
  def tensors(tensors, fields) do
    tensors = tensors |> Tensors.kernels() |> GraniteMoE.tensors(fields)

    if experts?(fields) do
      tensors
    else
      Tensors.replace(tensors, ~r/\.mlp\.shared_expert\./, fn name, array ->
        [path, part] = String.split(name, ".shared_expert.")

        case part do
          "gate_up_proj." <> part ->
            [gate, up] = Mlx.split(array, 2, axis: 0)
            [{"#{path}.gate_proj.#{part}", gate}, {"#{path}.up_proj.#{part}", up}]

          part ->
            [{"#{path}.#{part}", array}]
        end
      end)
    end
  end
end
