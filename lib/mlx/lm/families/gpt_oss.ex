defmodule Mlx.LM.Families.GptOss do
  @moduledoc false
  # Every second layer has a window; heads have sinks; experts have biases and bounded gates. In the files of OpenAI the
  # matrices of the gate and the other factor are one, row by row in turn.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Experts
  alias Mlx.LM.Families.{Fields, Plain, Tensors}

  @impl true
  def config(fields) do
    windows = Plain.windows(fields, &(rem(&1, 2) == 0))

    Plain.config(fields,
      tied: false,
      attention: [sinks: true, bias: true, output_bias: true],
      block: &[attention: [window: Enum.at(windows, &1)]],
      feed_forward:
        {Experts,
         width: Fields.size(fields, "hidden_size"),
         experts: Fields.size(fields, "num_local_experts"),
         top: Fields.size(fields, "num_experts_per_tok"),
         hidden: Fields.size(fields, "intermediate_size"),
         scores: :softmax_of_chosen,
         gate_bias: true,
         bias: true,
         activation: "clipped_swiglu"}
    )
  end

  @impl true
  def names, do: [{"mlp.router", "mlp.gate"}, {"mlp.experts", "mlp.switch_mlp"}]

  # The choice of experts needs more bits than what they do.
  @impl true
  def packing(path), do: if(String.ends_with?(path, "mlp.gate"), do: [group_size: 64, bits: 8], else: true)

  @impl true
  def tensors(tensors, _fields) do
    Tensors.replace(tensors, ~r/switch_mlp\.(gate_up|down)_proj_?/, fn name, array ->
      [_all, path, matrix, part] = Regex.run(~r/^(.*)\.(gate_up|down)_proj_?(.*)$/, name)
      {part, array} = part(part, array)

      case matrix do
        "down" ->
          [{"#{path}.down_proj.#{part}", array}]

        "gate_up" ->
          for {factor, first} <- [gate: 0, up: 1],
              do: {"#{path}.#{factor}_proj.#{part}", every_second(part, array, first)}
      end
    end)
  end

  defp part("blocks", array) do
    words = Mlx.bitcast(array, :u32)
    {"weight", Mlx.flatten(words, axes: [-2, -1])}
  end

  defp part("bias", array), do: {"bias", array}
  defp part("scales", array), do: {"scales", array}
  defp part("." <> part, array), do: {part, array}
  defp part("", array), do: {"weight", Mlx.matrix_transpose(array)}

  defp every_second(part, array, first) do
    axis = if part == "bias", do: -1, else: -2
    axis = tuple_size(array.shape) + axis
    Mlx.take(array, Mlx.arange(first, elem(array.shape, axis), 2, type: :s32), axis: axis)
  end
end
