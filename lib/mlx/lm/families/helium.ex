defmodule Mlx.LM.Families.Helium do
  @moduledoc false
  # Llama whose neighbouring features rotate, without a bias of the output.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Plain, Rope}

  @impl true
  def config(fields) do
    rope = Rope.read(fields, Plain.head_size(fields), traditional: true, scaling: false)
    Plain.config(fields, attention: [output_bias: false, rope: rope])
  end
end
