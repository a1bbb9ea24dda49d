defmodule Mlx.LM.Families.Cohere do
  @moduledoc false
  # One layer normalisation before both parts, which are added together; pairs of neighbours rotate.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain, Rope}

  @theta 8_000_000.0

  @impl true
  def config(fields) do
    eps = Fields.positive(fields, "layer_norm_eps", 1.0e-5)

    norm =
      if Fields.flag(fields, "use_qk_norm", false), do: [norm: {:layer_without_bias, eps}, norm_of: :each], else: []

    config(fields, attention: [rope: rope(fields, @theta)] ++ norm)
  end

  @doc "The configuration with what is different in a descendant."
  @spec config(Fields.t(), keyword()) :: Mlx.LM.Decoder.Config.t()
  def config(fields, different) do
    eps = Fields.positive(fields, "layer_norm_eps", 1.0e-5)
    kind = if Fields.flag(fields, "layer_norm_bias", false), do: :layer, else: :layer_without_bias
    scale = Fields.number(fields, "logit_scale", 0.0625)
    Plain.config(fields, [norm: {kind, eps}, norms: :parallel, logit_scale: scale, tied: true] ++ different)
  end

  @doc "The positions."
  @spec rope(Fields.t(), number()) :: Mlx.LM.Decoder.RoPE.t()
  def rope(fields, theta) do
    Rope.read(fields, Plain.head_size(fields), base: Rope.theta(fields, theta), traditional: true, scaling: false)
  end
end
