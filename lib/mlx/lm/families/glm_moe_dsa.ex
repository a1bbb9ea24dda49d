defmodule Mlx.LM.Families.GLMMoEDSA do
  @moduledoc false
  # DeepSeek V3.2, in whose indexer neighbouring features rotate.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{DeepseekV3, DeepseekV32, GLM4MoE}

  @impl true
  defdelegate packing(path), to: Mlx.LM.Families.GLM4MoE

  @impl true
  def config(fields), do: DeepseekV3.config(fields, indexer: DeepseekV32.indexer(fields, true))

  @impl true
  defdelegate names, to: GLM4MoE

  @impl true
  defdelegate tensors(tensors, fields), to: DeepseekV3
end
