defmodule Mlx.LM.Imported.AWQ do
  @moduledoc false
  # AWQ's files of version "gemm": codes {inputs, outputs / 8} and zero points {groups, outputs / 8}, of which a word holds
  # eight outputs in the order 0, 2, 4, 6, 1, 3, 5, 7; scales {groups, outputs}.

  @behaviour Mlx.LM.Imported

  import Mlx.LM.Imported, only: [expect!: 4, fetch!: 3]

  alias Mlx.Array
  alias Mlx.LM.Families.Fields
  alias Mlx.LM.Imported.Affine

  # The place of each output in its word.
  @order [0, 4, 1, 5, 2, 6, 3, 7]
  @bits 4
  @words [:s32, :u32]
  @floats [:f16, :bf16, :f32]

  @impl true
  def parts, do: [".qweight", ".qzeros", ".scales"]

  @impl true
  def matrix(_path, %{"scales" => _} = arrays, _settings, _type) when not is_map_key(arrays, "qweight"), do: nil

  def matrix(path, arrays, settings, type) do
    if Fields.size(settings, "bits", @bits) != @bits, do: Fields.refuse(settings, "bits", "#{@bits}")

    if Fields.text(settings, "version", "gemm") |> String.downcase() != "gemm" do
      Fields.refuse(settings, "version", ~s("gemm"))
    end

    weight = expect!(fetch!(arrays, path, "qweight"), "#{path}.qweight", @words, {:_, :_})
    %Array{shape: {inputs, words}} = weight
    scales = expect!(fetch!(arrays, path, "scales"), "#{path}.scales", @floats, {:_, words * 8})
    {groups, _outputs} = scales.shape
    if rem(inputs, 8) != 0, do: expect!(weight, "#{path}.qweight", @words, {"a multiple of 8", words})
    if groups == 0 or inputs < groups, do: expect!(scales, "#{path}.scales", @floats, {"at most #{inputs}", words * 8})
    packed = weight |> Affine.codes(@bits, @order) |> Mlx.transpose() |> Affine.packed(@bits)
    Affine.matrix(packed, @bits, transposed(scales), zeros(arrays["qzeros"], path, groups, words), type)
  end

  defp zeros(nil, _path, _groups, _words), do: 8

  defp zeros(array, path, groups, words) do
    array |> expect!("#{path}.qzeros", @words, {groups, words}) |> Affine.codes(@bits, @order) |> transposed()
  end

  defp transposed(array), do: array |> Mlx.transpose() |> Mlx.contiguous()
end
