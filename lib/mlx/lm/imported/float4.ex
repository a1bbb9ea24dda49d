defmodule Mlx.LM.Imported.Float4 do
  @moduledoc false
  # Matrices of 4-bit floats, two in a byte and the lower bits first, with a scale of one byte for each group of columns: 16 of
  # E4M3 (nvfp4), or 32 of powers of two (mxfp4). MLX has the same forms, but for a scale of the whole matrix.

  import Mlx.LM.Imported, only: [expect!: 4]

  alias Mlx.{Array, Type}
  alias Mlx.LM.Imported

  @sizes [nvfp4: 16, mxfp4: 32]

  @doc "The matrix. `factor` is that of the whole matrix, a number; numbers are of the type `type`, or bf16 for nil."
  @spec matrix(String.t(), String.t(), Array.t(), Array.t(), :nvfp4 | :mxfp4, float(), Type.t() | nil) ::
          Imported.matrix()
  def matrix(path, name, weight, scales, mode, factor, type) do
    %Array{shape: {rows, bytes}} = expect!(weight, "#{path}.#{name}", [:u8], {:_, :_})
    size = @sizes[mode]

    if rem(bytes * 2, size) != 0 or rem(bytes, 4) != 0 do
      expect!(weight, "#{path}.#{name}", [:u8], {rows, "a multiple of #{div(size, 2)}"})
    end

    expect!(scales, "#{path}.weight_scale", [:u8], {rows, div(bytes * 2, size)})
    words = weight |> Mlx.contiguous() |> Mlx.bitcast(:u32)

    if factor == 1 do
      %{weight: words, scales: scales, biases: nil}
    else
      words
      |> Mlx.dequantize(scales, nil, mode: mode, group_size: size, bits: 4, type: :f32)
      |> Mlx.multiply(factor)
      |> Mlx.as_type(type || :bf16)
    end
  end
end
