defmodule Mlx.LM.Families.OlmoHybrid do
  @moduledoc false
  # The gated delta rule in three of four layers, which are normalised before each part, and attention in the others, which
  # are normalised after it. The queries, keys and values of the delta rule have matrices and convolutions of their own in
  # files.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.GatedDelta
  alias Mlx.LM.Families.{Fields, Plain, Qwen3Next, Rope, Tensors}

  @part ~r/^(.*\.linear_attn)\.([qkv])_(proj|conv1d)\.(\w+)$/

  @impl true
  def config(fields) do
    default = &if(rem(&1, 4) == 3, do: "full_attention", else: "linear_attention")
    kinds = Plain.layer_types(fields, ["full_attention", "linear_attention"], default)
    delta = [norms: :pre, mixers: [linear_attn: {GatedDelta, delta(fields)}]]
    size = Plain.head_size(fields)

    Plain.config(fields,
      norms: :post,
      attention: [
        norm: {:rms, Fields.positive(fields, "rms_norm_eps")},
        norm_of: :whole,
        rope: Rope.read(fields, size, base: Rope.theta(fields), traditional: false, scaling: false)
      ],
      feed_forward: [bias: false],
      block: &if(Enum.at(kinds, &1) == "full_attention", do: [], else: delta)
    )
  end

  defp delta(fields) do
    fields
    |> Qwen3Next.delta()
    |> Keyword.merge(
      eps: Fields.positive(fields, "layer_norm_epsilon", 1.0e-5),
      negative: Fields.flag(fields, "linear_allow_neg_eigval", false)
    )
  end

  @impl true
  def names do
    [
      {"linear_attn.g_proj", "linear_attn.in_proj_z"},
      {"linear_attn.a_proj", "linear_attn.in_proj_a"},
      {"linear_attn.b_proj", "linear_attn.in_proj_b"},
      {"linear_attn.o_proj", "linear_attn.out_proj"},
      {"linear_attn.o_norm", "linear_attn.norm"}
    ]
  end

  # The rows of the three are put together, packed ones too.
  @impl true
  def tensors(tensors, _fields) do
    {parts, others} = tensors |> Tensors.kernels() |> Enum.split_with(fn {name, _array} -> name =~ @part end)

    parts
    |> Enum.group_by(&joined(elem(&1, 0)))
    |> Map.new(fn {name, parts} ->
      {name, parts |> Enum.sort_by(&order(elem(&1, 0))) |> Enum.map(&elem(&1, 1)) |> Mlx.concatenate()}
    end)
    |> Map.merge(Map.new(others))
  end

  @impl true
  def saved(path, array, fields) do
    case Regex.run(~r/^(.*\.linear_attn)\.(in_proj_qkv|conv1d)\.(\w+)$/, path) do
      [_all, layer, joint, part] ->
        delta = Qwen3Next.delta(fields)
        keys = delta[:key_heads] * delta[:key_size]
        kind = if joint == "conv1d", do: "conv1d", else: "proj"
        parts = Mlx.split(array, [keys, 2 * keys])
        for {name, rows} <- Enum.zip(~w(q k v), parts), do: {"#{layer}.#{name}_#{kind}.#{part}", rows}

      nil ->
        [{path, array}]
    end
  end

  defp joined(name) do
    case Regex.run(@part, name) do
      [_all, path, _part, "proj", array] -> "#{path}.in_proj_qkv.#{array}"
      [_all, path, _part, "conv1d", array] -> "#{path}.conv1d.#{array}"
    end
  end

  defp order(name), do: Enum.find_index(["q", "k", "v"], &(&1 == Enum.at(Regex.run(@part, name), 2)))
end
