defmodule Mlx.LM.Imported.CompressedTensors do
  @moduledoc false
  # Files of compressed-tensors. The tensors that a layer has, and their types, say what form it has; config.json says how
  # many bits packed integers have.
  #
  # | tensors | form |
  # | --- | --- |
  # | weight_packed of words | integers, plus half of their range, in words along the inputs |
  # | weight of s8 | integers |
  # | weight of 8-bit floats | Float8 |
  # | weight_packed of bytes, weight_global_scale | nvfp4, whose scale of a whole matrix is a divisor |
  # | weight_packed of bytes | mxfp4 |

  @behaviour Mlx.LM.Imported

  import Mlx.LM.Imported, only: [expect!: 4, fetch!: 3]

  alias Mlx.Array
  alias Mlx.Arguments.Given
  alias Mlx.LM.Imported.{Affine, Float4, Float8}

  @bits [2, 4, 8]
  @words [:s32, :u32]
  @floats [:f16, :bf16, :f32]

  @impl true
  def parts do
    ~w(.weight .weight_packed .weight_scale .weight_zero_point .weight_shape .weight_g_idx .weight_global_scale
       .input_scale .input_zero_point .input_global_scale .output_scale .output_zero_point .k_scale .v_scale)
  end

  @impl true
  def matrix(path, arrays, settings, type) do
    case arrays do
      %{"weight_packed" => %Array{type: :u8}} -> floats(path, arrays, type)
      %{"weight_packed" => packed} -> integers(path, packed, arrays, settings, type)
      %{"weight" => %Array{type: :s8} = weight} -> bytes(path, weight, arrays, type)
      %{"weight" => weight} when is_map_key(arrays, "weight_scale") -> float8(path, weight, arrays, settings, type)
      %{"weight" => weight} -> weight
      _scales_of_activations -> %{}
    end
  end

  defp floats(path, arrays, type) do
    scales = fetch!(arrays, path, "weight_scale")

    case arrays["weight_global_scale"] do
      nil ->
        Float4.matrix(path, "weight_packed", arrays["weight_packed"], scales, :mxfp4, 1, type)

      whole ->
        shape = if whole.shape == {}, do: {}, else: {1}
        divisor = whole |> expect!("#{path}.weight_global_scale", [:f32], shape) |> Mlx.reshape({}) |> Mlx.to_number()

        if not (is_number(divisor) and divisor > 0) do
          raise Mlx.Error, message: "#{path}.weight_global_scale is #{Given.text(divisor)}, expected a positive number"
        end

        Float4.matrix(path, "weight_packed", arrays["weight_packed"], scales, :nvfp4, 1 / divisor, type)
    end
  end

  defp float8(path, weight, arrays, settings, type) do
    Float8.numbers(path, weight, arrays["weight_scale"], block(settings), type)
  end

  defp block(settings) do
    case first(settings)["block_structure"] do
      [rows, columns] when is_integer(rows) and is_integer(columns) and rows > 0 and columns > 0 -> {rows, columns}
      _none -> {128, 128}
    end
  end

  # The weights of the first group of layers that has any.
  defp first(settings) do
    groups = if is_map(settings.map["config_groups"]), do: Enum.sort(settings.map["config_groups"]), else: []

    Enum.find_value(groups, %{}, fn {_name, group} ->
      if is_map(group) and is_map(group["weights"]), do: group["weights"]
    end)
  end

  defp integers(path, packed, arrays, settings, type) do
    %Array{shape: {rows, words}} = expect!(packed, "#{path}.weight_packed", @words, {:_, :_})
    bits = bits(path, words, arrays["weight_shape"], settings)
    scales = scales(path, arrays, rows)
    {_rows, groups} = scales.shape
    columns = div(words * 32, bits)
    if columns < groups, do: expect!(scales, "#{path}.weight_scale", @floats, {rows, "at most #{columns}"})
    zeros = zeros(path, arrays["weight_zero_point"], rows, groups, bits)

    case order(path, arrays["weight_g_idx"], columns, groups) do
      nil ->
        Affine.matrix(Affine.words(packed), bits, scales, zeros, type)

      order ->
        [each_scale, each_zero] = for array <- [scales, zeros], do: of_each(array, order)
        Affine.numbers(Affine.codes(packed, bits), each_scale, each_zero, type || scales.type)
    end
  end

  defp bits(path, words, nil, settings), do: known!(first(settings)["num_bits"] || 4, path, words)

  defp bits(path, words, shape, _settings) do
    case shape |> expect!("#{path}.weight_shape", [:s32, :s64], {2}) |> Mlx.to_list() do
      [_rows, columns] when columns > 0 and rem(words * 32, columns) == 0 ->
        known!(div(words * 32, columns), path, words)

      given ->
        raise Mlx.Error, message: "#{path}.weight_shape is #{Given.text(given)}, and a row has #{words} words"
    end
  end

  defp known!(bits, _path, _words) when bits in @bits, do: bits

  defp known!(bits, path, words) do
    raise Mlx.Error,
      message:
        "#{path}.weight_packed has #{words} words a row, of #{Given.text(bits)} bits, expected #{Enum.join(@bits, ", ")}"
  end

  # One scale for all rows is one for each.
  defp scales(path, arrays, rows) do
    case fetch!(arrays, path, "weight_scale") do
      %Array{shape: shape} = scale when shape in [{}, {1}] -> scale |> Mlx.reshape({1, 1}) |> Mlx.repeat(rows, axis: 0)
      %Array{shape: {^rows}} = scale -> Mlx.new_axis(scale, 1)
      scale -> scale
    end
    |> expect!("#{path}.weight_scale", @floats, {rows, :_})
  end

  # Zero points of packed integers are packed along the outputs, and have half of the range added too.
  defp zeros(_path, nil, _rows, _groups, bits), do: Bitwise.bsl(1, bits - 1)

  defp zeros(path, %Array{type: :s8} = zeros, rows, groups, bits) do
    zeros
    |> expect!("#{path}.weight_zero_point", [:s8], {rows, groups})
    |> Mlx.as_type(:f32)
    |> Mlx.add(Bitwise.bsl(1, bits - 1))
  end

  defp zeros(path, zeros, rows, groups, bits) do
    per_word = div(32, bits)

    zeros
    |> expect!("#{path}.weight_zero_point", @words, {div(rows + per_word - 1, per_word), groups})
    |> Mlx.transpose()
    |> Affine.codes(bits)
    |> Mlx.slice([0, 0], [groups, rows])
    |> Mlx.transpose()
  end

  defp order(_path, nil, _columns, _groups), do: nil

  defp order(path, array, columns, groups) do
    order = array |> expect!("#{path}.weight_g_idx", [:s32, :s64], {columns}) |> Mlx.to_list()
    size = div(columns + groups - 1, groups)

    cond do
      Enum.all?(order, &(&1 == -1)) or order == Enum.map(0..(columns - 1)//1, &div(&1, size)) ->
        nil

      Enum.all?(order, &(&1 in 0..(groups - 1)//1)) ->
        Mlx.array(order, type: :s32)

      true ->
        raise Mlx.Error,
          message: "#{path}.weight_g_idx names groups that are not there, expected numbers from 0 to #{groups - 1}"
    end
  end

  defp of_each(%Array{} = array, order), do: Mlx.take(array, order, axis: 1)
  defp of_each(number, _order), do: number

  # Signed bytes become unsigned ones, four in a word.
  defp bytes(path, weight, arrays, type) do
    %Array{shape: {rows, columns}} = expect!(weight, "#{path}.weight", [:s8], {:_, :_})
    scales = scales(path, arrays, rows)
    {_rows, groups} = scales.shape
    zeros = zeros(path, whole(arrays["weight_zero_point"], rows), rows, groups, 8)

    if rem(columns, 4) == 0 do
      codes = weight |> Mlx.contiguous() |> Mlx.bitcast(:u8) |> Mlx.bitwise_xor(Mlx.array(128, type: :u8))
      Affine.matrix(Mlx.bitcast(codes, :u32), 8, scales, zeros, type)
    else
      expect!(weight, "#{path}.weight", [:s8], {rows, "a multiple of 4"})
    end
  end

  defp whole(%Array{shape: shape} = zeros, rows) when shape in [{}, {1}],
    do: zeros |> Mlx.reshape({1, 1}) |> Mlx.repeat(rows, axis: 0)

  defp whole(%Array{shape: {rows}} = zeros, rows), do: Mlx.new_axis(zeros, 1)
  defp whole(zeros, _rows), do: zeros
end
