defmodule Mlx.LM.Families.BitNet do
  @moduledoc false
  # Llama with normalisations before the last matrices of both parts, and matrices of the three values -1, 0 and 1 with one
  # factor: four rows in a row of bytes. Two bits with a scale and a bias are exactly that.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain, Tensors}

  @group 64

  @impl true
  def config(fields) do
    norm = {:rms, Fields.positive(fields, "rms_norm_eps")}
    Plain.config(fields, attention: [output_norm: norm], feed_forward: [norm: norm, activation: "relu2"])
  end

  @impl true
  def names, do: [{"self_attn.attn_sub_norm", "self_attn.o_norm"}, {"mlp.ffn_sub_norm", "mlp.norm"}]

  @impl true
  def tensors(tensors, fields) do
    divides? = divides?(fields)

    Tensors.replace(tensors, ~r/_proj\.(weight|weight_scale)$/, fn name, array ->
      path = String.replace(name, ~r/\.weight(_scale)?$/, "")

      case tensors do
        %{^name => %{type: :u8}} -> packed(path, array, factor(tensors["#{path}.weight_scale"], divides?))
        _tensors -> if String.ends_with?(name, "weight_scale"), do: [], else: [{name, array}]
      end
    end)
  end

  # By the kind of the layers, the factor multiplies or divides.
  defp divides?(fields) do
    settings = Fields.under(fields, "quantization_config")
    settings != nil and Fields.text(settings, "linear_class", "bitlinear") != "autobitlinear"
  end

  defp factor(nil, _divides?), do: Mlx.array([1.0])
  defp factor(scale, true), do: Mlx.divide(1, scale)
  defp factor(scale, false), do: scale

  defp packed(path, %{shape: {rows, columns}} = bytes, scale) do
    values = Mlx.concatenate(for shift <- [0, 2, 4, 6], do: bytes |> Mlx.right_shift(shift) |> Mlx.bitwise_and(3))
    weight = values |> Mlx.as_type(:u32) |> Mlx.reshape({4 * rows, div(columns, 16), 16})
    places = Mlx.arange(0, 32, 2, type: :u32)
    words = weight |> Mlx.left_shift(places) |> Mlx.sum(axes: [-1]) |> Mlx.as_type(:u32)
    scales = scale |> Mlx.reshape({1, 1}) |> Mlx.broadcast({4 * rows, div(columns, @group)}) |> Mlx.contiguous()
    [{"#{path}.weight", words}, {"#{path}.scales", scales}, {"#{path}.biases", Mlx.negate(scales)}]
  end

  @impl true
  def own_form?(path, fields) do
    settings = Fields.under(fields, "quantization_config")
    settings != nil and settings.map["quant_method"] == "bitnet" and String.ends_with?(path, "_proj")
  end

  # The bytes and the factor again.
  @impl true
  def saved(path, array, fields) do
    [layer, part] = String.split(path, ~r/\.(?=\w+$)/)

    case if(own_form?(layer, fields), do: {part, array.type}) do
      {"weight", :u32} ->
        [{path, bytes(array)}]

      {"scales", _type} ->
        [{"#{layer}.weight_scale", array |> Mlx.slice([0, 0], [1, 1]) |> Mlx.flatten() |> factor(divides?(fields))}]

      {"biases", _type} ->
        []

      _other ->
        [{path, array}]
    end
  end

  defp bytes(%{shape: {rows, words}} = array) do
    places = Mlx.arange(0, 32, 2, type: :u32)
    values = array |> Mlx.new_axis(-1) |> Mlx.right_shift(places) |> Mlx.bitwise_and(3)
    quarters = values |> Mlx.as_type(:u8) |> Mlx.reshape({4, div(rows, 4), 16 * words}) |> Mlx.unstack()

    quarters
    |> Enum.with_index(&Mlx.left_shift(&1, Mlx.array(2 * &2, type: :u8)))
    |> Enum.reduce(&Mlx.bitwise_or/2)
  end
end
