if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Composition do
    @moduledoc false
    # The blocks of `Mlx.Nx.Fast`, composed of Nx's own functions: for other backends, and for gradients.

    alias Mlx.Nx.Block
    alias Nx.Tensor

    # Narrow numbers are computed in this type.
    @wide {:f, 32}

    @doc "The result of a block for its tensors."
    @spec compute(struct(), [Tensor.t()]) :: Tensor.t() | tuple()
    def compute(%Block.RMSNorm{eps: eps}, [x | weight]) do
      wide = widened(x)
      normal = wide |> Nx.multiply(wide) |> mean() |> Nx.add(eps) |> Nx.rsqrt()
      wide |> Nx.multiply(normal) |> Nx.as_type(x.type) |> combined(weight, &Nx.multiply/2)
    end

    def compute(%Block.LayerNorm{eps: eps} = block, [x | others]) do
      {weight, bias} = Enum.split(others, if(block.weight, do: 1, else: 0))
      wide = widened(x)
      centred = Nx.subtract(wide, mean(wide))
      normal = centred |> Nx.multiply(centred) |> mean() |> Nx.add(eps) |> Nx.rsqrt()

      centred
      |> Nx.multiply(normal)
      |> Nx.as_type(x.type)
      |> combined(weight, &Nx.multiply/2)
      |> combined(bias, &Nx.add/2)
    end

    def compute(%Block.RoPE{dimensions: dimensions} = block, [x, offset | frequencies]) do
      rank = Nx.rank(x)
      angles = angles(block, x, offset, frequencies)
      {cos, sin} = {Nx.cos(angles), Nx.sin(angles)}
      {rotated, rest} = split(x, dimensions)
      {first, second} = rotated |> widened() |> pairs(block.traditional)

      results = [
        Nx.subtract(Nx.multiply(first, cos), Nx.multiply(second, sin)),
        Nx.add(Nx.multiply(first, sin), Nx.multiply(second, cos))
      ]

      joined =
        if block.traditional,
          do: results |> Nx.stack(axis: -1) |> Nx.reshape(rotated.shape),
          else: Nx.concatenate(results, axis: -1)

      Nx.concatenate([Nx.as_type(joined, x.type) | rest], axis: rank - 1)
    end

    def compute(%Block.Attention{scale: scale} = block, [queries, keys, values | others]) do
      {sinks, mask} = Enum.split(others, if(block.sinks, do: 1, else: 0))
      groups = div(Nx.axis_size(queries, 1), Nx.axis_size(keys, 1))
      [keys, values] = for tensor <- [keys, values], do: repeated(tensor, groups, 1)
      scores = queries |> Nx.multiply(scale) |> Nx.dot([3], [0, 1], keys, [3], [0, 1])

      weights =
        scores
        |> masked(if(block.causal, do: [causal(scores)], else: mask))
        |> widened()
        |> softmax(Enum.map(sinks, &(&1 |> widened() |> Nx.reshape({1, Nx.size(&1), 1, 1}))))
        |> Nx.as_type(queries.type)

      Nx.dot(weights, [3], [0, 1], values, [2], [0, 1])
    end

    def compute(%Block.QuantizedMatmul{} = block, [x, weights, scales, biases]) do
      [scales, biases] = for tensor <- [scales, biases], do: repeated(tensor, block.group_size, 1)
      matrix = weights |> unpacked(block.bits) |> Nx.multiply(scales) |> Nx.add(biases) |> Nx.as_type(x.type)
      Nx.dot(x, [-1], matrix, [if(block.transpose, do: 1, else: 0)])
    end

    def compute(%Block.Gradient{of: block, count: count}, tensors) do
      {primals, rest} = Enum.split(tensors, count)
      {others, [gradient]} = Enum.split(rest, -1)

      Nx.Defn.grad(List.to_tuple(primals), fn primals ->
        block |> compute(Tuple.to_list(primals) ++ others) |> Nx.multiply(gradient) |> Nx.sum()
      end)
    end

    defp widened(%Tensor{type: {_, bits}} = tensor) when bits < 32, do: Nx.as_type(tensor, @wide)
    defp widened(tensor), do: tensor

    defp mean(tensor), do: Nx.mean(tensor, axes: [-1], keep_axes: true)

    defp combined(x, [], _operation), do: x
    defp combined(x, [other], operation), do: operation.(x, other)

    # The angle of each pair at each position, `{..., length, pairs}`.
    defp angles(block, x, offset, frequencies) do
      rank = Nx.rank(x)
      length = Nx.axis_size(x, -2)
      pairs = div(block.dimensions, 2)

      speeds =
        case frequencies do
          [frequencies] -> Nx.divide(1.0, frequencies)
          [] -> Nx.iota({pairs}, type: @wide) |> Nx.multiply(-:math.log(block.base) / pairs) |> Nx.exp()
        end

      # One offset, or one for each entry of the batch.
      offset = Nx.reshape(offset, List.to_tuple([Nx.size(offset) | List.duplicate(1, rank - 1)]))
      positions = Nx.iota({length, 1}, type: @wide) |> Nx.add(offset) |> Nx.multiply(block.scale)
      Nx.multiply(positions, speeds)
    end

    # The features that are rotated, and a list of the others.
    defp split(x, dimensions) do
      case Nx.axis_size(x, -1) - dimensions do
        0 -> {x, []}
        rest -> {Nx.slice_along_axis(x, 0, dimensions, axis: -1), [Nx.slice_along_axis(x, dimensions, rest, axis: -1)]}
      end
    end

    defp pairs(%Tensor{shape: shape} = x, true) do
      last = tuple_size(shape) - 1
      neighbours = Nx.reshape(x, shape |> put_elem(last, div(elem(shape, last), 2)) |> Tuple.insert_at(last + 1, 2))
      {neighbours |> Nx.take(0, axis: -1), neighbours |> Nx.take(1, axis: -1)}
    end

    defp pairs(x, false) do
      half = div(Nx.axis_size(x, -1), 2)
      {Nx.slice_along_axis(x, 0, half, axis: -1), Nx.slice_along_axis(x, half, half, axis: -1)}
    end

    # The last query sees all keys.
    defp causal(scores) do
      {queries, keys} = {Nx.axis_size(scores, 2), Nx.axis_size(scores, 3)}
      Nx.greater_equal(Nx.iota({queries, 1}) |> Nx.add(keys - queries), Nx.iota({1, keys}))
    end

    defp masked(scores, []), do: scores

    defp masked(scores, [%Tensor{type: {:u, 8}} = allowed]) do
      [allowed, least] =
        for tensor <- [allowed, Nx.Constants.min_finite(scores.type)], do: Nx.broadcast(tensor, scores.shape)

      Nx.select(allowed, scores, least)
    end

    defp masked(scores, [added]), do: Nx.add(scores, added)

    # A sink is one more score, whose weight goes to no value.
    defp softmax(scores, sinks) do
      greatest = Enum.reduce(sinks, Nx.reduce_max(scores, axes: [-1], keep_axes: true), &Nx.max/2)
      [exponentials | others] = for scores <- [scores | sinks], do: scores |> Nx.subtract(greatest) |> Nx.exp()
      sum = Enum.reduce(others, Nx.sum(exponentials, axes: [-1], keep_axes: true), &Nx.add/2)
      Nx.divide(exponentials, sum)
    end

    # Each entry along an axis, several times.
    defp repeated(tensor, 1, _axis), do: tensor

    defp repeated(%Tensor{shape: shape} = tensor, count, axis) do
      wide = Tuple.insert_at(shape, axis + 1, count)

      tensor
      |> Nx.new_axis(axis + 1)
      |> Nx.broadcast(wide)
      |> Nx.reshape(put_elem(shape, axis, elem(shape, axis) * count))
    end

    # The elements are a stream of bits, lowest first, which words of 32 bits cut anywhere.
    defp unpacked(%Tensor{shape: {_rows, words}} = weights, bits) do
      places = Nx.multiply(Nx.iota({div(words * 32, bits)}), bits)
      word = Nx.quotient(places, 32)
      next = Nx.min(Nx.add(word, 1), words - 1)
      [low, high] = for index <- [word, next], do: weights |> Nx.take(index, axis: 1) |> Nx.as_type({:u, 64})

      high
      |> Nx.left_shift(32)
      |> Nx.bitwise_or(low)
      |> Nx.right_shift(Nx.remainder(places, 32))
      |> Nx.bitwise_and(2 ** bits - 1)
    end
  end
end
