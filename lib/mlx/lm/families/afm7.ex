defmodule Mlx.LM.Families.AFM7 do
  @moduledoc false
  # Llama with other names, whose heads are normalised after the rotation; keys and values are rounded to whole numbers of a
  # step; the last layers take the keys and values of the last one before them, and stand in a list of their own in files.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain, Rope}

  @head_eps 1.0e-5

  @impl true
  def config(fields) do
    fields = renamed(fields)
    first = first(fields)
    size = Plain.head_size(fields)

    Plain.config(fields,
      attention: [
        bias: false,
        output_bias: false,
        norm: {:rms, @head_eps},
        norm_of: :rotated,
        rope: Rope.read(fields, size, base: Rope.theta(fields, 50_000.0), traditional: true, scaling: false)
      ],
      block: fn layer ->
        cond do
          layer == first - 1 -> [attention: [joined: true, rounded: true, gives: :last_keys]]
          layer < first -> [attention: [joined: true, rounded: true]]
          true -> [attention: [takes: :last_keys]]
        end
      end,
      feed_forward: [bias: false],
      tied: true
    )
  end

  defp renamed(fields) do
    width = Fields.size(fields, "hidden_dim")

    own = %{
      "hidden_size" => width,
      "num_hidden_layers" => Fields.layers(fields, "num_layers"),
      "num_attention_heads" => Fields.size(fields, "num_heads"),
      "num_key_value_heads" => Fields.size(fields, "num_kv_heads"),
      "intermediate_size" => trunc(width * Fields.positive(fields, "hidden_dim_scale_factor", 3.25))
    }

    %{fields | map: fields.map |> Map.delete("head_dim") |> Map.merge(own)} |> Fields.put_new("rms_norm_eps", 1.0e-5)
  end

  # The first layer that takes what another has.
  defp first(fields) do
    count = Fields.layers(fields, "num_layers")
    first = count - Fields.count(fields, "num_kv_reuse_layers", 0)
    if first > 0, do: first, else: Fields.refuse(fields, "num_kv_reuse_layers", "fewer than the #{count} layers")
  end

  @impl true
  def names do
    [
      {"model.embedding", "model.embed_tokens"},
      {"model.output_norm", "model.norm"},
      {"self_attn.out_proj", "self_attn.o_proj"},
      {"self_attn.quant_key_scale", "self_attn.rounding.keys"},
      {"self_attn.quant_value_scale", "self_attn.rounding.values"}
    ]
  end

  @impl true
  def tensors(tensors, fields) do
    first = first(fields)

    Map.new(tensors, fn {name, array} ->
      case Regex.run(~r/^model\.kv_reuse_layers\.(\d+)\.(.*)$/, name) do
        [_all, layer, rest] -> {"model.layers.#{first + String.to_integer(layer)}.#{rest}", array}
        nil -> {name, array}
      end
    end)
  end

  @impl true
  def saved(path, array, fields) do
    first = first(fields)

    with [_all, layer, rest] <- Regex.run(~r/^model\.layers\.(\d+)\.(.*)$/, path),
         layer when layer >= first <- String.to_integer(layer) do
      [{"model.kv_reuse_layers.#{layer - first}.#{rest}", array}]
    else
      _own -> [{path, array}]
    end
  end
end
