defmodule Mlx.Native.GeneratedInputTest do
  # Every native function with wrong, odd and nearly right arguments: it may raise, and must not end the virtual machine,
  # hang, raise anything but Mlx.Error and ArgumentError, or give a result that cannot be read.
  use ExUnit.Case, async: false

  alias Mlx.{Argument, CallRunner, Native, NativeArguments}

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

  # Where a line is to be added.
  @described "its description in test/descriptions (where it is no operation: test/support/native_arguments.ex)"
  @stubs "@functions of lib/mlx/native/native.ex"

  test "the arguments of every native function are described" do
    for {name, arity} <- Native.functions() do
      kinds = NativeArguments.kinds(name)

      assert kinds,
             "Mlx.Native.#{name}/#{arity} is in no header of mlx-c: add kinds: [#{name}: ~w(...)a] to #{@described}"

      assert length(kinds) == arity, "Mlx.Native.#{name}/#{arity}: the kinds of its arguments are #{inspect(kinds)}"

      for example <- NativeArguments.examples(name) do
        assert length(example) == arity, "Mlx.Native.#{name}/#{arity}: its example is #{inspect(example)}"
      end
    end

    gone = Enum.uniq(NativeArguments.functions()) -- Keyword.keys(Native.functions())
    assert gone == [], "#{inspect(gone)} in test/descriptions or test/support/native_arguments.ex, and not in #{@stubs}"
  end

  test "the valid calls that the generated ones come from succeed" do
    for {name, _arity} <- Native.functions(),
        NativeArguments.kinds(name) != nil,
        name not in (@settings ++ @unsafe ++ @files ++ @not_everywhere ++ @for_several_processes),
        example <- NativeArguments.examples(name) do
      outcome = outcome(name, example)

      assert outcome == :ok, """
      Mlx.Native.#{name} refuses #{inspect(example)}:
      #{outcome}
      Add examples: [#{name}: [[...]]] with arguments that fit together to #{@described}.
      """
    end
  end

  defp outcome(name, example) do
    result = apply(Native, name, Enum.map(example, &Argument.build(&1, System.tmp_dir!())))
    arrays = List.wrap(if is_tuple(result), do: Tuple.to_list(result), else: result)
    Native.eval(Enum.filter(arrays, &is_struct(&1, Mlx.Array)))
  rescue
    error in [Mlx.Error, ArgumentError] -> Exception.message(error)
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
