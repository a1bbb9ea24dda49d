defmodule Mlx.LM.Families.Apertus do
  @moduledoc false
  # Normalised heads, and a plain feed-forward layer with the activation xIELU.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.PlainFeedForward
  alias Mlx.LM.Families.{Fields, Plain, Qwen3, Tensors}

  @impl true
  def config(fields) do
    Plain.config(fields,
      attention: [bias: false, output_bias: false] ++ Qwen3.attention(fields),
      feed_forward:
        {PlainFeedForward,
         width: Fields.size(fields, "hidden_size"),
         hidden: Fields.size(fields, "intermediate_size"),
         bias: Fields.flag(fields, "mlp_bias", false),
         activation: "xielu"}
    )
  end

  @impl true
  def names do
    [
      {"attention_layernorm", "input_layernorm"},
      {"feedforward_layernorm", "post_attention_layernorm"},
      {"mlp.up_proj", "mlp.fc1"},
      {"mlp.down_proj", "mlp.fc2"}
    ]
  end

  @impl true
  def tensors(tensors, _fields), do: Tensors.replace(tensors, ~r/act_fn\.\w+$/, &[{&1, Mlx.reshape(&2, {})}])
end
