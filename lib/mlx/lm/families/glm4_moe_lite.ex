defmodule Mlx.LM.Families.GLM4MoELite do
  @moduledoc false
  # DeepSeek V3 with the epsilon of all normalisations in those of the attention.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{DeepseekV3, Fields, GLM4MoE}

  @impl true
  defdelegate packing(path), to: Mlx.LM.Families.GLM4MoE

  @impl true
  def config(fields), do: DeepseekV3.config(fields, eps: Fields.positive(fields, "rms_norm_eps"))

  @impl true
  defdelegate names, to: GLM4MoE

  @impl true
  defdelegate tensors(tensors, fields), to: DeepseekV3
end
