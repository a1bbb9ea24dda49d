defmodule Mlx.LM.Families.Qwen2 do
  @moduledoc false
  # Queries, keys and values have biases.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Plain, Rope}

  @theta 1_000_000.0

  @impl true
  def config(fields), do: Plain.config(fields, attention: attention(fields))

  @doc "What is different in the attention."
  @spec attention(Mlx.LM.Families.Fields.t()) :: keyword()
  def attention(fields) do
    rope = Rope.read(fields, Plain.head_size(fields), base: Rope.theta(fields, @theta))
    [bias: true, output_bias: false, rope: rope]
  end
end
