defmodule Mlx.LM.Families.Qwen3Next do
  @moduledoc false
  # Three layers with the gated delta rule to one with gated attention; experts with a shared one. The rows of the joined
  # matrices lie group by group, by heads of keys. In Hugging Face's files the weights of normalisations are one less.

  use Mlx.LM.Family

  alias Mlx.Array
  alias Mlx.LM.Decoder.{Config, Experts, GatedDelta}
  alias Mlx.LM.Families.{Fields, Plain, Qwen3, Qwen3MoE, Rope, Tensors}

  @interval 4
  @shifted ~r/\.(input_layernorm|post_attention_layernorm|q_norm|k_norm)\.weight$|^model\.norm\.weight$/

  @impl true
  def config(fields) do
    sparse? = &Qwen3MoE.experts?(fields, &1)

    config(fields,
      delta: [joined: true],
      rope: Rope.read(fields, Plain.head_size(fields), dims: Rope.partial(fields, Plain.head_size(fields))),
      block: &if(sparse?.(&1), do: [feed_forward: experts(fields)], else: [])
    )
  end

  @doc """
  The configuration with these rotary positions, and with what is different in the gated delta rule and in blocks.
  """
  @spec config(Fields.t(), keyword()) :: Config.t()
  def config(fields, [{:delta, delta}, {:rope, rope}, {:block, block}]) do
    delta = [mixers: [linear_attn: {GatedDelta, delta(fields) ++ delta}]]
    attention? = attention?(fields)

    Plain.config(fields,
      attention: [gated: true, rope: rope] ++ Qwen3.attention(fields),
      block: &(block.(&1) ++ if(attention?.(&1), do: [], else: delta))
    )
  end

  defp attention?(fields) do
    interval = Fields.size(fields, "full_attention_interval", @interval)
    default = &if(rem(&1 + 1, interval) == 0, do: "full_attention", else: "linear_attention")
    kinds = Plain.layer_types(fields, ["full_attention", "linear_attention"], default)
    &(Enum.at(kinds, &1) == "full_attention")
  end

  @doc "The options of the gated delta rule."
  @spec delta(Fields.t()) :: keyword()
  def delta(fields) do
    {heads, key_heads} = {Fields.size(fields, "linear_num_value_heads"), Fields.size(fields, "linear_num_key_heads")}

    if rem(heads, key_heads) != 0 do
      Fields.refuse(fields, "linear_num_key_heads", "a divisor of the #{heads} heads of values")
    end

    [
      width: Fields.size(fields, "hidden_size"),
      heads: heads,
      size: Fields.size(fields, "linear_value_head_dim"),
      key_heads: key_heads,
      key_size: Fields.size(fields, "linear_key_head_dim"),
      kernel: Fields.size(fields, "linear_conv_kernel_dim", 4),
      eps: Fields.positive(fields, "rms_norm_eps")
    ]
  end

  @doc "The layer of experts."
  @spec experts(Fields.t(), boolean()) :: {module(), keyword()}
  def experts(fields, normalize \\ false) do
    {Experts,
     width: Fields.size(fields, "hidden_size"),
     experts: Fields.size(fields, "num_experts"),
     top: Fields.size(fields, "num_experts_per_tok"),
     hidden: Fields.size(fields, "moe_intermediate_size"),
     normalize: Fields.flag(fields, "norm_topk_prob", normalize),
     shared: Fields.size(fields, "shared_expert_intermediate_size"),
     shared_gate: true}
  end

  @impl true
  def tensors(tensors, fields) do
    tensors
    |> converted()
    |> Tensors.stack_experts()
    |> Tensors.replace(~r/\.linear_attn\.in_proj_(qkvz|ba)\./, fn name, array ->
      {groups, lengths} = groups(fields, if(name =~ "qkvz", do: "in_proj_qkvz", else: "in_proj_ba"))
      [{name, part_by_part(array, groups, lengths)}]
    end)
  end

  @impl true
  def joints do
    for name <- ["in_proj_qkvz", "in_proj_ba"] do
      {name, [name],
       fn [array], fields ->
         {groups, lengths} = groups(fields, name)
         group_by_group(array, groups, lengths)
       end}
    end
  end

  # The number of groups, and the rows of each part in one.
  defp groups(fields, name) do
    [key_heads, heads, key_size, size] =
      for key <- ~w(linear_num_key_heads linear_num_value_heads linear_key_head_dim linear_value_head_dim),
          do: Fields.size(fields, key)

    share = div(heads, key_heads)

    {key_heads, if(name == "in_proj_qkvz", do: [key_size, key_size, share * size, share * size], else: [share, share])}
  end

  @doc "The tensors as MLX's files have them, without layers that predict further tokens."
  @spec converted(Mlx.LM.Family.tensors()) :: Mlx.LM.Family.tensors()
  def converted(tensors) do
    tensors = Map.reject(tensors, fn {name, _array} -> name =~ ~r/(^|\.)mtp\./ end)

    if Tensors.their_kernels?(tensors) do
      tensors |> Tensors.kernels() |> Tensors.replace(@shifted, fn name, array -> [{name, Mlx.add(array, 1)}] end)
    else
      tensors
    end
  end

  # The rows of each group are parts of these lengths. Afterwards those of the first part of all groups come first.
  defp part_by_part(%Array{shape: {rows, columns}} = array, groups, lengths) do
    if rows == groups * Enum.sum(lengths) do
      array
      |> Mlx.reshape({groups, div(rows, groups), columns})
      |> Mlx.split(lengths |> Enum.scan(&+/2) |> Enum.drop(-1), axis: 1)
      |> Enum.map(&Mlx.reshape(&1, {groups * Mlx.axis_size(&1, 1), columns}))
      |> Mlx.concatenate()
    else
      array
    end
  end

  defp part_by_part(array, _groups, _lengths), do: array

  # The rows in the order of the file again.
  defp group_by_group(%Array{shape: {rows, columns}} = array, groups, lengths) do
    array
    |> Mlx.split(lengths |> Enum.map(&(groups * &1)) |> Enum.scan(&+/2) |> Enum.drop(-1), axis: 0)
    |> Enum.map(&Mlx.reshape(&1, {groups, div(Mlx.axis_size(&1, 0), groups), columns}))
    |> Mlx.concatenate(axis: 1)
    |> Mlx.reshape({rows, columns})
  end
end
