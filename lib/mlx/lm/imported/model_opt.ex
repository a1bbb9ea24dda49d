defmodule Mlx.LM.Imported.ModelOpt do
  @moduledoc false
  # ModelOpt's files of nvfp4, whose scale of a whole matrix is a factor, and of fp8.

  @behaviour Mlx.LM.Imported

  import Mlx.LM.Imported, only: [expect!: 4, fetch!: 3]

  alias Mlx.LM.Families.Fields
  alias Mlx.LM.Imported.{Float4, Float8}

  @impl true
  def parts,
    do: [".weight", ".weight_scale", ".weight_scale_2", ".input_scale", ".k_scale", ".v_scale", ".pre_quant_scale"]

  @impl true
  def matrix(path, arrays, settings, type) do
    cond do
      arrays["pre_quant_scale"] -> Fields.refuse(settings, "quant_algo", "one without scales of inputs")
      arrays["weight_scale_2"] -> nvfp4(path, arrays, type)
      arrays["weight"] -> Float8.matrix(path, arrays, settings, type)
      true -> %{}
    end
  end

  defp nvfp4(path, arrays, type) do
    [weight, scales, whole] = for part <- ["weight", "weight_scale", "weight_scale_2"], do: fetch!(arrays, path, part)
    shape = if whole.shape == {}, do: {}, else: {1}
    factor = whole |> expect!("#{path}.weight_scale_2", [:f32], shape) |> Mlx.reshape({}) |> Mlx.to_number()
    Float4.matrix(path, "weight", weight, scales, :nvfp4, factor, type)
  end
end
