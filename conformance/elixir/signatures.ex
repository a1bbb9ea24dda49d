defmodule Mlx.Conformance.Signatures do
  @moduledoc """
  The parameters of Python's functions, and what becomes of them in `Mlx`: one row for a family of functions.

      {names, parameters}
      {names, parameters, adapter}

  Names are those of `mlx.core`, or begin with `mlx.`; a method of `array` that has no row of its own has that of the function
  of its name. Every function of `mlx.core` takes `stream` too. `Mlx.Conformance.Parameters` says what a parameter is.
  `Mlx.Conformance.LayerSignatures` and `Mlx.Conformance.OptimizerSignatures` have the rows of `mlx.nn` and
  `mlx.optimizers`.

  An adapter makes the call where that is not enough. It gets the function of `Mlx`, as a function of a list of arguments
  and of options, what is bound to Python's parameters, and the options. Of several rows for a name the first
  is used whose parameters fit the arguments.
  """

  import Mlx.Conformance.Parameters

  alias Mlx.Conformance.{Constants, Context, Convolution, Creation, Evaluation, Exports, Files, Fourier, Kernels}
  alias Mlx.Conformance.{LayerSignatures, LinearAlgebra, Mapping, Operators, OptimizerSignatures, Reading}
  alias Mlx.Conformance.{Selection, Shapes, Transforms, Types}

  @key __MODULE__

  @doc "The parameters and adapters for a name of Python."
  def fetch(name), do: Map.get(table(), name, [])

  @doc "All names of Python that begin with one of these words."
  def names(beginnings), do: for({name, _rows} <- table(), String.starts_with?(name, beginnings), do: name)

  defp table do
    case :persistent_term.get(@key, nil) do
      nil ->
        :persistent_term.put(@key, build())
        table()

      table ->
        table
    end
  end

  defp build do
    named = for row <- rows(), name <- elem(row, 0), do: {full(name), signature(row)}
    rows = Enum.group_by(named, &elem(&1, 0), &elem(&1, 1))

    for "mlx.core.array." <> method = name <- Mapping.names(),
        not is_map_key(rows, name),
        signatures = rows["mlx.core." <> method],
        into: rows,
        do: {name, signatures}
  end

  defp rows do
    own() ++
      operators() ++
      methods() ++
      creation() ++
      choice() ++
      types() ++
      reductions() ++
      shapes() ++
      selection() ++
      products() ++
      runtime() ++
      random() ++
      linear_algebra() ++
      fourier() ++
      files() ++
      networks() ++
      kernels() ++
      transforms() ++
      exports() ++
      distributed() ++
      LayerSignatures.rows() ++ OptimizerSignatures.rows()
  end

  defp full("conformance." <> _ = name), do: name
  defp full("mlx." <> _ = name), do: name
  defp full(name), do: "mlx.core." <> name

  defp signature({_names, parameters}), do: {parameters(parameters), nil}
  defp signature({_names, parameters, adapter}), do: {parameters(parameters), adapter}

  defp parameters(parameters) do
    for({name, kind} <- parameters, do: {name, if(is_map(kind), do: kind, else: %{kind: kind})}) ++
      [stream: option(:stream, :stream)]
  end

  # What the bridge itself asks for, and names that stand for values.
  defp own do
    [
      {~w(conformance.names), [], fn _call, _bound, _options -> Constants.names() end},
      {~w(conformance.networks), [], fn _, _, _ -> Enum.sort(names(["mlx.nn.", "mlx.optimizers."])) end},
      {~w(conformance.random_state), [], fn _call, _bound, _options -> Mlx.Random.state() end},
      {~w(conformance.version), [], fn _call, _bound, _options -> Mlx.Native.version() end},
      {~w(conformance.buffer), [self: :array], &Reading.buffer/3},
      {~w(conformance.bytes), [self: :array], fn _, %{self: array}, _ -> {:bytes, Mlx.to_binary(array)} end},
      {~w(conformance.from_bytes), [data: :any, shape: :shape, dtype: :type],
       fn _, %{data: {:bytes, bytes}, shape: shape, dtype: type}, _ -> Mlx.from_binary(bytes, shape, type) end}
    ]
  end

  defp operators do
    unary =
      ~w(abs arccos acos arccosh acosh arcsin asin arcsinh asinh arctan atan arctanh atanh bitwise_invert ceil conj
      conjugate cos cosh degrees erf erfinv exp expm1 floor imag isfinite isinf isnan isneginf isposinf log log10 log1p
      log2 logical_not negative positive radians real reciprocal rsqrt sigmoid sign sin sinh sqrt square stop_gradient
      tan tanh trunc matrix_transpose array.T array.mT array.__copy__ contiguous to_fp8)

    binary =
      ~w(add arctan2 atan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor divide divmod
      equal floor_divide greater greater_equal left_shift less less_equal logaddexp logical_and logical_or logical_xor
      maximum minimum multiply not_equal pow power remainder right_shift subtract)

    operators = ~w(add div floordiv ge gt le lshift lt mod mul pow rshift sub truediv)
    in_place = ~w(iadd ifloordiv ilshift imod imul ipow irshift isub)

    [
      {unary, [a: :operand]},
      {binary, [a: :any, b: :any], &Operators.pair/3},
      {dunder(operators ++ in_place ++ ~w(radd rmul)), [self: :array, other: :any], &Operators.operator/3},
      {dunder(~w(rdiv rfloordiv rmod rpow rsub rtruediv)), [self: :array, other: :any], &Operators.reflected/3},
      {dunder(~w(itruediv)), [self: :array, other: :any], &Operators.divide_in_place/3},
      {dunder(~w(and iand)), [self: :array, other: :any], Operators.bitwise(%{bool: &Mlx.logical_and/2})},
      {dunder(~w(or ior)), [self: :array, other: :any], Operators.bitwise(%{bool: &Mlx.logical_or/2})},
      {dunder(~w(xor ixor)), [self: :array, other: :any], Operators.bitwise(%{bool: &Mlx.logical_xor/2})},
      {dunder(~w(eq)), [self: :array, other: :any], Operators.equality(false)},
      {dunder(~w(ne)), [self: :array, other: :any], Operators.equality(true)},
      {dunder(~w(abs neg pos invert)), [self: :array]},
      {dunder(~w(matmul imatmul)), [self: :array, other: :array]}
    ]
  end

  defp methods do
    [
      {dunder(~w(getitem)), [self: :array, index: :any], &Selection.get_item/3},
      {dunder(~w(setitem)) ++
         ~w(ArrayAt.add ArrayAt.subtract ArrayAt.multiply ArrayAt.divide ArrayAt.maximum) ++
         ~w(ArrayAt.minimum), [self: :array, index: :any, value: :any], &Selection.update/3},
      {dunder(~w(bool int float complex)) ++ ~w(array.item), [self: :array], &Reading.number/3},
      {dunder(~w(index)), [self: :array], &Reading.index/3},
      {dunder(~w(repr)), [self: :array], &Reading.text/3},
      {~w(array.tolist), [self: :array], &Reading.to_list/3},
      {~w(array.size array.ndim array.nbytes), [self: :array]},
      {~w(array.itemsize), [self: :array], &Reading.item_size/3},
      {~w(Dtype.size), [dtype: :type]}
    ]
  end

  defp creation do
    [
      {~w(array), [val: :any, dtype: default(:type, nil)], &Creation.array/3},
      {~w(asarray), [a: :any, dtype: default(:type, nil), copy: default(:boolean, nil)], &Creation.as_array/3},
      {~w(zeros ones empty), [shape: :shape, dtype: option(:type, :type)]},
      {~w(full), [shape: :shape, vals: :operand, dtype: option(:type, :type)]},
      {~w(zeros_like ones_like empty_like), [a: :array, dtype: option(:type, :type)]},
      {~w(full_like), [a: :array, vals: :operand, dtype: option(:type, :type)]},
      {~w(arange),
       [start: :number, stop: {:nullable, :number}, step: default(:number, nil)] ++
         [dtype: option(:type, :type)], &Creation.arange/3},
      {~w(arange), [stop: :number, step: default(:number, nil), dtype: option(:type, :type)], &Creation.arange/3},
      {~w(linspace),
       [start: :number, stop: :number, num: option(:integer, :n)] ++
         [endpoint: option(:boolean, :endpoint), dtype: option(:type, :type)]},
      {~w(eye), [n: :integer, m: default(:integer, nil), k: option(:integer, :k), dtype: option(:type, :type)],
       &Creation.eye/3},
      {~w(identity), [n: :integer, dtype: option(:type, :type)]},
      {~w(tri), [n: :integer, m: default(:integer, nil), k: option(:integer, :k), dtype: option(:type, :type)],
       &Creation.tri/3},
      {~w(tril triu diag), [a: :array, k: option(:integer, :k)]},
      {~w(diagonal),
       [a: :array, offset: option(:integer, :offset), axis1: default(:integer, 0)] ++
         [axis2: default(:integer, 1)], &Shapes.two_axes/3},
      {~w(trace),
       [a: :array, offset: option(:integer, :offset), axis1: default(:integer, 0)] ++
         [axis2: default(:integer, 1), dtype: option(:type, :type)], &Shapes.two_axes/3},
      {~w(bartlett blackman hamming hanning), [n: :integer]}
    ]
  end

  defp choice do
    [
      {~w(isclose allclose),
       [a: :any, b: :any, rtol: option(:number, :rtol), atol: option(:number, :atol)] ++
         [equal_nan: option(:boolean, :equal_nan)], &Operators.pair/3},
      {~w(array_equal), [a: :any, b: :any, equal_nan: option(:boolean, :equal_nan)], &Operators.pair/3},
      {~w(where), [condition: :operand, x: :operand, y: :operand]},
      {~w(clip), [a: :array, a_min: default(:operand, nil), a_max: default(:operand, nil)]},
      {~w(nan_to_num),
       [a: :operand, nan: option(:number, :nan), posinf: option(:number, :infinity)] ++
         [neginf: option(:number, :neg_infinity)]},
      {~w(round), [a: :operand, decimals: option(:integer, :decimals)]}
    ]
  end

  defp types do
    [
      {~w(astype view), [a: :operand, dtype: :type]},
      {~w(from_fp8), [x: :array, dtype: option(:type, :type)]},
      {~w(finfo), [dtype: :type], &Types.float_limits/3},
      {~w(iinfo), [dtype: :type], &Types.integer_limits/3},
      {~w(result_type), [arguments: variadic(:any)], &Types.result_type/3},
      {~w(can_cast), [from_: :any, to: :type], &Types.can_cast/3},
      {~w(issubdtype), [arg1: :any, arg2: :any], &Types.subtype/3},
      {~w(isdtype), [dtype: :type, kind: :any], &Types.kind/3}
    ]
  end

  defp reductions do
    [
      {~w(all any sum prod max min minmax mean median logsumexp count_nonzero),
       [a: :array, axis: option(:axes, :axes), keepdims: option(:boolean, :keep_axes)]},
      {~w(var std),
       [a: :array, axis: option(:axes, :axes), keepdims: option(:boolean, :keep_axes)] ++
         [ddof: option(:integer, :ddof)]},
      {~w(argmax argmin), [a: :array, axis: option(:integer, :axis), keepdims: option(:boolean, :keep_axis)]},
      {~w(softmax), [a: :array, axis: option(:axes, :axes), precise: option(:boolean, :precise)]},
      {~w(cumsum cumprod cumulative_sum cumulative_prod),
       [a: :array, axis: option(:integer, :axis)] ++
         [reverse: option(:boolean, :reverse), inclusive: option(:boolean, :inclusive), dtype: option(:type, :type)]},
      {~w(cummax cummin logcumsumexp),
       [a: :array, axis: option(:integer, :axis)] ++
         [reverse: option(:boolean, :reverse), inclusive: option(:boolean, :inclusive)]},
      {~w(sort argsort), [a: :array, axis: nullable(:integer, :axis)]},
      {~w(unique),
       [a: :array, size: :integer, return_index: option(:boolean, :indices), return_inverse: option(:boolean, :inverse)] ++
         [return_counts: option(:boolean, :counts), fill_value: option(:any, :fill_value)]},
      {~w(partition argpartition), [a: :array, kth: :integer, axis: nullable(:integer, :axis)]},
      {~w(topk), [a: :array, k: :integer, axis: nullable(:integer, :axis)]},
      {~w(searchsorted), [sorted_sequence: :array, values: :array, side: option(:word, :side)]},
      {~w(diff), [a: :array, n: option(:integer, :order), axis: option(:integer, :axis)]}
    ]
  end

  defp shapes do
    [
      {~w(reshape), [a: :array, shape: :shape]},
      {~w(array.reshape), [self: :array, shape: variadic(:any)], &Shapes.reshape/3},
      {~w(transpose permute_dims), [a: :array, axes: option({:list, :integer}, :axes)]},
      {~w(array.transpose), [self: :array, axes: variadic(:any)], &Shapes.transpose/3},
      {~w(flatten), [a: :array, start_axis: default(:integer, 0), end_axis: default(:integer, -1)], &Shapes.flatten/3},
      {~w(unflatten), [a: :array, axis: :integer, shape: :shape]},
      {~w(squeeze flip), [a: :array, axis: option(:axes, :axes)]},
      {~w(expand_dims), [a: :array, axis: :axes]},
      {~w(swapaxes), [a: :array, axis1: :integer, axis2: :integer]},
      {~w(moveaxis), [a: :array, source: :integer, destination: :integer]},
      {~w(broadcast_to), [a: :operand, shape: :shape]},
      {~w(broadcast_arrays), [arrays: variadic(:any)], &Shapes.as_list/3},
      {~w(broadcast_shapes), [shapes: variadic(:shape)], &Shapes.shapes/3},
      {~w(meshgrid), [arrays: variadic(:any), sparse: option(:boolean, :sparse), indexing: option(:word, :indexing)],
       &Shapes.as_list/3},
      {~w(atleast_1d atleast_2d atleast_3d), [arrays: variadic(:operand)], &Shapes.each/3},
      {~w(concatenate concat), [arrays: {:list, :array}, axis: {:nullable, :integer}], &Shapes.concatenate/3},
      {~w(concatenate concat), [arrays: {:list, :array}]},
      {~w(stack), [arrays: {:list, :array}, axis: option(:integer, :axis)]},
      {~w(split), [a: :array, indices_or_sections: :axes, axis: option(:integer, :axis)]},
      {~w(unstack), [x: :array, axis: option(:integer, :axis)], &Shapes.as_tuple/3},
      {~w(repeat), [array: :array, repeats: :integer, axis: option(:integer, :axis)]},
      {~w(tile), [a: :array, reps: :axes]},
      {~w(roll), [a: :array, shift: :axes, axis: default(:axes, nil)], &Shapes.roll/3},
      {~w(as_strided),
       [a: :array, shape: default(:shape, nil), strides: default({:list, :integer}, nil)] ++
         [offset: option(:integer, :offset)], &Shapes.as_strided/3},
      {~w(pad), [a: :array, pad_width: :any, mode: option(:word, :mode), constant_values: option(:operand, :value)],
       &Shapes.pad/3}
    ]
  end

  defp selection do
    [
      {~w(take), [a: :array, indices: :operand, axis: always(:integer, :axis)]},
      {~w(take_along_axis), [a: :array, indices: :array, axis: default(:integer, nil)], &Selection.take_along_axis/3},
      {~w(put_along_axis), [a: :array, indices: :array, values: :operand, axis: default(:integer, nil)],
       &Selection.put_along_axis/3},
      {~w(slice), [a: :array, start_indices: :array, axes: {:list, :integer}, slice_size: {:list, :integer}],
       &Selection.slice/3},
      {~w(slice_update), [a: :array, update: :array, start_indices: :array, axes: {:list, :integer}],
       &Selection.slice_update/3}
    ]
  end

  defp products do
    [
      {~w(matmul inner outer kron), [a: :array, b: :array]},
      {~w(vecdot), [a: :array, b: :array, axis: option(:integer, :axis)]},
      {~w(tensordot), [a: :array, b: :array, axes: default(:any, 2)], &LinearAlgebra.tensordot/3},
      {~w(hadamard_transform), [a: :array, scale: option(:number, :scale)]},
      {~w(addmm), [c: :array, a: :array, b: :array, alpha: option(:number, :alpha), beta: option(:number, :beta)]}
    ]
  end

  defp runtime do
    [
      {~w(eval async_eval), [arrays: variadic(:any)], &Evaluation.evaluate/3},
      {~w(depends), [inputs: :any, dependencies: :any], &Evaluation.depends/3},
      {~w(default_device), [], fn _call, _bound, _options -> Context.default_device() end},
      {~w(set_default_device), [device: :device]},
      {~w(set_default_stream), [s: :stream]},
      {~w(default_stream new_stream device_count is_available), [device: :device]},
      {~w(device_info), [d: default(:device, nil)], &Evaluation.device_info/3},
      {~w(synchronize), [s: default(:stream, nil)], &Evaluation.synchronize/3},
      {~w(clear_streams), [], fn _call, _bound, _options -> nil end},
      {~w(metal.is_available cuda.is_available), []},
      {~w(get_active_memory), [], &Evaluation.active_memory/3},
      {~w(get_cache_memory get_peak_memory reset_peak_memory clear_cache get_memory_limit), []},
      {~w(set_cache_limit set_memory_limit set_wired_limit), [limit: :integer]}
    ]
  end

  defp random do
    key = [key: option(:array, :key)]
    type = [dtype: option(:type, :type)]

    [
      {~w(random.seed), [seed: {:either, [:integer, :array]}]},
      {~w(random.key), [seed: :integer]},
      {~w(random.split), [key: :array, num: option(:integer, :parts)]},
      {~w(random.uniform),
       [low: option(:operand, :low), high: option(:operand, :high), shape: default(:shape, {})] ++
         type ++ key},
      {~w(random.normal),
       [shape: default(:shape, {})] ++
         type ++
         [loc: option(:operand, :loc), scale: option(:operand, :scale)] ++ key},
      {~w(random.randint), [low: :operand, high: :operand, shape: option(:shape, :shape)] ++ type ++ key},
      {~w(random.bernoulli), [p: default(:operand, 0.5), shape: option(:shape, :shape)] ++ key, &Creation.bernoulli/3},
      {~w(random.gumbel), [shape: default(:shape, {})] ++ type ++ key},
      {~w(random.laplace),
       [shape: default(:shape, {})] ++
         type ++
         [loc: option(:number, :loc), scale: option(:number, :scale)] ++ key},
      {~w(random.truncated_normal), [lower: :operand, upper: :operand, shape: option(:shape, :shape)] ++ type ++ key},
      {~w(random.permutation), [x: {:either, [:integer, :array]}, axis: option(:integer, :axis)] ++ key},
      {~w(random.categorical),
       [logits: :array, axis: option(:integer, :axis), shape: option(:shape, :shape)] ++
         [num_samples: option(:integer, :num_samples)] ++ key},
      {~w(random.multivariate_normal), [mean: :array, cov: :array, shape: option(:shape, :shape)] ++ type ++ key}
    ]
  end

  defp linear_algebra do
    upper = [upper: option(:boolean, :upper)]

    [
      {linalg(~w(inv pinv det slogdet eig eigvals lu lu_factor qr)), [a: :array]},
      {linalg(~w(cholesky cholesky_inv tri_inv)), [a: :array] ++ upper},
      {linalg(~w(solve)), [a: :array, b: :array]},
      {linalg(~w(solve_triangular)), [a: :array, b: :array] ++ upper},
      {linalg(~w(cross)), [a: :array, b: :array, axis: option(:integer, :axis)]},
      {linalg(~w(svd)), [a: :array, compute_uv: option(:boolean, :compute_uv)]},
      {linalg(~w(eigh eigvalsh)), [a: :array, UPLO: default(:text, "L")], &LinearAlgebra.hermitian/3},
      {linalg(~w(norm)),
       [a: :array, ord: default({:either, [:number, :word]}, nil)] ++
         [axis: option(:axes, :axes), keepdims: option(:boolean, :keep_axes)], &LinearAlgebra.norm/3},
      {~w(einsum einsum_path), [subscripts: :text, operands: variadic(:array)], &LinearAlgebra.einsum/3},
      {~w(segmented_mm), [a: :array, b: :array, segments: :array]},
      {~w(gather_mm),
       [a: :array, b: :array, lhs_indices: option(:array, :left_indices)] ++
         [rhs_indices: option(:array, :right_indices), sorted_indices: option(:boolean, :sorted)]},
      {~w(block_masked_mm),
       [a: :array, b: :array, block_size: option(:integer, :block_size), mask_out: option(:array, :mask_out)] ++
         [mask_lhs: option(:array, :mask_left), mask_rhs: option(:array, :mask_right)]}
    ]
  end

  defp linalg(names), do: for(name <- names, do: "linalg." <> name)

  defp fourier do
    norm = [norm: option(:word, :norm)]
    sides = norm ++ [onesided: option(:boolean, :one_sided)]

    frames = [
      n_fft: option(:integer, :length),
      hop_length: option(:integer, :hop),
      win_length: option(:integer, :window_length),
      window: option(:array, :window),
      center: option(:boolean, :center)
    ]

    [
      {~w(fft.fft fft.ifft fft.rfft fft.irfft),
       [a: :array, n: option(:integer, :length), axis: option(:integer, :axis)] ++ norm},
      {~w(fft.fft2 fft.ifft2 fft.rfft2 fft.irfft2),
       [a: :array, s: option({:list, :integer}, :lengths)] ++
         [axes: default({:nullable, {:list, :integer}}, [-2, -1])] ++ norm, &Fourier.two_axes/3},
      {~w(fft.fftn fft.ifftn fft.rfftn fft.irfftn),
       [a: :array, s: option({:list, :integer}, :lengths), axes: option({:list, :integer}, :axes)] ++ norm},
      {~w(fft.stft), [x: :array] ++ frames ++ [pad_mode: option(:word, :mode)] ++ sides},
      {~w(fft.istft), [stft_matrix: :array] ++ frames ++ sides ++ [length: option(:integer, :samples)]},
      {~w(fft.fftshift fft.ifftshift), [a: :array, axes: option(:axes, :axes)]},
      {~w(fft.fftfreq fft.rfftfreq), [n: :integer, d: option(:number, :spacing)]}
    ]
  end

  defp files do
    metadata = [metadata: default({:map, :any}, nil)]

    [
      {~w(load), [file: :path, format: option(:word, :format), return_metadata: default(:boolean, false)],
       &Files.load/3},
      {~w(save), [file: {:either, [:file, :text]}, arr: :array], &Files.save/3},
      {~w(savez), [file: {:either, [:file, :text]}, args: variadic(:array), kwargs: named(:array)],
       Files.save_several(false)},
      {~w(savez_compressed), [file: {:either, [:file, :text]}, args: variadic(:array), kwargs: named(:array)],
       Files.save_several(true)},
      {~w(save_safetensors), [file: {:either, [:file, :text]}, arrays: {:map, :array}] ++ metadata,
       Files.save_with_metadata(:safetensors)},
      {~w(save_gguf), [file: {:either, [:file, :text]}, arrays: {:map, :array}] ++ metadata,
       Files.save_with_metadata(:gguf)}
    ]
  end

  # Convolutions, quantization and fused operations.
  defp networks do
    groups = [groups: option(:integer, :feature_group_size)]
    dilation = [dilation: option(:axes, :kernel_dilation)]
    window = [stride: option(:axes, :strides), padding: option(:axes, :padding)] ++ dilation
    format = [group_size: option(:integer, :group_size), bits: option(:integer, :bits), mode: option(:word, :mode)]
    global_scales = [global_scale_x: option(:array, :global_scale_x), global_scale_w: option(:array, :global_scale_w)]
    indices = [lhs_indices: option(:array, :left_indices), rhs_indices: option(:array, :right_indices)]
    sorted = [sorted_indices: option(:boolean, :sorted)]
    quantized = [w: :array, scales: :array, biases: default(:array, nil)]
    eps = [eps: option(:number, :eps)]

    [
      {~w(conv1d conv2d conv3d), [input: :array, weight: :array] ++ window ++ groups},
      {~w(conv_transpose1d conv_transpose2d conv_transpose3d),
       [input: :array, weight: :array] ++ window ++ [output_padding: option(:axes, :output_padding)] ++ groups},
      {~w(conv_general),
       [input: :array, weight: :array, stride: option(:axes, :strides), padding: default(:any, 0)] ++
         [kernel_dilation: option(:axes, :kernel_dilation), input_dilation: option(:axes, :input_dilation)] ++
         groups ++ [flip: option(:boolean, :flip)], &Convolution.general/3},
      {~w(convolve), [a: :array, v: :array, mode: option(:word, :mode)]},
      {~w(quantize), [w: :array] ++ format ++ [global_scale: option(:array, :global_scale)]},
      {~w(dequantize),
       quantized ++ format ++ [global_scale: option(:array, :global_scale), dtype: option(:type, :type)]},
      {~w(quantized_matmul), [x: :array] ++ quantized ++ [transpose: option(:boolean, :transpose)] ++ format},
      {~w(gather_qmm),
       [x: :array] ++
         quantized ++
         indices ++
         [transpose: option(:boolean, :transpose)] ++
         format ++ [global_scale: option(:array, :global_scale)] ++ sorted},
      {~w(qqmm), [x: :array, w: :array, scales: option(:array, :scales)] ++ format ++ global_scales},
      {~w(gather_qqmm),
       [x: :array, w: :array, scales: option(:array, :scales)] ++ indices ++ format ++ global_scales ++ sorted},
      {~w(fast.rms_norm), [x: :array, weight: default(:array, nil)] ++ eps},
      {~w(fast.layer_norm), [x: :array, weight: default(:array, nil), bias: default(:array, nil)] ++ eps},
      {~w(fast.cross_entropy), [logits: :array, targets: :array]},
      {~w(fast.gated_delta_update),
       [q: :array, k: :array, v: :array, gamma: :array, beta: :array, initial_state: option(:array, :state)] ++
         [mask: option(:array, :mask)]},
      {~w(fast.rope),
       [a: :array, dims: :integer, traditional: option(:boolean, :traditional), base: nullable(:number, :base)] ++
         [scale: option(:number, :scale), offset: option({:either, [:integer, :array]}, :offset)] ++
         [freqs: option(:array, :freqs)]},
      {~w(fast.scaled_dot_product_attention),
       [q: :array, k: :array, v: :array, scale: option(:number, :scale)] ++
         [mask: option({:either, [:array, :word]}, :mask), sinks: option(:array, :sinks)] ++
         [force_fused: option(:boolean, :force_fused)]}
    ]
  end

  defp kernels do
    source =
      [name: :text, input_names: {:list, :text}, output_names: {:list, :text}, source: :text] ++
        [header: option(:text, :header), ensure_row_contiguous: option(:boolean, :row_major)]

    [
      {~w(fast.metal_kernel), source ++ [atomic_outputs: option(:boolean, :atomic_outputs)], &Kernels.make/3},
      {~w(fast.cuda_kernel), source ++ [shared_memory: option(:integer, :shared_memory)], &Kernels.make/3}
    ]
  end

  defp transforms do
    numbers = [argnums: default({:nullable, :axes}, nil), argnames: default({:either, [:text, {:list, :text}]}, [])]
    axes = [in_axes: default({:nullable, :any}, 0), out_axes: default({:nullable, :any}, 0)]
    arrays = {:list, :array}

    [
      {~w(conformance.apply), [function: :function, arguments: :any, keywords: :any], &Transforms.apply_function/3},
      {~w(grad), [fun: :function] ++ numbers, &Transforms.grad/3},
      {~w(value_and_grad), [fun: :function] ++ numbers, &Transforms.value_and_grad/3},
      {~w(vjp), [fun: :function, primals: arrays, cotangents: arrays], &Transforms.vjp/3},
      {~w(jvp), [fun: :function, primals: arrays, tangents: arrays], &Transforms.jvp/3},
      {~w(vmap), [fun: :function] ++ axes, &Transforms.vmap/3},
      {~w(compile), [fun: :function, shapeless: option(:boolean, :shapeless)]},
      {~w(enable_compile disable_compile), []},
      {~w(checkpoint), [fun: :function]},
      {~w(custom_function),
       [f: :function, vjp: option(:function, :vjp), jvp: option(:function, :jvp)] ++
         [vmap: option(:function, :vmap)], &Transforms.custom_function/3}
    ]
  end

  defp exports do
    options = [shapeless: option(:boolean, :shapeless), metadata: option(:text, :metadata)]

    [
      {~w(export_function),
       [file_or_callback: {:either, [:text, :function]}, fun: :function, args: variadic(:any)] ++
         options ++ [kwargs: named(:any)], &Exports.export/3},
      {~w(exporter), [file: :text, fun: :function, calls: {:list, :any}] ++ options, &Exports.export_several/3},
      {~w(import_function), [file: :text, return_metadata: default(:boolean, false)], &Exports.import/3},
      {~w(export_to_dot), [args: variadic(:any), kwargs: named(:array)], &Exports.graph/3}
    ]
  end

  defp distributed do
    group = [group: option(:group, :group)]

    [
      {processes(~w(init)), [strict: option(:boolean, :strict), backend: option(:word, :backend)]},
      {processes(~w(is_available)), [backend: default(:word, :any)]},
      {processes(~w(Group.rank)), [self: :group], fn _call, %{self: group}, _options -> group.rank end},
      {processes(~w(Group.size)), [self: :group], fn _call, %{self: group}, _options -> group.size end},
      {processes(~w(Group.split)), [self: :group, color: :integer, key: default(:integer, -1)]},
      {processes(~w(all_sum all_max all_min all_gather sum_scatter)), [x: :operand] ++ group}
    ]
  end

  defp processes(names), do: for(name <- names, do: "distributed." <> name)
  defp dunder(words), do: for(word <- words, do: "array.__#{word}__")
end
