if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Fast do
    @moduledoc """
    The fused operations of `Mlx.Fast`, and multiplication by quantized matrices, for tensors of Nx.

    They can be called anywhere, also inside `defn`. `Mlx.Backend` and `Mlx.Compiler` run them as one operation of MLX, and
    their gradients as MLX's; on other backends, and for vectorized tensors, they are composed of functions of Nx. Integers are taken as
    floating-point numbers, and tensors of several types are brought to one.
    """

    import Nx.Defn

    alias Mlx.Arguments.Options
    alias Mlx.Nx.{Block, Composition}
    alias Nx.Defn.Expr
    alias Nx.Tensor

    @doc """
    Root mean square normalisation over the last axis: `x / sqrt(mean(x ** 2) + eps) * weight`.

    `weight` has the size of the last axis, or is `nil`.

    Options:

      * `:eps` - default `1.0e-5`

    Examples:

        iex> x = Nx.tensor([3.0, 4.0])
        iex> Mlx.Nx.Fast.rms_norm(x, Nx.tensor([1.0, 2.0]), eps: 0.0) |> Nx.multiply(Nx.sqrt(12.5)) |> Nx.round() |> Nx.to_list()
        [3.0, 8.0]

    Python: `mlx.core.fast.rms_norm`.
    """
    @spec rms_norm(Nx.t(), Nx.t() | nil, keyword()) :: Tensor.t()
    deftransform rms_norm(x, weight, options \\ []) do
      [eps] = Options.without_stream(options, :"Nx.Fast.rms_norm", eps: 1.0e-5)
      [x | others] = floating([x | present([weight])])
      require_rank!(:rms_norm, x, 1)
      run(%Block.RMSNorm{eps: eps}, [x | features!(:rms_norm, others, x)], x)
    end

    @doc """
    Layer normalisation over the last axis: `(x - mean(x)) / sqrt(variance(x) + eps) * weight + bias`.

    `weight` and `bias` have the size of the last axis, or are `nil`.

    Options:

      * `:eps` - default `1.0e-5`

    Examples:

        iex> Mlx.Nx.Fast.layer_norm(Nx.tensor([1.0, 3.0]), nil, Nx.tensor([0.0, 5.0]), eps: 0.0) |> Nx.to_list()
        [-1.0, 6.0]

    Python: `mlx.core.fast.layer_norm`.
    """
    @spec layer_norm(Nx.t(), Nx.t() | nil, Nx.t() | nil, keyword()) :: Tensor.t()
    deftransform layer_norm(x, weight, bias, options \\ []) do
      [eps] = Options.without_stream(options, :"Nx.Fast.layer_norm", eps: 1.0e-5)
      [x | others] = floating([x | present([weight, bias])])
      require_rank!(:layer_norm, x, 1)
      block = %Block.LayerNorm{eps: eps, weight: weight != nil, bias: bias != nil}
      run(block, [x | features!(:layer_norm, others, x)], x)
    end

    @doc """
    Rotary positional encoding of a tensor `{batch, ..., length, features}`.

    Each pair of the first `dimensions` features, an even number, is rotated by an angle that grows with the position.

    Options:

      * `:traditional` - pair neighbouring features, and not those of the two halves; default false
      * `:base` - of the angular frequencies, default 10000
      * `:freqs` - the frequencies themselves, a tensor with one a pair, in place of `:base`
      * `:scale` - a factor of the positions, default 1
      * `:offset` - the position of the first element: an integer, or a tensor of one or of one a batch entry; default 0

    Examples:

        iex> x = Nx.broadcast(1.0, {1, 2, 4})
        iex> Mlx.Nx.Fast.rope(x, 4)[0][0] |> Nx.to_list()
        [1.0, 1.0, 1.0, 1.0]

    Python: `mlx.core.fast.rope`.
    """
    @spec rope(Nx.t(), pos_integer(), keyword()) :: Tensor.t()
    deftransform rope(x, dimensions, options \\ []) do
      defaults = [traditional: false, base: 10_000, freqs: nil, scale: 1, offset: 0]
      options = Options.complete(options, :"Nx.Fast.rope", defaults)
      [x] = floating([x])
      require_rank!(:rope, x, 3)

      if rem(dimensions, 2) != 0 or dimensions not in 2..Nx.axis_size(x, -1)//1 do
        raise ArgumentError,
              "Mlx.Nx.Fast.rope: expected an even number of dimensions, up to the size of the last axis of " <>
                "#{inspect(x.shape)}, got: #{dimensions}"
      end

      offset = options[:offset] |> Nx.to_tensor() |> Nx.as_type({:s, 32})

      if offset.shape not in [{}, {1}, {Nx.axis_size(x, 0)}] do
        raise ArgumentError,
              "Mlx.Nx.Fast.rope: expected one :offset, or one for each batch entry, got the shape #{inspect(offset.shape)}"
      end

      frequencies = present([options[:freqs]])

      for %Tensor{shape: shape} <- frequencies, shape != {div(dimensions, 2)} do
        raise ArgumentError, "Mlx.Nx.Fast.rope: expected :freqs with one for each pair, got the shape #{inspect(shape)}"
      end

      block = struct!(Block.RoPE, [dimensions: dimensions] ++ Keyword.take(options, [:traditional, :base, :scale]))
      run(block, [x, offset | Enum.map(frequencies, &Nx.as_type(&1, {:f, 32}))], x)
    end

    @doc """
    Attention: `softmax(scale * queries @ transpose(keys) + mask) @ values`.

    The tensors have the shape `{batch, heads, length, features}`. Keys and values may have fewer heads, which then serve
    groups of query heads (grouped and multi-query attention). The softmax is computed in `f32`.

    Options:

      * `:scale` - default `1 / sqrt(features)`
      * `:mask` - `:causal`, a tensor that is added to the scores, or a tensor of `u8` that is 1 where attention is allowed
        and 0 elsewhere; tensors broadcast to `{batch, heads, query_length, key_length}`. Default `nil`
      * `:sinks` - a tensor with one attention sink for each query head: a score that takes its share of the softmax and
        belongs to no value. Default `nil`

    Examples:

        iex> q = Nx.broadcast(1.0, {1, 1, 2, 4})
        iex> v = Nx.tensor([[[[1.0], [3.0]]]])
        iex> Mlx.Nx.Fast.scaled_dot_product_attention(q, q, v, mask: :causal) |> Nx.to_flat_list()
        [1.0, 2.0]

    Python: `mlx.core.fast.scaled_dot_product_attention`.
    """
    @spec scaled_dot_product_attention(Nx.t(), Nx.t(), Nx.t(), keyword()) :: Tensor.t()
    deftransform scaled_dot_product_attention(queries, keys, values, options \\ []) do
      function = :"Nx.Fast.scaled_dot_product_attention"
      options = Options.complete(options, function, scale: nil, mask: nil, sinks: nil)
      [queries, keys, values] = floating([queries, keys, values])
      heads = attention_shapes!(queries.shape, keys.shape, values.shape)
      scale = options[:scale] || 1 / :math.sqrt(Nx.axis_size(queries, 3))
      out = %{queries | shape: put_elem(queries.shape, 3, Nx.axis_size(values, 3))}
      scores = heads |> Tuple.insert_at(2, Nx.axis_size(queries, 2)) |> Tuple.insert_at(3, Nx.axis_size(keys, 2))
      sinks = sinks!(options[:sinks], queries.type, heads)
      mask = mask!(options[:mask], queries.type, scores)
      tensors = Enum.map([queries, keys, values] ++ sinks ++ mask, &unnamed/1)
      run(%Block.Attention{scale: scale, causal: options[:mask] == :causal, sinks: sinks != []}, tensors, out)
    end

    defp sinks!(nil, _type, _heads), do: []

    defp sinks!(sinks, type, {_batch, heads}) do
      %Tensor{shape: shape} = sinks = Nx.to_tensor(sinks)

      if shape != {heads} do
        raise ArgumentError,
              "Mlx.Nx.Fast.scaled_dot_product_attention: expected :sinks to have the shape #{inspect({heads})}, one for " <>
                "each query head, got: #{inspect(shape)}"
      end

      [Nx.as_type(sinks, type)]
    end

    defp attention_shapes!(
           {batch, heads, _, features},
           {batch, key_heads, length, features},
           {batch, key_heads, length, _}
         )
         when key_heads > 0 and rem(heads, key_heads) == 0,
         do: {batch, heads}

    defp attention_shapes!(queries, keys, values) do
      raise ArgumentError,
            "Mlx.Nx.Fast.scaled_dot_product_attention: expected queries, keys and values of the shapes " <>
              "{batch, heads, length, features}, with heads of queries for each of the keys, got: " <>
              "#{inspect(queries)}, #{inspect(keys)} and #{inspect(values)}"
    end

    defp mask!(mask, _type, _scores) when mask in [nil, :causal], do: []

    defp mask!(%Tensor{shape: shape} = mask, type, scores) do
      if not broadcasts?(shape, scores) do
        raise ArgumentError,
              "Mlx.Nx.Fast.scaled_dot_product_attention: a mask of the shape #{inspect(shape)} does not broadcast to " <>
                inspect(scores)
      end

      [if(mask.type == {:u, 8}, do: mask, else: Nx.as_type(mask, type))]
    end

    defp mask!(other, _type, _scores) do
      raise ArgumentError,
            "Mlx.Nx.Fast.scaled_dot_product_attention: expected :mask to be :causal or a tensor, got: #{inspect(other)}"
    end

    defp broadcasts?(shape, wider) do
      [sizes, wider] = for shape <- [shape, wider], do: shape |> Tuple.to_list() |> Enum.reverse()
      length(sizes) <= length(wider) and Enum.all?(Enum.zip(sizes, wider), fn {size, wide} -> size in [1, wide] end)
    end

    @doc """
    The matrix product of `x` with a quantized matrix, without unpacking it.

    `weights`, a matrix of `u32`, `scales` and `biases` are those of `Mlx.quantize/2` in its mode `:affine`.

    Options:

      * `:transpose` - multiply by the transpose, as a linear layer does with weights `{outputs, inputs}`; default true
      * `:group_size`, `:bits` - as in `Mlx.quantize/2`, default 64 and 4

    Examples:

        iex> {weights, scales, biases} = Mlx.quantize(Mlx.ones({8, 64}))
        iex> [weights, scales, biases] = Enum.map([weights, scales, biases], &Mlx.Nx.to_nx/1)
        iex> Mlx.Nx.Fast.quantized_matmul(Nx.broadcast(1.0, {1, 64}), weights, scales, biases)[0][7] |> Nx.to_number()
        64.0

    Python: `mlx.core.quantized_matmul`.
    """
    @spec quantized_matmul(Nx.t(), Tensor.t(), Tensor.t(), Tensor.t(), keyword()) :: Tensor.t()
    deftransform quantized_matmul(x, weights, scales, biases, options \\ []) do
      defaults = [transpose: true, group_size: 64, bits: 4]
      options = Options.complete(options, :"Nx.Fast.quantized_matmul", defaults)
      [x, scales, biases] = floating([x, scales, biases])
      require_rank!(:quantized_matmul, x, 1)
      block = struct!(Block.QuantizedMatmul, options)
      {outputs, inputs} = quantized_sizes!(block, weights, scales, biases)
      {columns, rows} = if block.transpose, do: {outputs, inputs}, else: {inputs, outputs}
      last = Nx.rank(x) - 1

      if elem(x.shape, last) != rows do
        raise ArgumentError,
              "Mlx.Nx.Fast.quantized_matmul: expected #{rows} as the size of the last axis of x, got the shape " <>
                inspect(x.shape)
      end

      out = %{unnamed(x) | shape: put_elem(x.shape, last, columns)}
      run(block, Enum.map([x, weights, scales, biases], &unnamed/1), out)
    end

    defp quantized_sizes!(
           block,
           %Tensor{type: {:u, 32}, shape: {rows, words}},
           %Tensor{shape: {rows, groups} = shape},
           %{shape: shape}
         )
         when words * 32 == groups * block.group_size * block.bits,
         do: {rows, groups * block.group_size}

    defp quantized_sizes!(block, weights, scales, biases) do
      raise ArgumentError,
            "Mlx.Nx.Fast.quantized_matmul: these are not weights of u32 with scales and biases of #{block.bits} bits in " <>
              "groups of #{block.group_size}: #{inspect({weights.type, weights.shape, scales.shape, biases.shape})}"
    end

    # What Nx has no names and no types for is left to the block.
    defp run(block, tensors, out) do
      if Enum.any?(tensors, &(&1.vectorized_axes != [])) do
        Composition.compute(block, tensors)
      else
        tensors = alike(tensors)
        template = Nx.template(out.shape, out.type, names: out.names)
        block |> composed(tensors, template, &%{&1 | names: out.names}) |> differentiable(block, tensors)
      end
    end

    # Tensors that a definition captured are none of its expressions.
    defp alike(tensors) do
      if Enum.any?(tensors, &is_struct(&1.data, Expr)), do: Enum.map(tensors, &Expr.tensor/1), else: tensors
    end

    defp composed(block, tensors, template, finish) do
      fun =
        Mlx.Arguments.Arity.function(length(tensors) + 1, fn [block | tensors] ->
          finish.(Composition.compute(block, tensors))
        end)

      Nx.block(block, tensors, template, fun)
    end

    # The gradient that MLX has for the block, in place of that of its composition.
    defp differentiable(%Tensor{data: %Expr{}} = result, block, tensors) do
      case Enum.take(tensors, differentiated(block, tensors)) do
        [] ->
          result

        inputs ->
          Nx.Defn.Kernel.custom_grad(result, inputs, fn gradient ->
            templates = inputs |> Enum.map(&Nx.to_template/1) |> List.to_tuple()
            gradient = gradient |> Nx.broadcast(result.shape) |> Nx.as_type(result.type) |> unnamed()

            %Block.Gradient{of: block, count: length(inputs)}
            |> composed(tensors ++ [gradient], templates, & &1)
            |> Tuple.to_list()
          end)
      end
    end

    defp differentiable(result, _block, _tensors), do: result

    # How many of the first tensors MLX has gradients for, or none when it has not for all that have one.
    defp differentiated(%struct{}, tensors) when struct in [Block.RMSNorm, Block.LayerNorm], do: length(tensors)
    defp differentiated(%Block.RoPE{}, [_x, _offset]), do: 1

    defp differentiated(%Block.Attention{sinks: sinks}, tensors) do
      {inputs, mask} = Enum.split(tensors, if(sinks, do: 4, else: 3))
      # One that is added to the scores has a gradient, too.
      if Enum.all?(mask, &(&1.type == {:u, 8})), do: length(inputs), else: 0
    end

    defp differentiated(_block, _tensors), do: 0

    defp present(values), do: for(value <- values, value != nil, do: Nx.to_tensor(value))

    defp floating(values) do
      tensors = Enum.map(values, &Nx.to_tensor/1)
      type = tensors |> Enum.map(& &1.type) |> Enum.reduce(&Nx.Type.merge/2) |> Nx.Type.to_floating()
      Enum.map(tensors, &Nx.as_type(&1, type))
    end

    defp features!(function, tensors, x) do
      features = {Nx.axis_size(x, -1)}

      for %Tensor{shape: shape} = tensor <- tensors do
        if shape != features do
          raise ArgumentError,
                "Mlx.Nx.Fast.#{function}: expected a weight or bias of the shape #{inspect(features)}, got: #{inspect(shape)}"
        end

        unnamed(tensor)
      end
    end

    defp require_rank!(function, x, least) do
      if Nx.rank(x) < least do
        raise ArgumentError,
              "Mlx.Nx.Fast.#{function}: expected at least #{least} axes, got the shape #{inspect(x.shape)}"
      end
    end

    defp unnamed(tensor), do: Nx.rename(tensor, List.duplicate(nil, Nx.rank(tensor)))
  end
end
