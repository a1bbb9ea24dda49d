defmodule Mlx.NativeArguments do
  @moduledoc """
  The kinds of the arguments of native functions, and valid calls of them as descriptions of arguments (`Mlx.Argument`),
  for tests that make up calls.

  The headers of mlx-c say the kinds (`Mlx.NativePrototypes`), and where they do not, the descriptions of operations
  (`Mlx.Description`). Most valid calls follow from the kinds; where arguments have to fit together, descriptions have
  examples. This file has both for functions that are no operations.
  """

  import Mlx.Argument, only: [array: 1, array: 2, array: 3]

  alias Mlx.{Descriptions, NativePrototypes}
  alias Mlx.LM.Grammar.{Program, Rules, Vocabulary}

  @kinds [
    {~w(array array array array array array number stream)a, ~w(fast_cached_attention)a},
    {~w(array array array array size size stream)a, ~w(fast_packed_matmul)a},
    {~w(number type)a, ~w(scalar)a},
    {~w(arrays)a, ~w(async_eval buffer_size deallocate_all eval is_traced)a},
    {~w(arrays arrays)a, ~w(start_ahead)a},
    {~w(text arrays)a, ~w(begin_tape)a},
    {~w(text shapes)a, ~w(begin_tape_without_values)a},
    {~w(tape arrays)a, ~w(finish_tape)a},
    {~w(tape)a, ~w(abandon_tape)a},
    {~w(program)a, ~w(program_call program_checkpoint)a},
    {~w(program size)a, ~w(program_jvp program_prepare program_vjp)a},
    {~w(program axes)a, ~w(program_value_and_grad)a},
    {~w(program axes axes)a, ~w(program_vmap)a},
    {~w(program optional_program optional_program optional_vmap_rules)a, ~w(program_custom_function)a},
    {~w(text)a, ~w(vmap_rules_new)a},
    {~w(vmap_rules vmap_inputs program arrays axes)a, ~w(vmap_rule_insert)a},
    {~w(path example_calls flag text)a, ~w(export_functions)a},
    {~w(example_call flag)a, ~w(describe_function)a},
    {~w(arrays texts)a, ~w(export_to_dot)a},
    {~w(path)a, ~w(import_function)a},
    {~w(imported_function size texts)a, ~w(imported_call)a},
    {~w(program)a, ~w(program_is_dynamic)a},
    {~w(loop_condition program size)a, ~w(program_loop)a},
    {~w(program program flag)a, ~w(program_branch)a},
    {~w(size shapes)a, ~w(host_call)a},
    {~w(instruction arrays text)a, ~w(execute)a},
    {~w(execution optional_arrays)a, ~w(resume)a},
    {~w(instruction arrays)a, ~w(apply_instruction)a},
    {~w(program flag compiled_functions)a, ~w(compile)a},
    {~w(compiled_function arrays)a, ~w(call_compiled)a},
    {~w(size flag)a, ~w(cache_new)a},
    {~w(cache)a, ~w(cache_latest)a},
    {~w(cache container flag)a, ~w(cache_call)a},
    {~w(cache container flag compiled_entry)a, ~w(cache_insert)a},
    {~w(map)a, ~w(table_new)a},
    {~w(table text)a, ~w(table_find)a},
    {~w(token_tree rule_tables size binary optional_binary)a, ~w(grammar_reach)a},
    {~w(token_tree rule_tables counted_state binary optional_binary)a, ~w(grammar_count)a},
    {~w(token_sets token_set size)a, ~w(grammar_union)a},
    {~w(array)a, ~w(deallocate is_available item to_binary to_pointer)a},
    {~w(offset shape type number)a, ~w(from_pointer)a},
    {~w(text texts texts text text flag flag)a, ~w(metal_kernel)a},
    {~w(text texts texts text text flag size)a, ~w(cuda_kernel)a},
    {~w(kernel arrays kernel_call stream)a, ~w(kernel_apply)a},
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
    {~w(text)a, ~w(distributed_is_available distributed_lose)a},
    {~w(text size optional_size)a, ~w(distributed_join_ring)a},
    {~w(text group optional_size)a, ~w(distributed_recorded)a},
    {~w(path stream)a, ~w(load load_safetensors)a},
    {~w(path)a, ~w(metal_start_capture)a},
    {~w(process offset)a, ~w(collected)a},
    {~w(kernel_making)a, ~w(set_kernel_making)a},
    {~w(offset)a,
     ~w(hold_wired_memory keep_within_room report_growth set_array_limit set_cache_limit set_memory_limit set_wired_limit uncollected_processes)a},
    {[],
     ~w(clear_cache cuda_is_available default_device get_active_memory get_array_limit get_cache_limit get_cache_memory get_held_memory get_memory_limit get_peak_memory get_wired_limit kernel_failure kernel_folder metal_is_available metal_stop_capture needed_collection open_kernels overfull_processes postpone_collection reset_peak_memory room_made sees_late_failures uncollected_bytes version)a}
  ]

  @kinds_of for {kinds, names} <- @kinds, name <- names, into: %{}, do: {name, kinds}

  @doc "The kinds of a native function's arguments, or `nil` where nothing says them."
  @spec kinds(atom()) :: [atom()] | nil
  def kinds(name), do: @kinds_of[name] || Descriptions.kinds(name) || NativePrototypes.kinds(name)

  @doc "The functions whose kinds are in this file or in a description."
  @spec functions() :: [atom()]
  def functions, do: Map.keys(@kinds_of) ++ Descriptions.native_functions()

  @doc "At least one valid call of a function."
  @spec examples(atom()) :: [[Mlx.Argument.description()], ...]
  def examples(name) do
    case listed(name) ++ Descriptions.examples(name) do
      [] -> [Enum.map(kinds(name), &default/1)]
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
  def default(:compiled_entry), do: {:special, :compiled_entry}
  def default(:compiled_functions), do: [{:special, :compiled_function}]
  def default(:container), do: [array({4, 4})]
  def default(:counted_state), do: {1, 1, 0}
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
  def default(:optional_binary), do: nil
  def default(:path), do: {:path, "example"}
  def default(:process), do: {:special, :pid}
  def default(:program), do: {:special, :program}

  def default(:rule_tables) do
    rules = Rules.new(%{root: {:repeat, {:set, [{?a, ?b}]}, 0, 3}}, :root)
    rules |> Program.new() |> Program.tables()
  end

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
  def default(:token_set), do: {:ids, <<5::32-little>>}
  def default(:token_sets), do: [<<1, 0, 0, 0>>, {:ids, <<3::32-little, 9::32-little>>}]
  def default(:token_tree), do: [{1, "a"}, {3, "ab"}, {4, "b"}, {5, "bb"}] |> Vocabulary.new() |> Vocabulary.tables()
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

  defp listed(:fast_cached_attention) do
    [queries, part, buffer] = [array({1, 4, 2, 8}), array({1, 2, 2, 8}), array({1, 2, 16, 8})]
    [[queries, part, part, buffer, buffer, array({}, :s32, :ones), 0.5, nil]]
  end

  defp listed(:fast_packed_matmul) do
    for bits <- [4, 8] do
      factors = array({4, 2})
      [array({3, 64}), array({4, 2 * bits}, :u32), factors, factors, 32, bits, nil]
    end
  end

  defp listed(name) when name in [:grammar_count, :grammar_reach] do
    state = if name == :grammar_count, do: default(:counted_state), else: 1

    for {nodes, all} <- [{<<0::32>>, nil}, {<<0::32>>, <<0b111010, 0::24>>}, {<<0::32, 1::32-little>>, nil}] do
      [default(:token_tree), default(:rule_tables), state, nodes, all]
    end
  end

  defp listed(:distributed_init), do: [[false, :any, nil], [false, "ring", 100]]
  defp listed(:distributed_is_available), do: [[:any], ["ring"]]
  defp listed(:distributed_join_ring), do: [["nowhere.json", 0, 100]]
  defp listed(:distributed_recorded), do: [["all_sum", {:special, :group}, nil]]
  defp listed(:device_info), do: [[:cpu, 0]]
  defp listed(:device_is_available), do: [[:cpu, 0]]
  defp listed(:load), do: [[{:path, "example.npy"}, nil]]
  defp listed(:load_safetensors), do: [[{:path, "example.safetensors"}, nil]]
  defp listed(_name), do: []
end
