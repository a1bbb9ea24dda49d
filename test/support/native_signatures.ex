defmodule Mlx.NativeSignatures do
  @moduledoc """
  What the arguments of the native functions are, for tests that make them up. Descriptions of operations say it where
  the headers of mlx-c do not (`Mlx.NativePrototypes`), and a table for functions that are no operations.

  Where arguments have to fit together, `Mlx.NativeExamples` has calls that do.
  """

  alias Mlx.{Descriptions, NativePrototypes}

  @kinds [
    {~w(array array array array array array number stream)a, ~w(fast_cached_attention)a},
    {~w(number type)a, ~w(scalar)a},
    {~w(arrays)a, ~w(async_eval buffer_size eval is_traced)a},
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
    {~w(size)a, ~w(cache_new)a},
    {~w(cache)a, ~w(cache_latest)a},
    {~w(cache text)a, ~w(cache_find)a},
    {~w(cache text text text)a, ~w(cache_insert)a},
    {~w(map)a, ~w(table_new)a},
    {~w(table text)a, ~w(table_find)a},
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

  @doc "The functions of the table."
  @spec functions() :: [atom()]
  def functions, do: Map.keys(@kinds_of)
end
