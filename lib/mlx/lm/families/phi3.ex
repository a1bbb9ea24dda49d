defmodule Mlx.LM.Families.Phi3 do
  @moduledoc false
  # The matrices of q, k and v, and those of the gate and the other factor, are one in the file.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain, Rope}

  @impl true
  def config(fields) do
    fields =
      fields
      |> Fields.put_new("max_position_embeddings", 131_072)
      |> Fields.put_new("original_max_position_embeddings", 4096)

    size = Plain.head_size(fields)

    Plain.config(fields,
      attention: [joined: true, rope: Rope.read(fields, size, dims: Rope.partial(fields, size))],
      feed_forward: [joined: true]
    )
  end
end
