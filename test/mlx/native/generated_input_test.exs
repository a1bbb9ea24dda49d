defmodule Mlx.Native.GeneratedInputTest do
  # Every native function with wrong, odd and nearly right arguments: it may raise, and must not end the virtual machine,
  # hang, raise anything but Mlx.Error and ArgumentError, or give a result that cannot be read.
  use ExUnit.Case, async: false

  alias Mlx.{Argument, CallRunner, Native, NativeExamples, NativeSignatures}

  @moduletag timeout: 600_000

  @seed 20_260
  @functions_a_child 12
  # Not implemented on a CPU.
  @not_everywhere [:qqmm, :gather_qqmm]
  # Nobody is there to talk to.
  @for_several_processes ~w(distributed_group_split distributed_join_ring distributed_recv distributed_recv_like
                            distributed_send)a
  # May end the virtual machine, and need a GPU.
  @unsafe ~w(from_pointer kernel_apply metal_kernel cuda_kernel)a
  # Would hold for the tests that follow.
  @settings ~w(set_array_limit set_memory_limit set_cache_limit set_wired_limit keep_within_room hold_wired_memory
               report_growth set_kernel_making distributed_lose)a
  @files [:load, :load_safetensors, :import_function, :export_functions]

  test "the arguments of every native function are described" do
    assert [] == for({name, _arity} <- Native.functions(), NativeSignatures.kinds(name) == nil, do: name)
    assert NativeSignatures.functions() -- Keyword.keys(Native.functions()) == []

    for {name, arity} <- Native.functions(), example <- NativeExamples.of(name) do
      assert {name, length(example)} == {name, arity}
      assert {name, length(NativeSignatures.kinds(name))} == {name, arity}
    end
  end

  test "the valid calls that the generated ones come from succeed" do
    for {name, _arity} <- Native.functions(),
        name not in (@settings ++ @unsafe ++ @files ++ @not_everywhere ++ @for_several_processes),
        example <- NativeExamples.of(name) do
      result = apply(Native, name, Enum.map(example, &Argument.build(&1, System.tmp_dir!())))
      arrays = List.wrap(if is_tuple(result), do: Tuple.to_list(result), else: result)
      assert {name, :ok} == {name, Native.eval(Enum.filter(arrays, &is_struct(&1, Mlx.Array)))}
    end
  end

  test "no call of a native function ends the virtual machine" do
    {count, complaints} =
      Native.functions()
      |> Keyword.delete(:from_pointer)
      |> Keyword.keys()
      |> Enum.chunk_every(@functions_a_child)
      |> Task.async_stream(&CallRunner.run_in_children(&1, @seed),
        max_concurrency: System.schedulers_online(),
        ordered: false,
        timeout: :infinity
      )
      |> Enum.reduce({0, []}, fn {:ok, {count, complaints}}, {total, all} -> {total + count, complaints ++ all} end)

    IO.puts("\n#{count} generated calls of #{length(Native.functions())} native functions")
    assert count >= 20_000
    assert complaints == [], Enum.map_join(complaints, "\n", &describe/1)
  end

  defp describe({name, arguments, what}) do
    "Mlx.Native.#{name}(#{Enum.map_join(arguments, ", ", &inspect(&1, limit: 20))}) #{what}"
  end
end
