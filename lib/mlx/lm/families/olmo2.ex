defmodule Mlx.LM.Families.Olmo2 do
  @moduledoc false
  # Normalisations stand after the parts; all queries, and all keys, are normalised together.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain}

  @impl true
  def config(fields), do: Plain.config(fields, norms: :post, attention: attention(fields))

  @doc "What is different in the attention."
  @spec attention(Fields.t()) :: keyword()
  def attention(fields), do: [norm: {:rms, Fields.positive(fields, "rms_norm_eps")}, norm_of: :whole]
end
