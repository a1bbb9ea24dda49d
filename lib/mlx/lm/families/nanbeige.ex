defmodule Mlx.LM.Families.Nanbeige do
  @moduledoc false
  # Llama whose stream goes through all blocks several times.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain, Rope}

  @most 64
  # What other models of this type do, which no file says how.
  @unknown ~w(enable_double_loop_split loop_share_kv enable_depth_attention)

  @impl true
  def config(fields) do
    for key <- @unknown, Fields.flag(fields, key, false), do: Fields.refuse(fields, key, "false")
    size = Plain.head_size(fields)

    Plain.config(fields,
      attention: [rope: Rope.read(fields, size, traditional: false)],
      loops: loops(fields),
      loop_norm: not Fields.flag(fields, "skip_loop_final_norm", false)
    )
  end

  # Files of models that were trained with a loss after each time have a weight for all but the last.
  defp loops(fields) do
    case fields.map["loop_loss_weights"] do
      [_ | _] = weights when length(weights) < @most -> length(weights) + 1
      none when none in [nil, []] -> Fields.size(fields, "num_loops", 1) |> at_most(fields)
      _other -> Fields.refuse(fields, "loop_loss_weights", "a list of less than #{@most} numbers")
    end
  end

  defp at_most(count, fields),
    do: if(count <= @most, do: count, else: Fields.refuse(fields, "num_loops", "at most #{@most}"))
end
