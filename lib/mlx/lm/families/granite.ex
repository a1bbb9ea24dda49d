defmodule Mlx.LM.Families.Granite do
  @moduledoc false
  # Llama with four factors.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain}

  @impl true
  def config(fields), do: config(fields, [])

  @doc "The configuration with what is different in a descendant: options of `Plain.config/2`, and `:rope`."
  @spec config(Fields.t(), keyword()) :: Mlx.LM.Decoder.Config.t()
  def config(fields, different) do
    {rope, different} = Keyword.split(different, [:rope])

    own = [
      attention: [scale: Fields.number(fields, "attention_multiplier")] ++ rope,
      embedding_scale: Fields.number(fields, "embedding_multiplier"),
      residual_scale: Fields.number(fields, "residual_multiplier"),
      logit_scale: 1 / Fields.positive(fields, "logits_scaling")
    ]

    Plain.config(fields, own ++ different)
  end

  # The scales of these matrices are too small for some modes.
  @impl true
  def packing(path) do
    if path == "lm_head" or String.ends_with?(path, ["self_attn.o_proj", "mlp.down_proj"]),
      do: [group_size: 64, bits: 8],
      else: true
  end
end
