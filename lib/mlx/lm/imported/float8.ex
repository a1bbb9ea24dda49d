defmodule Mlx.LM.Imported.Float8 do
  @moduledoc false
  # Matrices of 8-bit floats (E4M3) with one scale, one for each row, or one for each block of rows and columns. They become
  # numbers; but with scales that are powers of two, one for 32 columns of one row or of 32 rows, MLX has the form (mxfp8).

  @behaviour Mlx.LM.Imported

  import Mlx.LM.Imported, only: [expect!: 4]

  alias Mlx.{Array, Type}
  alias Mlx.LM.Imported
  alias Mlx.LM.Families.Fields

  @block [128, 128]
  @scales [:f16, :bf16, :f32, :u8]

  @impl true
  def parts,
    do: [".weight", ".weight_scale_inv", ".weight_scale", ".input_scale", ".input_scale_ub", ".activation_scale"]

  @impl true
  def matrix(path, arrays, settings, type) do
    case {arrays["weight"], arrays["weight_scale_inv"] || arrays["weight_scale"]} do
      {nil, nil} -> %{}
      {weight, nil} -> weight && if(weight.type == :u8, do: missing!(path), else: weight)
      {nil, _scale} -> raise Mlx.Error, message: "#{path}.weight is missing beside its scale"
      {weight, scale} -> numbers(path, weight, scale, block(settings), type)
    end
  end

  defp missing!(path), do: raise(Mlx.Error, message: "#{path}.weight_scale is missing beside 8-bit floats")

  defp block(settings) do
    with [rows, columns] <- Fields.list(settings, "weight_block_size", 2, @block),
         true <- is_integer(rows) and is_integer(columns) and rows > 0 and columns > 0 do
      {rows, columns}
    else
      _other -> Fields.refuse(settings, "weight_block_size", "two positive integers")
    end
  end

  @doc "The matrix of 8-bit floats `{rows, columns}`."
  @spec numbers(String.t(), Array.t(), Array.t(), {pos_integer(), pos_integer()}, Type.t() | nil) ::
          Imported.matrix()
  def numbers(path, weight, scale, block, type) do
    %Array{shape: {rows, columns}} = expect!(weight, "#{path}.weight", [:u8], {:_, :_})
    if scale.type not in @scales, do: expect!(scale, "the scale of #{path}.weight", @scales, scale.shape)

    case exponents(scale, rows, columns) do
      nil ->
        type = type || if(scale.type == :u8, do: :bf16, else: scale.type)
        scale = scale |> widened() |> of_each(path, rows, columns, block)
        weight |> Mlx.from_fp8(type: :f32) |> Mlx.multiply(scale) |> Mlx.as_type(type)

      scales ->
        %{weight: weight |> Mlx.contiguous() |> Mlx.bitcast(:u32), scales: scales, biases: nil}
    end
  end

  @group 32

  # The scales of MLX's form, or nil.
  defp exponents(%Array{type: :u8, shape: shape} = scale, rows, columns) when rem(columns, @group) == 0 do
    groups = div(columns, @group)

    cond do
      shape == {rows, groups} ->
        scale

      shape == {div(rows + @group - 1, @group), groups} ->
        scale |> Mlx.repeat(@group, axis: 0) |> Mlx.slice([0, 0], [rows, groups])

      true ->
        nil
    end
  end

  defp exponents(_scale, _rows, _columns), do: nil

  # Scales of one byte are exponents of two.
  defp widened(%Array{type: :u8} = scale) do
    Mlx.pow(Mlx.array(2.0), Mlx.subtract(Mlx.as_type(scale, :f32), 127.0))
  end

  defp widened(scale), do: Mlx.as_type(scale, :f32)

  defp of_each(%Array{shape: shape} = scale, _path, _rows, _columns, _block) when shape in [{}, {1}, {1, 1}] do
    Mlx.reshape(scale, {1, 1})
  end

  defp of_each(%Array{shape: {rows}} = scale, _path, rows, _columns, _block), do: Mlx.new_axis(scale, 1)
  defp of_each(%Array{shape: {rows, 1}} = scale, _path, rows, _columns, _block), do: scale

  defp of_each(scale, path, rows, columns, {high, wide}) do
    shape = {div(rows + high - 1, high), div(columns + wide - 1, wide)}

    scale
    |> expect!("the scale of #{path}.weight", @scales, shape)
    |> Mlx.repeat(high, axis: 0)
    |> Mlx.repeat(wide, axis: 1)
    |> Mlx.slice([0, 0], [rows, columns])
  end
end
