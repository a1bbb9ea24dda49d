defmodule Mlx.IO.GGMLBlocks do
  @moduledoc false
  # The arrays that blocks of ggml's quantized formats become, in the form that was chosen (`Mlx.IO.GGUFForm`). What the
  # blocks hold is told by `Mlx.IO.GGMLFormat`.

  use Mlx.Operators

  alias Mlx.Array
  alias Mlx.IO.{GGMLFields, GGMLFormat, GGMLType, GGUFForm}

  @doc """
  What a binary of whole blocks holds, in arrays with a row for each block: the numbers, or words, scales and, in the mode
  `:affine`, biases.
  """
  @spec unpack(GGMLType.t(), binary(), GGUFForm.t()) :: [Array.t()]
  def unpack(type, data, form) do
    {_numbers, size} = GGMLType.block(type)
    blocks = Mlx.from_binary(data, {div(byte_size(data), size), size}, :u8)

    case GGUFForm.of(form, type) do
      :dense -> [dense(type, blocks, form)]
      :quantized -> quantized(GGMLFormat.fetch!(type), type, blocks, form)
      {:requantized, options} -> type |> dense(blocks, form) |> Mlx.quantize(options) |> Tuple.to_list()
    end
  end

  # Numbers are computed in :f32, where nothing but the addition of a shift is rounded.
  defp dense(type, %Array{shape: {count, _size}} = blocks, form) do
    {%Array{shape: {_count, size}} = levels, scales, offset} = GGMLFormat.content(type, blocks)
    %Array{shape: {_blocks, groups}} = scales
    levels = Mlx.reshape(Mlx.as_type(levels, :f32), {count, groups, div(size, groups)})

    numbers =
      case offset do
        {:zero, zero} -> (levels - of_group(zero)) * of_group(scales)
        {:shift, shift} -> levels * of_group(scales) + of_group(shift)
      end

    numbers |> Mlx.reshape({count, size}) |> Mlx.as_type(GGUFForm.type(form, type))
  end

  defp of_group(%Array{} = of_groups), do: Mlx.new_axis(of_groups, 2)
  defp of_group(number), do: number * 1.0

  defp quantized(%{mode: {_mode, codes, scales}, bits: bits}, _type, blocks, _form) do
    [packed(GGMLFields.integers(codes, blocks), bits), GGMLFields.scale_bytes(scales, blocks)]
  end

  defp quantized(%{bits: bits, group: group}, type, blocks, form) do
    {%Array{shape: {count, size}} = levels, scales, offset} = GGMLFormat.content(type, blocks)

    biases =
      case offset do
        {:zero, zero} -> -(scales * zero)
        {:shift, shift} -> shift
      end

    # A scale of a whole block is that of all its groups.
    of_groups = &(&1 |> Mlx.broadcast({count, div(size, group)}) |> Mlx.as_type(GGUFForm.type(form, type)))
    [packed(levels, bits), of_groups.(scales), of_groups.(biases)]
  end

  # The low bits of bytes one after the other, the first in the lowest bits: as MLX packs integers. Neighbours are moved
  # together, then pairs, and then fours, so that the bits of 8 are the first bytes of 64 bits.
  defp packed(%Array{shape: {count, size}} = levels, bits) do
    [8, 16, 32]
    |> Enum.reduce(Mlx.bitcast(levels, :u64), fn width, words ->
      held = bits * div(width, 8)
      low = Integer.pow(2, held) - 1
      (words &&& lanes(width, low)) ||| (words >>> (width - held) &&& lanes(width, low * Integer.pow(2, held)))
    end)
    |> Mlx.bitcast(:u8)
    |> Mlx.reshape({count * div(size, 8), 8})
    |> Mlx.slice([0, 0], [count * div(size, 8), bits])
    |> Mlx.reshape({count, div(size * bits, 8)})
    |> Mlx.bitcast(:u32)
  end

  # The mask of 64 bits with a number at every second place of this width.
  defp lanes(width, number) do
    places = for place <- 0..(div(64, 2 * width) - 1), do: number * Integer.pow(2, place * 2 * width)
    Mlx.array(Enum.sum(places), type: :u64)
  end
end
