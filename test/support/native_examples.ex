defmodule Mlx.NativeExamples do
  @moduledoc """
  Valid calls of every native function, as descriptions of arguments (`Mlx.Argument`).

  Most follow from the kinds of the arguments. Where these have to fit together, descriptions of operations have examples,
  and this file has those of functions that are no operations.
  """

  import Mlx.Argument, only: [array: 1, array: 2, array: 3]

  alias Mlx.{Descriptions, NativeSignatures}

  @doc "At least one valid call of a function."
  @spec of(atom()) :: [[Mlx.Argument.description()], ...]
  def of(name) do
    case listed(name) ++ Descriptions.examples(name) do
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
