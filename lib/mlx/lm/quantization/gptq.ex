defmodule Mlx.LM.Quantization.GPTQ do
  @moduledoc false
  # Rounds the columns of a matrix one after another, and changes those that are not rounded yet so that the outputs stay as
  # near as they can to what they were, for the inputs of a text.
  #
  # With the sum H of x' x over all inputs x, and the upper triangle U with inv(H) = U' U, an error e in column k is made up
  # by subtracting e / U[k, k] * U[k, j] from each later column j.
  #
  # Source: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers" (2022).

  alias Mlx.{Array, Linalg}
  alias Mlx.LM.Decoder
  alias Mlx.LM.Quantization.{Blockwise, Codes, Packing}

  # This fraction of the mean of H's diagonal is added to it, and ten times as much while it has no triangle.
  @damping 0.01
  @most_damping 10.0

  @doc "The table of its own options."
  @spec options() :: keyword()
  def options, do: []

  @doc "The decoder with quantized layers. What reads nothing of the text, and embeddings, are rounded."
  @spec quantize(Decoder.t(), map()) :: Decoder.t()
  def quantize(decoder, context) do
    Blockwise.quantize(decoder, context, &block(&1, &2, &3, &4, context))
  end

  defp block(prefix, block, notes, first, context) do
    wanted =
      for {path, layer} <- Mlx.NN.layers(block),
          path = prefix <> path,
          owner = first[path],
          settings = context.choose.(path, layer),
          settings[:mode] == :affine,
          do: {path, layer, owner, settings}

    fields =
      wanted
      |> Enum.group_by(fn {_path, _layer, owner, settings} -> {owner, settings} end)
      |> Enum.flat_map(fn {{owner, settings}, layers} -> together(layers, notes[owner], settings, context.type) end)
      |> Map.new()

    Blockwise.map_layers(block, prefix, fn path, layer ->
      if own = fields[path], do: Packing.with_matrix(layer, own), else: layer
    end)
  end

  # Matrices that read the same are one with more rows.
  defp together(layers, %{gram: gram}, settings, type) do
    shapes = for {_path, layer, _owner, _settings} <- layers, do: layer.weight.shape
    columns = shapes |> hd() |> then(&elem(&1, tuple_size(&1) - 1))
    rows = for shape <- shapes, do: div(Tuple.product(shape), columns)
    parts = for {{_path, layer, _, _}, count} <- Enum.zip(layers, rows), do: Mlx.reshape(layer.weight, {count, columns})
    {weight, scales, biases} = parts |> Mlx.concatenate(axis: 0) |> matrix(gram, settings, type)
    places = rows |> Enum.scan(&+/2) |> Enum.drop(-1)

    [weights, scales, biases] =
      for array <- [weight, scales, biases], do: if(places == [], do: [array], else: Mlx.split(array, places, axis: 0))

    for {{path, _, _, _}, shape, weight, scales, biases} <- Enum.zip([layers, shapes, weights, scales, biases]) do
      [weight, scales, biases] = for array <- [weight, scales, biases], do: shaped(array, shape)
      {path, [weight: weight, scales: scales, biases: biases] ++ settings}
    end
  end

  defp shaped(%Array{shape: {_rows, columns}} = array, shape) do
    Mlx.reshape(array, put_elem(shape, tuple_size(shape) - 1, columns))
  end

  @doc """
  The packed matrix, scales and biases of a matrix `{rows, columns}` whose inputs have the sum `gram`. Scales and biases are
  of the type.
  """
  @spec matrix(Array.t(), Array.t(), keyword(), Mlx.Type.t()) :: {Array.t(), Array.t(), Array.t()}
  def matrix(%Array{shape: {_rows, columns}} = matrix, gram, settings, type) do
    size = settings[:group_size]
    factor = factor(gram)
    start = {Mlx.as_type(matrix, :f32), []}

    {_nothing, groups} =
      Enum.reduce(0..(columns - 1)//size, start, fn first, {left, groups} ->
        {left, group} = group(left, factor, first, settings, type)
        {left, [Mlx.eval(group) | groups]}
      end)

    [codes, scales, biases] =
      for part <- 0..2, do: groups |> Enum.reverse() |> Enum.map(&elem(&1, part)) |> Mlx.concatenate(axis: 1)

    Mlx.eval({Codes.packed(codes, settings[:bits]), Mlx.as_type(scales, type), Mlx.as_type(biases, type)})
  end

  # The columns from `first` on, as they are now, lose their first group.
  defp group(%Array{shape: {rows, left}} = matrix, factor, first, settings, type) do
    size = settings[:group_size]
    own = Mlx.slice(matrix, [0, 0], [rows, size])
    grid = {scales, biases} = Codes.grid(own, settings, type)
    {codes, errors} = columns(own, Mlx.slice(factor, [first, first], [size, size]), grid, settings)
    later = Mlx.slice(factor, [first, first + size], [size, left - size])
    rest = matrix |> Mlx.slice([0, size], [rows, left - size]) |> Mlx.subtract(Mlx.matmul(errors, later))
    {Mlx.eval(rest), {codes, scales, biases}}
  end

  # Numbers are counted in steps of their row's scale here, and rows of the triangle in its diagonal: less to do for a column.
  defp columns(%Array{shape: {rows, size}} = group, factor, {scales, biases}, settings) do
    diagonal = Mlx.diagonal(factor)
    factor = Mlx.eval(Mlx.divide(factor, Mlx.new_axis(diagonal, 1)))
    most = Bitwise.bsl(1, settings[:bits]) - 1
    start = {group |> Mlx.subtract(biases) |> Mlx.divide(scales), [], []}

    {_nothing, codes, errors} =
      Enum.reduce(0..(size - 1), start, fn number, {left, codes, errors} ->
        column = Mlx.slice(left, [0, 0], [rows, 1])
        code = column |> Mlx.round() |> Mlx.clip(0, most)
        error = Mlx.subtract(column, code)
        row = Mlx.slice(factor, [number, number], [1, size - number])
        rest = left |> Mlx.subtract(Mlx.multiply(error, row)) |> Mlx.slice([0, 1], [rows, size - number - 1])
        {rest, [code | codes], [error | errors]}
      end)

    [codes, errors] = for columns <- [codes, errors], do: columns |> Enum.reverse() |> Mlx.concatenate(axis: 1)
    {codes, errors |> Mlx.multiply(scales) |> Mlx.divide(diagonal)}
  end

  # The upper triangle of the inverse. Columns that read nothing have nothing to make up for.
  defp factor(%Array{shape: {columns, columns}} = gram) do
    mean = gram |> Mlx.diagonal() |> Mlx.mean() |> Mlx.to_number()
    mean = if is_number(mean) and mean > 0, do: mean, else: 1.0
    damped(gram, mean, @damping) || Mlx.eye(columns)
  end

  defp damped(_gram, _mean, damping) when damping > @most_damping, do: nil

  defp damped(%Array{shape: {columns, columns}} = gram, mean, damping) do
    lower = gram |> Mlx.add(Mlx.multiply(Mlx.eye(columns), damping * mean)) |> Linalg.cholesky()
    factor = lower |> Linalg.cholesky_inv() |> Linalg.cholesky(upper: true)
    if triangle?(lower) and triangle?(factor), do: factor, else: damped(gram, mean, damping * 10)
  end

  # Where there is none, MLX gives a matrix with a number on the diagonal that is not above 0, or no number.
  defp triangle?(matrix), do: matrix |> Mlx.diagonal() |> Mlx.to_list() |> Enum.all?(&(is_number(&1) and &1 > 0))
end
