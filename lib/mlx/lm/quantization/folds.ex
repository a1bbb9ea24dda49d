defmodule Mlx.LM.Quantization.Folds do
  @moduledoc false
  # Where features of a block may be divided by scales, and the columns of the matrices that read them be multiplied by the
  # same, so that the block computes what it did.
  #
  #   | divided | multiplied |
  #   | --- | --- |
  #   | the weight of a normalisation | all layers that read it |
  #   | the rows of a factor of a gated feed-forward layer | its last matrix |
  #   | the rows of the first matrix of a plain one, whose activation is relu | its last matrix |
  #   | the rows of the values of attention, whose heads have values of their own | the output's matrix |
  #
  # A normalisation has no fold where anything else reads it, too.

  alias Mlx.LM.Decoder.{Attention, Experts, GatedFeedForward, PlainFeedForward, ShiftedLayerNorm, ShiftedRMSNorm}
  alias Mlx.LM.Decoder.{SwitchFeedForward, SwitchLinear}
  alias Mlx.NN
  alias Mlx.NN.{LayerNorm, Linear, RMSNorm}

  @norms [RMSNorm, LayerNorm, ShiftedRMSNorm, ShiftedLayerNorm]
  @whole [Linear, SwitchLinear]

  @typedoc "The path of what is divided, and those of the layers that are multiplied, in a block."
  @type t :: {String.t(), [String.t(), ...]}

  @doc "The folds of a block."
  @spec of(map()) :: [t()]
  def of(%{branches: steps} = block) do
    layers = Map.new(NN.layers(block))
    branches = steps |> Enum.filter(&is_list/1) |> Enum.concat() |> Enum.flat_map(&flat/1)
    inner = for {name, part} <- block, is_struct(part), fold <- inside(part), do: named(fold, to_string(name))
    through = for {:through, name} <- steps, do: name
    after_parts = for %{after: name} <- branches, do: name

    outer =
      for {norm, branches} <- Enum.group_by(branches, & &1[:before]),
          norm != nil and norm not in through and norm not in after_parts,
          readers = readers(block, branches),
          do: {to_string(norm), readers}

    Enum.filter(outer ++ inner, &possible?(&1, layers))
  end

  # A branch whose part is a list of branches gives its own input to them.
  defp flat(%{part: parts} = branch) when is_list(parts) do
    for inner <- Enum.flat_map(parts, &flat/1), do: Map.put_new(inner, :before, branch[:before])
  end

  defp flat(branch), do: [branch]

  defp named({from, into}, name), do: {"#{name}.#{from}", Enum.map(into, &"#{name}.#{&1}")}

  # The paths of all that reads what the branches do, or nil where that is not known.
  defp readers(block, branches) do
    lists = for %{part: name} <- branches, do: {name, reading(block[name])}

    if Enum.all?(lists, fn {_name, list} -> list != nil end) do
      for {name, list} <- lists, reader <- list, do: "#{name}.#{reader}"
    end
  end

  defp reading(%Attention{indexer: indexer} = part) do
    chosen = if indexer, do: ["indexer.q_proj", "indexer.k_proj"], else: []
    there(part, [:q_proj, :k_proj, :v_proj, :qkv_proj, :g_proj]) ++ chosen
  end

  defp reading(%GatedFeedForward{} = part), do: there(part, [:gate_proj, :up_proj, :gate_up_proj])
  defp reading(%PlainFeedForward{}), do: ["fc1"]

  defp reading(%Experts{identities: 0, fc1_latent_proj: nil} = part) do
    shared =
      if part.shared_expert, do: for(reader <- reading(part.shared_expert), do: "shared_expert.#{reader}"), else: []

    experts = for reader <- there(part.switch_mlp, [:gate_proj, :up_proj]), do: "switch_mlp.#{reader}"
    there(part, [:gate, :shared_expert_gate, :shared_mix]) ++ experts ++ shared
  end

  defp reading(_other), do: nil

  defp there(part, names), do: for(name <- names, Map.get(part, name), do: to_string(name))

  defp inside(%GatedFeedForward{norm: nil, gate_up_proj: nil, activation: activation}), do: gated(activation)
  defp inside(%PlainFeedForward{act_fn: nil, activation: "relu"}), do: [{"fc1", ["fc2"]}]

  defp inside(%Experts{} = part) do
    shared = if part.shared_expert, do: inside(part.shared_expert), else: []
    Enum.map(inside(part.switch_mlp), &named(&1, "switch_mlp")) ++ Enum.map(shared, &named(&1, "shared_expert"))
  end

  defp inside(%SwitchFeedForward{gate_proj: %{}, activation: activation}), do: gated(activation)

  defp inside(%Attention{heads: heads, key_value_heads: heads, gives: nil, takes: nil, shares: nil, clip: nil} = part) do
    norms = [part.value_norm, part.o_norm, part.head_output_norm, part.rounding]
    linear? = part.v_proj && Enum.all?(norms, &is_nil/1)
    if linear?, do: [{"v_proj", ["o_proj"]}], else: []
  end

  defp inside(_other), do: []

  # Those that multiply by the factor, as it is.
  defp gated("clipped_swiglu"), do: []
  defp gated({name, _bound}) when name in ["clipped_swiglu", "limited_silu", "bounded_silu", "situ"], do: []
  defp gated(_activation), do: [{"up_proj", ["down_proj"]}]

  defp possible?({from, into}, layers) do
    into != [] and Enum.all?(into, &whole?(layers[&1])) and (whole?(layers[from]) or norm?(layers[from]))
  end

  defp whole?(%kind{}), do: kind in @whole
  defp whole?(_other), do: false

  defp norm?(%kind{weight: weight}), do: kind in @norms and weight != nil
  defp norm?(_other), do: false

  @doc "The block with features of a fold divided by scales."
  @spec apply(map(), t(), Mlx.Array.t()) :: map()
  def apply(block, {from, into}, scales) do
    NN.map_layers(block, fn path, layer ->
      cond do
        path == from -> divided(layer, scales)
        path in into -> %{layer | weight: Mlx.multiply(layer.weight, Mlx.as_type(scales, layer.weight.type))}
        true -> layer
      end
    end)
  end

  defp divided(%kind{} = norm, scales) when kind in [ShiftedRMSNorm, ShiftedLayerNorm] do
    shift = Map.get(norm, :shift, 1)
    weight = norm.weight |> Mlx.add(shift) |> Mlx.divide(scales) |> Mlx.subtract(shift) |> Mlx.as_type(norm.weight.type)
    with_bias(%{norm | weight: weight}, scales)
  end

  defp divided(%kind{} = norm, scales) when kind in [RMSNorm, LayerNorm] do
    with_bias(%{norm | weight: quotient(norm.weight, scales)}, scales)
  end

  defp divided(layer, scales) do
    with_bias(%{layer | weight: quotient(layer.weight, Mlx.new_axis(scales, -1))}, scales)
  end

  defp with_bias(%{bias: %Mlx.Array{} = bias} = layer, scales), do: %{layer | bias: quotient(bias, scales)}
  defp with_bias(layer, _scales), do: layer

  defp quotient(array, scales), do: array |> Mlx.divide(scales) |> Mlx.as_type(array.type)
end
