defmodule Mlx.LM.Families.HunyuanV1Dense do
  @moduledoc false
  # The heads of queries and keys are normalised after their rotation, whose base grows by a power of `alpha`.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.RoPE
  alias Mlx.LM.Families.{Fields, Plain, Rope}

  @impl true
  def config(fields), do: Plain.config(fields, attention: attention(fields))

  @doc "What is different in the attention."
  @spec attention(Fields.t()) :: keyword()
  def attention(fields) do
    scaling = Fields.under(fields, "rope_scaling")
    alpha = if scaling, do: Fields.positive(scaling, "alpha", 1.0), else: 1.0
    rope = RoPE.new(Plain.head_size(fields), base: Rope.theta(fields), scaling: %{type: "ntk_alpha", alpha: alpha})
    eps = Fields.positive(fields, "rms_norm_eps")
    norm = if Fields.flag(fields, "use_qk_norm", true), do: [norm: {:rms, eps}, norm_of: :rotated], else: []
    [rope: rope] ++ norm
  end

  @impl true
  def names, do: [{"query_layernorm", "q_norm"}, {"key_layernorm", "k_norm"}]
end
