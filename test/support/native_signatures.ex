defmodule Mlx.NativeSignatures do
  @moduledoc """
  What the arguments of the native functions are, for tests that make them up: a table of kinds of arguments.

  Where arguments have to fit together, `examples/1` has calls that do.
  """

  @kinds [
    {~w(array stream)a,
     ~w(abs arccos arccosh arcsin arcsinh arctan arctanh argsort atleast_1d atleast_2d atleast_3d bitwise_invert ceil
        conjugate copy cos cosh degrees erf erfinv exp expm1 flip floor imag isfinite isinf isnan isneginf isposinf
        linalg_det linalg_eig linalg_eigvals linalg_inv linalg_lu linalg_lu_factor linalg_pinv linalg_qr linalg_slogdet
        log log10 log1p log2 logical_not negative ones_like positive radians real reciprocal rsqrt sigmoid sign sin sinh
        sort sqrt square squeeze stop_gradient tan tanh to_fp8 trace transpose trunc unstack zeros_like)a},
    {~w(array array stream)a,
     ~w(add arctan2 bitwise_and bitwise_or bitwise_xor divide divmod equal floor_divide greater greater_equal inner kron
        left_shift less less_equal linalg_solve logaddexp logical_and logical_or logical_xor matmul maximum minimum
        multiply not_equal outer power remainder right_shift subtract)a},
    {~w(array array array stream)a, ~w(where)a},
    {~w(array array array number number stream)a, ~w(addmm)a},
    {~w(array array flag stream)a, ~w(array_equal linalg_solve_triangular)a},
    {~w(array array number number flag stream)a, ~w(allclose isclose)a},
    {~w(array array text stream)a, ~w(searchsorted)a},
    {~w(array array axis stream)a, ~w(linalg_cross tensordot_axis vecdot)a},
    {~w(array array axes axes stream)a, ~w(tensordot)a},
    {~w(array array type stream)a, ~w(full_like)a},
    {~w(array optional_array optional_array stream)a, ~w(clip)a},
    {~w(array mask array stream)a, ~w(masked_scatter)a},
    {~w(array flag stream)a,
     ~w(all any argmax argmin contiguous count_nonzero linalg_cholesky linalg_cholesky_inv linalg_svd linalg_tri_inv
        logsumexp max mean median min prod softmax sum)a},
    {~w(array axis flag stream)a,
     ~w(all_axis any_axis argmax_axis argmin_axis count_nonzero_axis logsumexp_axis max_axis mean_axis median_axis
        min_axis prod_axis softmax_axis sum_axis)a},
    {~w(array axes flag stream)a,
     ~w(all_axes any_axes count_nonzero_axes linalg_norm_l2 logsumexp_axes max_axes mean_axes median_axes min_axes
        prod_axes softmax_axes sum_axes)a},
    {~w(array axes flag type stream)a, ~w(number_of_elements)a},
    {~w(array number axes flag stream)a, ~w(linalg_norm)a},
    {~w(array text axes flag stream)a, ~w(linalg_norm_matrix)a},
    {~w(array text stream)a, ~w(linalg_eigh linalg_eigvalsh)a},
    {~w(array flag size stream)a, ~w(std var)a},
    {~w(array axis flag size stream)a, ~w(std_axis var_axis)a},
    {~w(array axes flag size stream)a, ~w(std_axes var_axes)a},
    {~w(array flag flag stream)a, ~w(cummax cummin logcumsumexp)a},
    {~w(array axis flag flag stream)a, ~w(cummax_axis cummin_axis logcumsumexp_axis)a},
    {~w(array flag flag optional_type stream)a, ~w(cumprod cumsum)a},
    {~w(array axis flag flag optional_type stream)a, ~w(cumprod_axis cumsum_axis)a},
    {~w(array size stream)a, ~w(argpartition diag partition repeat round topk tril triu)a},
    {~w(array size axis stream)a, ~w(argpartition_axis diff partition_axis repeat_axis split topk_axis)a},
    {~w(array size axis axis stream)a, ~w(diagonal)a},
    {~w(array size axis axis type stream)a, ~w(trace_axes)a},
    {~w(array axis stream)a, ~w(argsort_axis expand_dims flip_axis sort_axis squeeze_axis unstack_axis)a},
    {~w(array axis axis stream)a, ~w(flatten moveaxis swapaxes)a},
    {~w(array axis shape stream)a, ~w(unflatten)a},
    {~w(array axes stream)a, ~w(expand_dims_axes fft_fftshift fft_ifftshift flip_axes squeeze_axes transpose_axes)a},
    {~w(array type stream)a, ~w(astype from_fp8 ones_like_dtype view zeros_like_dtype)a},
    {~w(array shape stream)a, ~w(broadcast_to reshape)a},
    {~w(array shape strides offset stream)a, ~w(as_strided)a},
    {~w(array sizes stream)a, ~w(roll tile)a},
    {~w(array sizes axis stream)a, ~w(roll_axis split_sections)a},
    {~w(array sizes axes stream)a, ~w(roll_axes)a},
    {~w(array axes sizes sizes array text stream)a, ~w(pad)a},
    {~w(array size array text stream)a, ~w(pad_symmetric)a},
    {~w(array number optional_number optional_number stream)a, ~w(nan_to_num)a},
    {~w(array optional_number stream)a, ~w(hadamard_transform)a},
    {~w(array size axis norm stream)a, ~w(fft_fft fft_ifft fft_irfft fft_rfft)a},
    {~w(array sizes axes norm stream)a,
     ~w(fft_fft2 fft_fftn fft_ifft2 fft_ifftn fft_irfft2 fft_irfftn fft_rfft2 fft_rfftn)a},
    {~w(arrays stream)a, ~w(broadcast_arrays concatenate stack)a},
    {~w(arrays axis stream)a, ~w(concatenate_axis stack_axis)a},
    {~w(arrays arrays)a, ~w(depends)a},
    {~w(arrays flag text stream)a, ~w(meshgrid)a},
    {~w(text arrays stream)a, ~w(einsum)a},
    {~w(array indices stream)a, ~w(fast_cross_entropy take)a},
    {~w(array indices axis stream)a, ~w(take_along_axis take_axis)a},
    {~w(array indices array axis stream)a,
     ~w(put_along_axis scatter_add_axis scatter_add_single scatter_max_single scatter_min_single scatter_prod_single
        scatter_single)a},
    {~w(array index_list array axes stream)a, ~w(scatter scatter_add scatter_max scatter_min scatter_prod)a},
    {~w(array index_list axes sizes stream)a, ~w(gather)a},
    {~w(array indices axis sizes stream)a, ~w(gather_single)a},
    {~w(array sizes sizes strides stream)a, ~w(slice)a},
    {~w(array array sizes sizes strides stream)a,
     ~w(slice_update slice_update_add slice_update_max slice_update_min slice_update_prod)a},
    {~w(array indices axes sizes stream)a, ~w(slice_dynamic)a},
    {~w(array array indices axes stream)a, ~w(slice_update_dynamic)a},
    {~w(array array indices stream)a, ~w(segmented_mm)a},
    {~w(array array optional_indices optional_indices flag stream)a, ~w(gather_mm)a},
    {~w(array array size optional_array optional_array optional_array stream)a, ~w(block_masked_mm)a},
    {~w(array array size size size size stream)a, ~w(conv1d)a},
    {~w(array array size size size size size size size stream)a, ~w(conv2d)a},
    {~w(array array size size size size size size size size size size stream)a, ~w(conv3d)a},
    {~w(array array sizes sizes sizes sizes sizes size flag stream)a, ~w(conv_general)a},
    {~w(array array size size size size size stream)a, ~w(conv_transpose1d)a},
    {~w(array array size size size size size size size size size stream)a, ~w(conv_transpose2d)a},
    {~w(array array size size size size size size size size size size size size size stream)a, ~w(conv_transpose3d)a},
    {~w(array optional_size optional_size text optional_array stream)a, ~w(quantize)a},
    {~w(array array optional_array optional_size optional_size text optional_array optional_type stream)a,
     ~w(dequantize)a},
    {~w(array array array optional_array flag optional_size optional_size text stream)a, ~w(quantized_matmul)a},
    {~w(array array array optional_array optional_indices optional_indices flag optional_size optional_size text flag
        stream)a, ~w(gather_qmm)a},
    {~w(array array array optional_size optional_size text optional_array optional_array stream)a, ~w(qqmm)a},
    {~w(array array array optional_indices optional_indices optional_size optional_size text optional_array
        optional_array flag stream)a, ~w(gather_qqmm)a},
    {~w(array optional_array optional_array number stream)a, ~w(fast_layer_norm)a},
    {~w(array optional_array number stream)a, ~w(fast_rms_norm)a},
    {~w(array size flag optional_number number size optional_array stream)a, ~w(fast_rope)a},
    {~w(array size flag optional_number number indices optional_array stream)a, ~w(fast_rope_dynamic)a},
    {~w(array array array number text optional_array optional_array flag stream)a,
     ~w(fast_scaled_dot_product_attention)a},
    {~w(size stream)a, ~w(bartlett blackman hamming hanning)a},
    {~w(size type stream)a, ~w(identity)a},
    {~w(size size size type stream)a, ~w(eye tri)a},
    {~w(size number stream)a, ~w(fft_fftfreq fft_rfftfreq)a},
    {~w(number number number type stream)a, ~w(arange)a},
    {~w(number number size type stream)a, ~w(linspace)a},
    {~w(number number size flag type stream)a, ~w(linspace_endpoint)a},
    {~w(shape type stream)a, ~w(ones zeros)a},
    {~w(shape array type stream)a, ~w(full)a},
    {~w(seed)a, ~w(random_key)a},
    {~w(key stream)a, ~w(random_split)a},
    {~w(key size stream)a, ~w(random_split_num)a},
    {~w(size key stream)a, ~w(random_permutation_arange)a},
    {~w(array axis key stream)a, ~w(random_categorical random_permutation)a},
    {~w(array axis size key stream)a, ~w(random_categorical_num_samples)a},
    {~w(array axis shape key stream)a, ~w(random_categorical_shape)a},
    {~w(array shape key stream)a, ~w(random_bernoulli)a},
    {~w(shape size key stream)a, ~w(random_bits)a},
    {~w(shape type key stream)a, ~w(random_gumbel)a},
    {~w(shape type number number key stream)a, ~w(random_laplace random_normal)a},
    {~w(shape type array array key stream)a, ~w(random_normal_broadcast)a},
    {~w(array array shape type key stream)a,
     ~w(random_multivariate_normal random_randint random_truncated_normal random_uniform)a},
    {~w(binary shape type)a, ~w(from_binary)a},
    {~w(number type)a, ~w(scalar)a},
    {~w(arrays)a, ~w(async_eval eval)a},
    {~w(array)a, ~w(deallocate is_available item to_binary)a},
    {~w(device)a, ~w(default_stream device_count stream_new)a},
    {~w(device size)a, ~w(device_info device_is_available)a},
    {~w(stream_reference)a, ~w(choose_stream stream_device stream_index)a},
    {~w(stream)a, ~w(synchronize)a},
    {~w(array group optional_size)a,
     ~w(distributed_all_gather distributed_all_max distributed_all_min distributed_all_sum distributed_sum_scatter)a},
    {~w(array size group optional_size)a, ~w(distributed_recv_like distributed_send)a},
    {~w(shape type size group optional_size)a, ~w(distributed_recv)a},
    {~w(group)a, ~w(distributed_group_rank distributed_group_size)a},
    {~w(group size size)a, ~w(distributed_group_split)a},
    {~w(flag text optional_size)a, ~w(distributed_init)a},
    {~w(text)a, ~w(distributed_is_available)a},
    {~w(path stream)a, ~w(load load_gguf load_safetensors)a},
    {~w(path)a, ~w(metal_start_capture)a},
    {~w(path array)a, ~w(save)a},
    {~w(path named_arrays named_texts)a, ~w(save_gguf save_safetensors)a},
    {~w(offset)a, ~w(set_cache_limit set_memory_limit set_wired_limit)a},
    {[],
     ~w(clear_cache cuda_is_available default_device get_active_memory get_cache_memory get_memory_limit get_peak_memory
        metal_is_available metal_stop_capture reset_peak_memory version)a}
  ]

  @kinds_of for {kinds, names} <- @kinds, name <- names, into: %{}, do: {name, kinds}

  @doc "The kinds of a native function's arguments."
  @spec kinds(atom()) :: [atom()]
  def kinds(name), do: Map.fetch!(@kinds_of, name)

  @doc "All functions of the table."
  @spec functions() :: [atom()]
  def functions, do: Map.keys(@kinds_of)
end
