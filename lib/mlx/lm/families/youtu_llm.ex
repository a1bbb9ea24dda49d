defmodule Mlx.LM.Families.YoutuLLM do
  @moduledoc false
  # Llama with latent attention.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Latent, Plain, Rope}

  @theta 1_600_000.0

  @impl true
  def config(fields) do
    rope =
      Rope.read(fields, Fields.size(fields, "qk_rope_head_dim"),
        base: Rope.theta(fields, @theta),
        traditional: Fields.flag(fields, "rope_traditional", true)
      )

    attention = [keys: :k_b_proj, eps: Fields.positive(fields, "rms_norm_eps"), rope: rope, scale: nil]
    Plain.config(fields, mixers: [Latent.mixer(fields, attention)])
  end

  @impl true
  defdelegate joints, to: Latent

  @impl true
  def tensors(tensors, fields), do: Latent.apart(tensors, fields, Fields.size(fields, "v_head_dim"))
end
