defmodule Mlx.LM.Families.NemotronNAS do
  @moduledoc false
  # Llama, each block of which says what its attention and its feed-forward layer are: of which size, a linear layer in the
  # place of one, or nothing.

  use Mlx.LM.Family

  alias Mlx.LM.Activation
  alias Mlx.LM.Decoder.Replacement
  alias Mlx.LM.Families.{Fields, Plain}

  @theta 500_000.0
  @multiple 256

  @impl true
  def config(fields) do
    fields = Fields.put_new(fields, "rope_theta", @theta)
    wanted = settings(fields)

    config =
      Plain.config(fields,
        block: fn layer ->
          {attention, forward} = Enum.at(wanted, layer)
          [attention: attention(fields, attention), feed_forward: feed_forward(fields, forward)]
        end
      )

    blocks =
      for {block, {attention, forward}} <- Enum.zip(config.blocks, wanted),
          do: block |> changed(fields, :self_attn, attention) |> changed(fields, :mlp, forward)

    %{config | blocks: blocks}
  end

  defp settings(fields) do
    count = Fields.layers(fields, "num_hidden_layers")
    blocks = fields.map["block_configs"]

    if not (is_list(blocks) and length(blocks) == count and Enum.all?(blocks, &is_map/1)) do
      Fields.refuse(fields, "block_configs", "a list of #{count} objects, one for each layer")
    end

    for block <- blocks do
      own = %{fields | map: block, under: ["block_configs" | fields.under]}
      {part(own, "attention"), part(own, "ffn")}
    end
  end

  defp part(fields, key), do: Fields.under(fields, key) || Fields.refuse(fields, key, "an object")

  defp kind(part) do
    cond do
      Fields.flag(part, "no_op", false) -> :none
      Fields.flag(part, "replace_with_linear", false) -> :linear
      true -> :own
    end
  end

  defp attention(fields, part) do
    heads = Fields.size(fields, "num_attention_heads")
    group = if kind(part) == :own, do: Fields.size(part, "n_heads_in_group"), else: 1
    if rem(heads, group) != 0, do: Fields.refuse(part, "n_heads_in_group", "a divisor of the #{heads} heads")
    [key_value_heads: div(heads, group)]
  end

  defp feed_forward(fields, part) do
    factor = if kind(part) == :own, do: Fields.positive(part, "ffn_mult"), else: 1
    size = trunc(2 * Float.round(factor / 1, 6) * Fields.size(fields, "hidden_size") / 3)
    activation = Fields.choice(fields, "hidden_act", Activation.names(), "silu")
    [hidden: div(size + @multiple - 1, @multiple) * @multiple, activation: activation]
  end

  defp changed({steps, parts}, fields, name, part) do
    case kind(part) do
      :own ->
        {steps, parts}

      :none ->
        without(steps, parts, name)

      :linear ->
        {steps,
         Keyword.put(parts, name, {Replacement, width: Fields.size(fields, "hidden_size"), bias: bias(fields, name)})}
    end
  end

  defp without(steps, parts, name) do
    {gone, kept} = Enum.split_with(steps, fn [branch] -> branch.part == name end)
    {kept, Keyword.drop(parts, [name | for([branch] <- gone, do: branch.before)])}
  end

  defp bias(fields, :self_attn), do: Fields.flag(fields, "attention_bias", false)
  defp bias(fields, :mlp), do: Fields.flag(fields, "mlp_bias", false)
end
