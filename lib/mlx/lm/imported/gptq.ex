defmodule Mlx.LM.Imported.GPTQ do
  @moduledoc false
  # GPTQ's files: codes {inputs * bits / 32, outputs}, of which a word holds inputs that follow each other; zero points
  # {groups, outputs * bits / 32}; scales {groups, outputs}; and g_idx {inputs}, the group of each input.
  #
  # Files of the first format, which most are, hold zero points that are one less.

  @behaviour Mlx.LM.Imported

  import Mlx.LM.Imported, only: [expect!: 4, fetch!: 3]

  alias Mlx.Array
  alias Mlx.LM.Families.Fields
  alias Mlx.LM.Imported.Affine

  @bits [2, 4, 8]
  @words [:s32, :u32]
  @floats [:f16, :bf16, :f32]

  @impl true
  def parts, do: [".qweight", ".qzeros", ".scales", ".g_idx"]

  @impl true
  def matrix(_path, arrays, _settings, _type) when not is_map_key(arrays, "qweight"), do: nil

  def matrix(path, arrays, settings, type) do
    bits = Fields.size(settings, "bits", 4)
    if bits not in @bits, do: Fields.refuse(settings, "bits", "one of #{Enum.join(@bits, ", ")}")
    weight = expect!(arrays["qweight"], "#{path}.qweight", @words, {:_, :_})
    %Array{shape: {words, outputs}} = weight
    inputs = div(words * 32, bits)
    scales = expect!(fetch!(arrays, path, "scales"), "#{path}.scales", @floats, {:_, outputs})
    {groups, _outputs} = scales.shape
    if groups == 0 or inputs < groups, do: expect!(scales, "#{path}.scales", @floats, {"at most #{inputs}", outputs})
    zeros = zeros(arrays["qzeros"], path, {groups, div(outputs * bits, 32)}, bits, settings)
    packed = weight |> Affine.words() |> transposed()

    case order(arrays["g_idx"], path, inputs, groups) do
      nil -> Affine.matrix(packed, bits, transposed(scales), zeros, type)
      order -> permuted(packed, bits, transposed(scales), zeros, order, type || scales.type)
    end
  end

  # A symmetric file may have no zero points: they are in the middle.
  defp zeros(nil, _path, _shape, bits, _settings), do: Bitwise.bsl(1, bits - 1)

  defp zeros(array, path, shape, bits, settings) do
    more = if Fields.text(settings, "checkpoint_format", "gptq") == "gptq_v2", do: 0, else: 1
    array |> expect!("#{path}.qzeros", @words, shape) |> Affine.codes(bits) |> transposed() |> Mlx.add(more)
  end

  # The group of each input, or nil where groups follow each other.
  defp order(nil, _path, _inputs, _groups), do: nil

  defp order(array, path, inputs, groups) do
    order = array |> expect!("#{path}.g_idx", [:s32, :s64, :u32], {inputs}) |> Mlx.to_list()
    size = div(inputs + groups - 1, groups)

    if not Enum.all?(order, &(&1 in 0..(groups - 1)//1)) do
      raise Mlx.Error,
        message: "#{path}.g_idx names groups that are not there, expected numbers from 0 to #{groups - 1}"
    end

    if order != Enum.map(0..(inputs - 1)//1, &div(&1, size)), do: Mlx.array(order, type: :s32)
  end

  defp permuted(packed, bits, scales, zeros, order, type) do
    [scales, zeros] = for array <- [scales, zeros], do: of_each(array, order)
    Affine.numbers(Affine.codes(packed, bits), scales, zeros, type)
  end

  defp of_each(%Array{} = array, order), do: Mlx.take(array, order, axis: 1)
  defp of_each(number, _order), do: number

  defp transposed(array), do: array |> Mlx.transpose() |> Mlx.contiguous()
end
