defmodule Mlx.LM.Families.GLM do
  @moduledoc false
  # Neighbouring features rotate, and the matrices of the gate and the other factor are one in the file.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Plain, Rope}

  @impl true
  def config(fields) do
    size = Plain.head_size(fields)
    rope = Rope.read(fields, size, dims: Rope.partial(fields, size), traditional: true, scaling: false)
    Plain.config(fields, attention: [output_bias: false, rope: rope], feed_forward: [joined: true])
  end
end
