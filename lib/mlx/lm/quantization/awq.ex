defmodule Mlx.LM.Quantization.AWQ do
  @moduledoc false
  # Scales features so that columns of matrices that read large ones are rounded with less error, and bounds the numbers of
  # groups where that makes the error of outputs less.
  #
  # Scales are powers, from 0 to 1, of the mean sizes of the features. The one is taken with which the outputs of the rounded
  # matrices are nearest to what they were, for the inputs of a text. Errors of outputs come from the sum of x' x over all
  # inputs x, of which that of scaled inputs follows.
  #
  # Source: Lin et al., "AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration" (2023).

  alias Mlx.{Array, NN}
  alias Mlx.LM.Decoder
  alias Mlx.LM.Decoder.SwitchLinear
  alias Mlx.LM.Quantization.{Blockwise, Folds, Packing}
  alias Mlx.NN.Linear

  # The least scale, as in the authors' program.
  @least 1.0e-4

  # Numbers are bounded by no less than this part of the greatest of their group.
  @least_bound 0.5

  # Errors of queries and keys are multiplied with each other, and are not bounded.
  @not_bounded ~w(q_proj k_proj qkv_proj)

  @doc "The table of its own options."
  @spec options() :: keyword()
  def options, do: [grid: {20, {:integer, 1, 1000}}, clip: {true, :boolean}]

  @doc "The decoder with quantized layers."
  @spec quantize(Decoder.t(), map()) :: Decoder.t()
  def quantize(decoder, context) do
    Blockwise.quantize(decoder, context, &block(&1, &2, &3, &4, context))
  end

  defp block(prefix, block, notes, first, context) do
    {block, notes} = scaled(prefix, block, notes, first, context)

    Blockwise.map_layers(block, prefix, fn
      path, %kind{} = layer when kind in [Linear, SwitchLinear] ->
        case context.choose.(path, layer) do
          false -> layer
          settings -> rounded(path, layer, notes, settings, context.options)
        end

      _path, layer ->
        layer
    end)
  end

  defp rounded(path, layer, notes, settings, options) do
    bounded? = options[:clip] and notes[path] != nil and not String.ends_with?(path, @not_bounded)

    layer =
      if bounded?, do: %{layer | weight: bounded(layer.weight, notes[path].gram, settings, options[:grid])}, else: layer

    Packing.packed(layer, settings)
  end

  @doc """
  The block with scaled features, which computes what it did, and the notes of all its layers, by their paths, as they are
  for these.
  """
  @spec scaled(String.t(), map(), map(), map(), map()) :: {map(), map()}
  def scaled(prefix, block, notes, first, context) do
    own = for {path, owner} <- first, into: %{}, do: {path, notes[owner]}

    # What is no block has no branches, and nothing before it.
    folds = if is_map_key(block, :branches), do: Folds.of(block), else: []
    Enum.reduce(folds, {block, own}, &fold(&1, &2, prefix, context))
  end

  defp fold({_from, into} = fold, {block, notes}, prefix, context) do
    layers = Map.new(NN.layers(block))

    read =
      for path <- into,
          note = notes[prefix <> path],
          settings = context.choose.(prefix <> path, layers[path]),
          do: {layers[path].weight, note, settings}

    if read == [] do
      {block, notes}
    else
      scales = best(read, context.options[:grid])
      notes = Enum.reduce(into, notes, &Map.replace_lazy(&2, prefix <> &1, fn note -> divided(note, scales) end))
      {Folds.apply(block, fold, scales), notes}
    end
  end

  defp divided(note, scales) do
    both = Mlx.multiply(Mlx.new_axis(scales, 0), Mlx.new_axis(scales, 1))
    Mlx.eval(%{note | gram: Mlx.divide(note.gram, both), sizes: Mlx.divide(note.sizes, scales)})
  end

  @doc "The scales with which the matrices, `{matrix, notes, settings}`, are rounded best."
  @spec best([{Array.t(), map(), keyword()}], pos_integer()) :: Array.t()
  def best([{_matrix, %{sizes: sizes, rows: rows}, _settings} | _] = read, grid) do
    means = Mlx.divide(sizes, rows)

    {_error, scales} =
      0..(grid - 1)
      |> Enum.map(fn number ->
        scales = scales(means, number / grid)
        error = read |> Enum.map(&error(&1, scales)) |> Enum.reduce(&Mlx.add/2) |> Mlx.to_number()
        {if(is_number(error), do: error, else: :infinity), scales}
      end)
      |> Enum.min_by(fn {error, _scales} -> error end)

    scales
  end

  # Around 1, so that neither side grows.
  defp scales(means, power) do
    scales = means |> Mlx.pow(power) |> Mlx.max(@least)
    Mlx.divide(scales, Mlx.sqrt(Mlx.multiply(Mlx.reduce_max(scales), Mlx.reduce_min(scales))))
  end

  # The sum of the squares of what outputs are off by.
  defp error({matrix, %{gram: gram}, settings}, scales) do
    rounded = matrix |> Mlx.multiply(scales) |> nearest(settings) |> Mlx.divide(scales)
    off = rows(Mlx.subtract(rounded, matrix))
    off |> Mlx.matmul(gram) |> Mlx.multiply(off) |> Mlx.sum()
  end

  defp rows(%Array{shape: shape} = matrix) do
    columns = elem(shape, tuple_size(shape) - 1)
    Mlx.reshape(matrix, {div(Tuple.product(shape), columns), columns})
  end

  defp nearest(matrix, settings) do
    settings = Keyword.take(settings, [:group_size, :bits, :mode])

    case Mlx.quantize(matrix, settings) do
      {packed, scales, biases} -> Mlx.dequantize(packed, scales, biases, settings)
      {packed, scales} -> Mlx.dequantize(packed, scales, nil, settings)
    end
  end

  @doc "The matrix with the numbers of each group bounded where the outputs are nearer to what they were then."
  @spec bounded(Array.t(), Array.t(), keyword(), pos_integer()) :: Array.t()
  def bounded(%Array{shape: shape} = whole, gram, settings, grid) do
    matrix = rows(whole)
    {rows, columns} = matrix.shape
    size = settings[:group_size]
    grouped = {rows, div(columns, size), size}
    grams = diagonal_blocks(gram, size)
    numbers = Mlx.reshape(matrix, grouped)
    most = numbers |> Mlx.abs() |> Mlx.reduce_max(axes: [-1], keep_axes: true)

    {_error, bounds} =
      for number <- 0..(grid - 1), part = 1 - number / grid, part > @least_bound, reduce: nil do
        best ->
          bounds = Mlx.multiply(most, part)
          cut = Mlx.clip(numbers, Mlx.negate(bounds), bounds)

          off =
            cut |> Mlx.reshape({rows, columns}) |> nearest(settings) |> Mlx.reshape(grouped) |> Mlx.subtract(numbers)

          Mlx.eval(better(best, {error_of_groups(off, grams), bounds}))
      end

    numbers |> Mlx.clip(Mlx.negate(bounds), bounds) |> Mlx.reshape(shape) |> Mlx.as_type(whole.type)
  end

  defp better(nil, other), do: other

  defp better({error, bounds}, {other, other_bounds}) do
    {Mlx.min(error, other), Mlx.select(Mlx.less(other, error), other_bounds, bounds)}
  end

  # {rows, groups, 1} of differences {rows, groups, size}.
  defp error_of_groups(off, grams) do
    felt = off |> Mlx.transpose(axes: [1, 0, 2]) |> Mlx.matmul(grams) |> Mlx.transpose(axes: [1, 0, 2])
    felt |> Mlx.multiply(off) |> Mlx.sum(axes: [-1], keep_axes: true)
  end

  # {groups, size, size}
  defp diagonal_blocks(%Array{shape: {columns, columns}} = gram, size) do
    Mlx.stack(for first <- 0..(columns - 1)//size, do: Mlx.slice(gram, [first, first], [size, size]))
  end
end
