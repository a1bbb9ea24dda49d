defmodule Mlx.NativeExamples do
  @moduledoc """
  Valid calls of every native function, as descriptions of arguments (`Mlx.Argument`).

  Most follow from the kinds of the arguments; where these have to fit together, they are listed here.
  """

  import Mlx.Argument, only: [array: 1, array: 2, array: 3]

  alias Mlx.NativeSignatures

  @integer_operations ~w(bitwise_and bitwise_or bitwise_xor left_shift right_shift)a
  @convolution {1, 5, 5, 2}
  @kernel {4, 3, 3, 2}

  @doc "At least one valid call of a function."
  @spec of(atom()) :: [[Mlx.Argument.description()], ...]
  def of(name) do
    case listed(name) do
      [] -> [Enum.map(NativeSignatures.kinds(name), &default/1)]
      calls -> calls
    end
  end

  @doc "A plain argument of a kind."
  @spec default(atom()) :: Mlx.Argument.description()
  def default(:array), do: array({4, 4})
  def default(:arrays), do: [array({4, 4}), array({4, 4})]
  def default(:axes), do: [0]
  def default(:axis), do: 0
  def default(:binary), do: <<0, 1, 2, 3>>
  def default(:cache), do: {:special, :cache}
  def default(:compiled_function), do: {:special, :compiled_function}
  def default(:compiled_functions), do: [{:special, :compiled_function}]
  def default(:device), do: :cpu
  def default(:flag), do: false
  def default(:group), do: {:special, :group}
  def default(:instruction), do: {:special, :instruction}
  def default(:index_list), do: [array({2}, :s32)]
  def default(:indices), do: array({4, 4}, :s32)

  def default(:kernel), do: {:special, :kernel}

  def default(:kernel_making), do: :wait

  def default(:kernel_call),
    do: {[{{4, 4}, :f32}], {4, 1, 1}, {1, 1, 1}, [{"T", :f32}, {"n", 3}, {"b", true}], nil, false}

  def default(:key), do: array({2}, :u32)
  def default(:map), do: %{"first" => 1, 2 => "second"}
  def default(:mask), do: array({4, 4}, :bool)
  def default(:norm), do: :backward
  def default(:number), do: 1.5
  def default(:offset), do: 0
  def default(:path), do: {:path, "example"}
  def default(:process), do: {:special, :pid}
  def default(:program), do: {:special, :program}
  def default(:seed), do: 7
  def default(:shape), do: [4, 4]
  def default(:shapes), do: [{{4, 4}, :f32}]
  def default(:size), do: 2
  def default(:sizes), do: [2, 2]
  def default(:stream), do: nil
  def default(:stream_reference), do: {:special, :stream_reference}
  def default(:table), do: {:special, :table}
  def default(:strides), do: [4, 1]
  def default(:tape), do: {:special, :tape}
  def default(:text), do: ""
  def default(:texts), do: ["a"]
  def default(:type), do: :f32
  def default(:optional_array), do: nil
  def default(:optional_indices), do: nil
  def default(:optional_number), do: nil
  def default(:optional_program), do: nil
  def default(:optional_arrays), do: nil
  def default(:optional_vmap_rules), do: nil
  def default(:execution), do: {:special, :execution}
  def default(:loop_condition), do: {:special, :loop_condition}
  def default(:vmap_rules), do: {:special, :vmap_rules}
  def default(:vmap_inputs), do: [{0, {2, 4, 4}, :f32}]
  def default(:example_call), do: {:special, :example_call}
  def default(:example_calls), do: [{:special, :example_call}]
  def default(:imported_function), do: {:special, :imported_function}
  def default(:optional_size), do: nil
  def default(:optional_type), do: nil

  defp listed(name) when name in @integer_operations, do: [[array({4, 4}, :s32), array({4, 4}, :s32), nil]]
  defp listed(:bitwise_invert), do: [[array({4, 4}, :u8), nil]]
  defp listed(:from_fp8), do: [[array({4, 4}, :u8), :f32, nil]]
  # The recorded function takes one array and gives one.
  defp listed(name) when name in [:program_jvp, :program_vjp], do: [[{:special, :program}, 1]]
  defp listed(:import_function), do: [[{:path, "example.mlxfn"}]]
  defp listed(:imported_call), do: [[{:special, :imported_function}, 1, []]]
  defp listed(:vmap_rule_insert), do: [[{:special, :vmap_rules}, [{0, {2, 4, 4}, :f32}], {:special, :program}, [], [0]]]
  defp listed(:program_loop), do: [[{:special, :loop_condition}, {:special, :loop_body}, 1]]
  defp listed(:execute), do: [[{:special, :instruction}, [array({4, 4})], "tag"]]
  defp listed(:export_to_dot), do: [[[array({4, 4})], ["a"]]]
  defp listed(:program_vmap), do: [[{:special, :program}, [0], [0]]]
  defp listed(:apply_instruction), do: [[{:special, :instruction}, [array({4, 4})]]]
  defp listed(:call_compiled), do: [[{:special, :compiled_function}, [array({4, 4})]]]

  defp listed(:conv1d), do: [[array({1, 9, 2}), array({4, 3, 2}), 1, 1, 1, 1, nil]]
  defp listed(:conv2d), do: [[array(@convolution), array(@kernel), 1, 1, 1, 1, 1, 1, 1, nil]]

  defp listed(:conv3d) do
    [[array({1, 4, 5, 5, 2}), array({3, 2, 3, 3, 2}), 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, nil]]
  end

  defp listed(:conv_general) do
    [
      [array(@convolution), array(@kernel), [1, 1], [0, 1], [1, 0], [1, 1], [1, 1], 1, false, nil],
      [array(@convolution), array(@kernel), [2, 1], [2, 1], [1, 2], [1, 2], [2, 1], 1, true, nil],
      [array({1, 9, 4}), array({4, 3, 2}), [1], [1], [1], [1], [1], 2, false, nil]
    ]
  end

  defp listed(:conv_transpose1d), do: [[array({1, 9, 2}), array({4, 3, 2}), 2, 1, 1, 1, 1, nil]]
  defp listed(:conv_transpose2d), do: [[array(@convolution), array(@kernel), 2, 1, 1, 1, 1, 1, 0, 0, 1, nil]]

  defp listed(:conv_transpose3d) do
    [[array({1, 4, 5, 5, 2}), array({3, 2, 3, 3, 2}), 1, 1, 1, 0, 1, 1, 1, 1, 1, 0, 0, 0, 1, nil]]
  end

  defp listed(:einsum) do
    [
      ["ij,jk->ik", [array({3, 4}), array({4, 5})], nil],
      ["ii->i", [array({4, 4})], nil],
      ["i,j", [array({3}), array({2})], nil]
    ]
  end

  defp listed(:tensordot), do: [[array({3, 4}), array({4, 3}), [1], [0], nil]]
  defp listed(:tensordot_axis), do: [[array({3, 4}), array({4, 3}), 1, nil]]
  defp listed(:matmul), do: [[array({3, 4}), array({4, 5}), nil], [array({2, 3, 4}), array({4}), nil]]
  defp listed(:addmm), do: [[array({3, 5}), array({3, 4}), array({4, 5}), 0.5, 2.0, nil]]
  defp listed(:clip), do: [[array({4, 4}), array({}), nil, nil], [array({4, 4}), nil, array({4}), nil]]
  defp listed(:linalg_cross), do: [[array({4, 3}), array({4, 3}), 1, nil]]

  # The larger samples are singular.
  defp listed(:linalg_solve), do: [[array({3, 3}), array({3, 3}), nil]]
  defp listed(name) when name in [:linalg_inv, :linalg_pinv], do: [[array({3, 3}), nil]]

  defp listed(:linalg_norm_matrix),
    do: [[array({4, 4}), "fro", [0, 1], false, nil], [array({4, 4}), "nuc", [0, 1], true, nil]]

  defp listed(name) when name in [:linalg_eigh, :linalg_eigvalsh], do: [[array({4, 4}), "L", nil]]
  defp listed(:linalg_norm), do: [[array({4, 4}), 2.0, [0, 1], false, nil], [array({4}), 3.0, [0], true, nil]]
  defp listed(:trace_axes), do: [[array({4, 4}), 0, 0, 1, :f32, nil]]
  defp listed(:diagonal), do: [[array({4, 4}), 0, 0, 1, nil]]
  defp listed(:flatten), do: [[array({2, 3, 4}), 0, 1, nil]]
  defp listed(:unflatten), do: [[array({4, 4}), 0, [2, 2], nil]]
  defp listed(:swapaxes), do: [[array({4, 4}), 0, 1, nil]]
  defp listed(:transpose_axes), do: [[array({2, 3, 4}), [2, 0, 1], nil]]
  defp listed(:squeeze_axis), do: [[array({1, 4}), 0, nil]]
  defp listed(:squeeze_axes), do: [[array({1, 4, 1}), [0, 2], nil]]
  defp listed(:as_strided), do: [[array({4, 4}), [2, 3], [4, 1], 2, nil], [array({4, 4}), [3, 3], [1, 1], 0, nil]]
  defp listed(:split), do: [[array({4, 4}), 2, 0, nil]]
  defp listed(:split_sections), do: [[array({4, 4}), [1, 3], 0, nil]]
  defp listed(:roll_axis), do: [[array({4, 4}), [1], 0, nil]]
  defp listed(:roll_axes), do: [[array({4, 4}), [1, -1], [0, 1], nil]]
  defp listed(:roll), do: [[array({4, 4}), [3], nil]]

  defp listed(:pad),
    do: [
      [array({4, 4}), [0, 1], [1, 0], [2, 1], array({}), "constant", nil],
      [array({4, 4}), [0, 1], [1, 0], [2, 1], array({}), "edge", nil]
    ]

  defp listed(:pad_symmetric), do: [[array({4, 4}), 1, array({}), "constant", nil]]
  defp listed(:meshgrid), do: [[[array({2}), array({3})], false, "xy", nil]]
  defp listed(:searchsorted), do: [[array({4}, :f32, :ones), array({3}), "left", nil]]
  defp listed(:masked_scatter), do: [[array({4, 4}), array({4, 4}, :bool, :ones), array({16}), nil]]
  defp listed(:hadamard_transform), do: [[array({2, 8}), nil, nil], [array({2, 12}), 0.5, nil]]

  defp listed(:scatter), do: scatter_calls()
  defp listed(:scatter_add), do: scatter_calls()
  defp listed(:scatter_max), do: scatter_calls()
  defp listed(:scatter_min), do: scatter_calls()
  defp listed(:scatter_prod), do: scatter_calls()
  defp listed(:scatter_single), do: scatter_single_calls()
  defp listed(:scatter_add_single), do: scatter_single_calls()
  defp listed(:scatter_max_single), do: scatter_single_calls()
  defp listed(:scatter_min_single), do: scatter_single_calls()
  defp listed(:scatter_prod_single), do: scatter_single_calls()

  defp listed(:gather) do
    [
      [array({4, 5}), [array({3}, :s32)], [0], [1, 5], nil],
      [array({4, 5}), [array({3}, :u32), array({2, 1}, :u32)], [0, 1], [2, 2], nil]
    ]
  end

  defp listed(:gather_single), do: [[array({4, 5}), array({3}, :s32), 0, [1, 5], nil]]
  defp listed(:take), do: [[array({4, 5}), array({3}, :s32), nil]]
  defp listed(:take_axis), do: [[array({4, 5}), array({2, 3}, :s32), 1, nil]]
  defp listed(:take_along_axis), do: [[array({4, 5}), array({4, 2}, :s32), 1, nil]]
  defp listed(:fast_cross_entropy), do: [[array({4, 5}), array({4}, :s32), nil]]

  defp listed(:slice),
    do: [[array({4, 5}), [0, 1], [4, 5], [2, 1], nil], [array({4, 5}), [3, 4], [-5, -6], [-1, -2], nil]]

  defp listed(:slice_update), do: slice_update_calls()
  defp listed(:slice_update_add), do: slice_update_calls()
  defp listed(:slice_update_max), do: slice_update_calls()
  defp listed(:slice_update_min), do: slice_update_calls()
  defp listed(:slice_update_prod), do: slice_update_calls()
  defp listed(:slice_dynamic), do: [[array({4, 5}), array({2}, :s32, :ones), [0, 1], [2, 3], nil]]
  defp listed(:slice_update_dynamic), do: [[array({4, 5}), array({2, 3}), array({2}, :s32, :ones), [0, 1], nil]]
  defp listed(:segmented_mm), do: [[array({3, 8}), array({8, 2}), array({2, 2}, :u32), nil]]

  defp listed(:gather_mm),
    do: [
      [array({3, 2, 4}), array({3, 4, 5}), array({2}, :u32), array({2}, :u32), false, nil],
      [array({3, 2, 4}), array({3, 4, 5}), nil, array({3}, :u32, :zeros), true, nil]
    ]

  defp listed(:block_masked_mm) do
    [
      [array({64, 32}), array({32, 64}), 32, array({2, 2}, :bool), array({2, 1}, :bool), array({1, 2}, :bool), nil],
      [array({64, 32}), array({32, 64}), 64, array({1, 1}), nil, nil, nil]
    ]
  end

  defp listed(:quantize),
    do: [[array({4, 64}), 32, 4, "affine", nil, nil], [array({4, 64}), nil, nil, "mxfp4", nil, nil]]

  defp listed(:dequantize) do
    [
      [array({4, 8}, :u32), array({4, 2}), array({4, 2}), 32, 4, "affine", nil, nil, nil],
      [array({4, 8}, :u32), array({4, 2}, :u8), nil, 32, 4, "mxfp4", nil, nil, nil]
    ]
  end

  defp listed(:quantized_matmul) do
    [
      [array({3, 64}), array({4, 8}, :u32), array({4, 2}), array({4, 2}), true, 32, 4, "affine", nil],
      [array({3, 64}), array({64, 8}, :u32), array({64, 2}), array({64, 2}), false, 32, 4, "affine", nil],
      [array({3, 64}), array({4, 8}, :u32), array({4, 2}, :u8), nil, true, 32, 4, "mxfp4", nil]
    ]
  end

  defp listed(:fast_cached_attention) do
    [queries, part, buffer] = [array({1, 4, 2, 8}), array({1, 2, 2, 8}), array({1, 2, 16, 8})]
    [[queries, part, part, buffer, buffer, array({}, :s32, :ones), 0.5, nil]]
  end

  defp listed(:fast_gated_delta_update) do
    [keys, values, gates] = [array({1, 3, 2, 4}), array({1, 3, 4, 4}), array({1, 3, 4})]

    [
      [keys, keys, values, gates, gates, nil, nil, nil],
      [keys, keys, values, gates, gates, array({1, 4, 4, 4}), array({1, 3}, :bool), nil]
    ]
  end

  defp listed(:gather_qmm) do
    [
      [
        array({2, 3, 64}),
        array({2, 4, 8}, :u32),
        array({2, 4, 2}),
        array({2, 4, 2}),
        array({2}, :u32, :zeros),
        array({2}, :u32, :ones),
        true,
        32,
        4,
        "affine",
        nil,
        false,
        nil
      ],
      [
        array({2, 3, 64}),
        array({2, 4, 8}, :u32),
        array({2, 4, 2}),
        array({2, 4, 2}),
        nil,
        array({2}, :u32, :zeros),
        true,
        32,
        4,
        "affine",
        nil,
        true,
        nil
      ]
    ]
  end

  defp listed(:qqmm), do: [[array({3, 64}), array({4, 8}, :u32), array({4, 4}, :u8), 16, 4, "nvfp4", nil, nil, nil]]

  defp listed(:gather_qqmm) do
    [
      [
        array({2, 3, 64}),
        array({2, 4, 8}, :u32),
        array({2, 4, 4}, :u8),
        nil,
        array({2}, :u32, :zeros),
        16,
        4,
        "nvfp4",
        nil,
        nil,
        false,
        nil
      ]
    ]
  end

  defp listed(:fast_layer_norm), do: [[array({4, 5}), array({5}), array({5}), 1.0e-5, nil]]
  defp listed(:fast_rms_norm), do: [[array({4, 5}), array({5}), 1.0e-5, nil], [array({4, 5}), nil, 1.0e-5, nil]]

  defp listed(:fast_rope) do
    [
      [array({1, 2, 3, 8}), 8, false, 1.0e4, 1.0, 0, nil, nil],
      [array({1, 2, 3, 8}), 4, true, nil, 1.0, 5, array({2}), nil]
    ]
  end

  defp listed(:fast_rope_dynamic) do
    [
      [array({1, 2, 3, 8}), 8, false, 1.0e4, 1.0, array({}, :s32), nil, nil],
      [array({2, 2, 3, 8}), 4, true, nil, 1.0, array({2}, :s32), array({2}), nil]
    ]
  end

  defp listed(:fast_scaled_dot_product_attention) do
    [
      [array({1, 4, 3, 8}), array({1, 2, 5, 8}), array({1, 2, 5, 8}), 0.35, "", nil, nil, false, nil],
      [array({1, 4, 3, 8}), array({1, 2, 5, 8}), array({1, 2, 5, 8}), 0.35, "causal", nil, array({4}), false, nil],
      [
        array({1, 4, 3, 8}),
        array({1, 4, 5, 8}),
        array({1, 4, 5, 8}),
        0.35,
        "array",
        array({3, 5}, :bool),
        nil,
        false,
        nil
      ]
    ]
  end

  defp listed(:fft_stft) do
    [
      [array({2, 32}), 8, 2, 8, array({8}), true, "reflect", :backward, true, nil],
      [array({32}), 8, 8, 4, nil, false, "constant", :ortho, false, nil]
    ]
  end

  defp listed(:fft_istft) do
    [
      [array({2, 5, 9}, :c64), 8, 2, 8, array({8}), true, :backward, true, nil, nil],
      [array({8, 4}, :c64), 8, 8, 4, nil, false, :ortho, false, 20, nil]
    ]
  end

  defp listed(:fft_fft), do: fft_calls()
  defp listed(:fft_ifft), do: fft_calls()
  defp listed(:fft_rfft), do: fft_calls()
  defp listed(:fft_irfft), do: fft_calls()

  defp listed(name) when name in ~w(fft_fft2 fft_fftn fft_ifft2 fft_ifftn fft_irfft2 fft_irfftn fft_rfft2 fft_rfftn)a do
    [[array({4, 4}), [4, 4], [0, 1], :backward, nil], [array({3, 4, 5}), [2, 6], [0, -1], :ortho, nil]]
  end

  defp listed(:arange), do: [[0.0, 10.0, 2.5, :f32, nil], [10, 0, -1, :s32, nil]]
  defp listed(:random_bernoulli), do: [[array({4, 4}, :f32, :ones), [4, 4], array({2}, :u32), nil]]
  defp listed(:random_multivariate_normal), do: [[array({3}), array({3, 3}), [2], :f32, array({2}, :u32), nil]]

  defp listed(:random_randint),
    do: [[array({}, :s32, :zeros), array({}, :s32, :ones), [4, 4], :s32, array({2}, :u32), nil]]

  defp listed(:random_normal_broadcast) do
    [
      [[4, 4], :f32, array({4, 4}), array({4, 4}), array({2}, :u32), nil],
      [[2, 3], :f32, nil, nil, array({2}, :u32), nil]
    ]
  end

  defp listed(:random_bits), do: [[[4, 4], 4, array({2}, :u32), nil]]
  defp listed(:random_categorical_shape), do: [[array({4, 5}), -1, [3, 4], array({2}, :u32), nil]]
  defp listed(:put_along_axis), do: [[array({4, 5}), array({4, 2}, :s32), array({4, 2}), 1, nil]]
  defp listed(:scatter_add_axis), do: [[array({4, 5}), array({4, 2}, :s32), array({4, 2}), 1, nil]]
  defp listed(:distributed_init), do: [[false, :any, nil], [false, "ring", 100]]
  defp listed(:distributed_is_available), do: [[:any], ["ring"]]
  defp listed(:distributed_join_ring), do: [["nowhere.json", 0, 100]]
  defp listed(:distributed_recorded), do: [["all_sum", {:special, :group}, nil]]
  defp listed(:item), do: [[array({})]]
  defp listed(:from_binary), do: [[<<0::256>>, {2, 4}, :f32], [<<0::64>>, {8}, :bool]]
  defp listed(:device_info), do: [[:cpu, 0]]
  defp listed(:device_is_available), do: [[:cpu, 0]]
  defp listed(:load), do: [[{:path, "example.npy"}, nil]]
  defp listed(:load_safetensors), do: [[{:path, "example.safetensors"}, nil]]
  defp listed(_name), do: []

  defp scatter_calls do
    [
      [array({4, 5}), [array({3}, :s32)], array({3, 1, 5}), [0], nil],
      [array({4, 5}), [array({3}, :u32), array({2, 1}, :u32)], array({2, 3, 2, 2}), [0, 1], nil]
    ]
  end

  defp scatter_single_calls, do: [[array({4, 5}), array({3}, :s32), array({3, 1, 5}), 0, nil]]

  defp slice_update_calls do
    [
      [array({4, 5}), array({2, 4}), [0, 1], [4, 5], [2, 1], nil],
      [array({4, 5}), array({4, 3}), [3, 4], [-5, -6], [-1, -2], nil]
    ]
  end

  defp fft_calls, do: [[array({4, 8}), 8, 1, :backward, nil], [array({4, 8}), 6, 0, :forward, nil]]
end
