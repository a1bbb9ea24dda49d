defmodule Mlx.LM.Families.Qwen3 do
  @moduledoc false
  # The heads of queries and keys are normalised.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain}

  @impl true
  def config(fields), do: Plain.config(fields, attention: attention(fields))

  @doc "What is different in the attention."
  @spec attention(Fields.t()) :: keyword()
  def attention(fields), do: [norm: {:rms, Fields.positive(fields, "rms_norm_eps")}]
end
