defmodule Mlx.LM.Quantization.Dynamic do
  @moduledoc false
  # Gives more bits to the layers that feel rounding most, until a model has so many bits for a weight.
  #
  # The slope of the divergence from the whole model, at the matrices with few bits, says to first order how much less it would
  # be with a matrix of more bits: the sum of slope * (few - more). A layer counts by that for each of its numbers.

  alias Mlx.{NN, Tree}
  alias Mlx.LM.Decoder
  alias Mlx.LM.Decoder.SwitchLinear
  alias Mlx.LM.Quantization.{Distillation, Packing}
  alias Mlx.NN.{Embedding, Linear}

  @bits [2, 3, 4, 5, 6, 8]

  @doc "The table of its own options."
  @spec options() :: keyword()
  def options do
    [
      high_bits: {nil, {:optional, {:integer, 3, 8}}},
      bits_per_weight: {5.0, {:number, 2, 16}},
      gradient_checkpoint: {false, :boolean}
    ]
  end

  @doc "The decoder with quantized layers."
  @spec quantize(Decoder.t(), map()) :: Decoder.t()
  def quantize(decoder, context) do
    if context.options[:recipe] do
      raise ArgumentError, "the method :dynamic chooses the bits of each layer itself; leave out :recipe"
    end

    layers = layers(decoder, context)
    raised = chosen(decoder, layers, context)

    Packing.quantize(decoder, fn path, layer ->
      case raised do
        %{^path => bits} -> Keyword.put(context.choose.(path, layer), :bits, bits)
        _others -> context.choose.(path, layer)
      end
    end)
  end

  # Those that are quantized, with their settings.
  defp layers(decoder, context) do
    for {path, %kind{} = layer} <- NN.layers(parts(decoder)),
        kind in [Linear, Embedding, SwitchLinear],
        settings = context.choose.(path, layer),
        do: {path, layer.weight, settings}
  end

  defp parts(decoder), do: Map.take(decoder, [:model, :lm_head])

  # The paths of the layers that have more bits, with these.
  defp chosen(decoder, layers, context) do
    candidates =
      for {path, weight, settings} <- layers,
          settings[:mode] == :affine,
          context.options[:embedding_bits] == nil or path not in ["model.embed_tokens", "lm_head"],
          high = high_bits!(settings[:bits], context.options[:high_bits]),
          do: {path, weight, settings, Keyword.put(settings, :bits, high)}

    left = budget!(decoder, layers, context)
    felt = sensitivities(decoder, layers, candidates, context)

    {raised, _left} =
      candidates
      |> Enum.sort_by(fn {path, _weight, _low, _high} -> -felt[path] end)
      |> Enum.flat_map_reduce(left, fn {path, weight, low, high}, left ->
        more = Tuple.product(weight.shape) * (high[:bits] - low[:bits])
        if more <= left, do: {[{path, high[:bits]}], left - more}, else: {[], left}
      end)

    Map.new(raised)
  end

  # Nil where there are no more.
  defp high_bits!(low, nil), do: Enum.find(@bits, &(&1 > low))
  defp high_bits!(low, high) when high in @bits, do: if(high > low, do: high)

  defp high_bits!(_low, high) do
    raise ArgumentError, "expected :high_bits to be one of #{Enum.join(tl(@bits), ", ")}, got: #{high}"
  end

  # How many bits there may be beside those of the layers with few.
  defp budget!(decoder, layers, %{type: type, options: options}) do
    width = 8 * Mlx.Type.bytes(type)
    arrays = Tree.arrays(parts(decoder))
    numbers = Enum.sum_by(arrays, &Tuple.product(&1.shape))
    packed = Enum.sum_by(layers, fn {_path, weight, _settings} -> Tuple.product(weight.shape) end)

    bits =
      Enum.sum_by(layers, fn {_path, weight, settings} -> Tuple.product(weight.shape) * density(settings, width) end)

    least = (bits + (numbers - packed) * width) / numbers

    if least > options[:bits_per_weight] do
      raise Mlx.Error,
            "with the least bits for all layers there are #{Float.round(least, 3)} bits for a weight, expected " <>
              ":bits_per_weight to be more, got: #{options[:bits_per_weight]}"
    end

    (options[:bits_per_weight] - least) * numbers
  end

  # A scale and a bias for each group; those of other modes are a byte.
  defp density(settings, width) do
    beside = if settings[:mode] == :affine, do: 2 * width, else: 8
    settings[:bits] + beside / settings[:group_size]
  end

  @doc "How much less the divergence would be with more bits, for a number of each candidate, by paths."
  @spec sensitivities(Decoder.t(), [tuple()], [tuple()], map()) :: %{String.t() => float()}
  def sensitivities(_decoder, _layers, [], _context), do: %{}

  def sensitivities(decoder, layers, candidates, context) do
    low = for {path, weight, settings} <- layers, into: %{}, do: {path <> ".weight", rounded(weight, settings)}
    student = Distillation.with_arrays(decoder, low)
    paths = for {path, _weight, _low, _high} <- candidates, do: path <> ".weight"
    checkpoint = context.options[:gradient_checkpoint]
    total = length(context.batches)
    context.report.({:batches, 0, total})

    slopes =
      Mlx.grad(fn weights, ids, targets ->
        student |> Distillation.with_arrays(weights) |> Distillation.loss(ids, targets, 1, checkpoint)
      end)

    context.batches
    |> Enum.with_index(1)
    |> Enum.reduce(Map.new(candidates, &{elem(&1, 0), 0.0}), fn {ids, number}, felt ->
      slopes = slopes.(Map.take(low, paths), ids, Distillation.targets(decoder, ids))
      felt = Map.new(candidates, &{elem(&1, 0), felt[elem(&1, 0)] + gain(&1, slopes, low) / total})
      context.report.({:batches, number, total})
      felt
    end)
  end

  defp gain({path, weight, _low, high}, slopes, low) do
    change = Mlx.subtract(low[path <> ".weight"], rounded(weight, high))
    sum = change |> Mlx.multiply(slopes[path <> ".weight"]) |> Mlx.as_type(:f32) |> Mlx.sum() |> Mlx.to_number()
    if is_number(sum), do: sum / Tuple.product(weight.shape), else: raise(Mlx.Error, "the slope of #{path} is #{sum}")
  end

  # The numbers that a packed matrix has.
  defp rounded(weight, settings) do
    settings = Keyword.take(settings, [:group_size, :bits, :mode])

    case Mlx.quantize(weight, settings) do
      {packed, scales, biases} -> Mlx.dequantize(packed, scales, biases, settings)
      {packed, scales} -> Mlx.dequantize(packed, scales, nil, settings)
    end
    |> Mlx.as_type(weight.type)
  end
end
