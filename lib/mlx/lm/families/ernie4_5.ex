defmodule Mlx.LM.Families.Ernie45 do
  @moduledoc false
  # Llama whose neighbouring features rotate, with one switch for all biases.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain, Rope}

  @impl true
  def config(fields), do: config(fields, [])

  @doc "The configuration with what is different in a descendant."
  @spec config(Fields.t(), keyword()) :: Mlx.LM.Decoder.Config.t()
  def config(fields, different) do
    bias = Fields.flag(fields, "use_bias", false)
    rope = Rope.read(fields, Plain.head_size(fields), traditional: true, scaling: false)
    own = [attention: [bias: bias, output_bias: bias, rope: rope], feed_forward: [bias: bias]]
    Plain.config(fields, own ++ different)
  end
end
