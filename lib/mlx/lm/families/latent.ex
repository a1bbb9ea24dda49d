defmodule Mlx.LM.Families.Latent do
  @moduledoc false
  # Latent attention as configurations describe it, and the matrices of its keys and values as files have them.

  alias Mlx.LM.Decoder.LatentAttention
  alias Mlx.LM.Family
  alias Mlx.LM.Families.{Fields, Rope, Tensors}

  @joined ~r/\.kv_b_proj\.(weight|scales|biases)$/

  @doc "The mixer of each block. `different` are options of `Mlx.LM.Decoder.LatentAttention`."
  @spec mixer(Fields.t(), keyword()) :: {atom(), {module(), keyword()}}
  def mixer(fields, different \\ []) do
    {plain, rotated} = {Fields.size(fields, "qk_nope_head_dim"), Fields.size(fields, "qk_rope_head_dim")}

    options =
      [
        width: Fields.size(fields, "hidden_size"),
        heads: Fields.size(fields, "num_attention_heads"),
        plain_size: plain,
        rotated_size: rotated,
        latent: Fields.size(fields, "kv_lora_rank"),
        query_latent: Fields.size(fields, "q_lora_rank", nil),
        bias: Fields.flag(fields, "attention_bias", false),
        scale: scale(fields) / :math.sqrt(plain + rotated)
      ]
      |> Keyword.merge(different)
      |> Keyword.put_new_lazy(:value_size, fn -> Fields.size(fields, "v_head_dim") end)
      |> Keyword.put_new_lazy(:rope, fn -> Rope.read(fields, rotated, traditional: true) end)

    {:self_attn, {LatentAttention, options}}
  end

  # Scores grow with the length for which the positions are stretched.
  defp scale(fields) do
    settings = Fields.under(fields, "rope_scaling") || Fields.under(fields, "rope_parameters")
    share = if settings, do: Fields.number(settings, "mscale_all_dim", 0), else: 0
    factor = if share != 0, do: Fields.positive(settings, "factor"), else: 1
    if factor > 1, do: (0.1 * share * :math.log(factor) + 1) ** 2, else: 1
  end

  @doc "The tensors with the matrices of keys, `k_b_proj`, and values apart by heads, as they are packed."
  @spec apart(Family.tensors(), Fields.t(), pos_integer()) :: Family.tensors()
  def apart(tensors, fields, value_size) do
    sizes = sizes(fields, value_size)

    Tensors.replace(tensors, @joined, fn name, array ->
      [keys, values] = split(array, sizes)

      [
        {String.replace(name, ".kv_b_proj.", ".k_b_proj."), keys},
        {String.replace(name, ".kv_b_proj.", ".unembed_out."), values}
      ]
    end)
  end

  @doc "The matrix that `apart/3` takes apart, as `c:Mlx.LM.Family.joints/0` says it."
  @spec joints() :: [Family.joint()]
  def joints do
    join = fn [keys, values], _fields -> [keys, values] |> Mlx.concatenate(axis: 1) |> Mlx.flatten(axes: [0, 1]) end
    [{"kv_b_proj", ["k_b_proj", "unembed_out"], join}]
  end

  @doc "The tensors with the transposed matrices of keys, `embed_q`, and those of values by heads, unpacked."
  @spec embedded(Family.tensors(), Fields.t(), pos_integer()) :: Family.tensors()
  def embedded(tensors, fields, value_size) do
    sizes = sizes(fields, value_size)
    latent = Fields.size(fields, "kv_lora_rank")

    for {name, array} <- tensors,
        not packing?(name),
        pair <- parts(name, array, tensors, sizes, latent),
        into: %{},
        do: pair
  end

  defp packing?(name), do: name =~ ~r/\.kv_b_proj\.(scales|biases)$/

  defp parts(name, array, tensors, sizes, latent) do
    case Regex.run(~r/^(.*)\.kv_b_proj\.weight$/, name) do
      [_all, path] ->
        [keys, values] = path |> unpacked(array, tensors, latent) |> split(sizes)
        [{"#{path}.embed_q.weight", Mlx.matrix_transpose(keys)}, {"#{path}.unembed_out.weight", values}]

      nil ->
        [{name, array}]
    end
  end

  defp unpacked(path, weight, tensors, latent) do
    case {tensors["#{path}.kv_b_proj.scales"], tensors["#{path}.kv_b_proj.biases"]} do
      {nil, _biases} ->
        weight

      {scales, biases} ->
        group_size = div(latent, Mlx.axis_size(scales, 1))
        Mlx.dequantize(weight, scales, biases, bits: div(Mlx.axis_size(weight, 1) * 32, latent), group_size: group_size)
    end
  end

  defp sizes(fields, value_size) do
    {Fields.size(fields, "num_attention_heads"), Fields.size(fields, "qk_nope_head_dim"), value_size}
  end

  defp split(array, {heads, keys, values}) do
    case array.shape do
      {rows, columns} when rows == heads * (keys + values) ->
        array |> Mlx.reshape({heads, keys + values, columns}) |> Mlx.split([keys], axis: 1)

      shape ->
        raise Mlx.Error,
          message:
            "kv_b_proj.weight has the shape #{inspect(shape)}, expected #{heads * (keys + values)} rows: " <>
              "#{keys} for keys and #{values} for values of #{heads} heads"
    end
  end
end
