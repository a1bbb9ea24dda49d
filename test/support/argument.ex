defmodule Mlx.Argument do
  @moduledoc """
  Descriptions of arguments of native functions, for tests that make up calls.

  A description is a plain term that can be printed, written to a log and built again in another virtual machine:
  `{:array, shape, type, content, layout}`, `{:special, name}`, `{:path, name}`, or the argument itself.
  """

  alias Mlx.Native

  @types ~w(bool u8 u16 u32 u64 s8 s16 s32 s64 f16 f32 f64 bf16 c64)a
  @contents ~w(varied zeros ones negative extreme special)a
  @layouts ~w(plain lazy transposed broadcast flipped)a

  @type description :: term()

  def types, do: @types
  def contents, do: @contents
  def layouts, do: @layouts

  @doc "Describes an array."
  @spec array(tuple(), atom(), atom(), atom()) :: description()
  def array(shape, type \\ :f32, content \\ :varied, layout \\ :plain), do: {:array, shape, type, content, layout}

  @doc "The argument for a description. Files are in `folder`."
  @spec build(description(), Path.t()) :: term()
  def build({:array, shape, type, content, layout}, _folder), do: build_array(shape, type, content, layout)
  def build({:special, name}, _folder), do: special(name)
  def build({:path, name}, folder), do: Path.join(folder, name)
  def build([head | tail], folder), do: [build(head, folder) | build(tail, folder)]
  def build(%{} = map, folder), do: Map.new(map, fn {key, value} -> {key, build(value, folder)} end)
  def build(term, _folder), do: term

  @doc "The names that `{:special, name}` may have."
  def specials do
    ~w(reference pid function array_reference stream_reference stream deallocated array_of_other_reference
       array_of_stream_reference stream_of_array_reference placeholder placeholder_without_value ended_placeholder
       tape program instruction compiled_function compiled_entry cache table vmap_rules
       example_call imported_function execution loop_condition loop_body)a
  end

  defp special(:reference), do: make_ref()
  defp special(:pid), do: self()
  defp special(:function), do: &special/1
  defp special(:array_reference), do: sample().ref
  defp special(:stream_reference), do: Native.default_stream(:cpu)
  defp special(:group), do: Native.distributed_init(false, :any, nil)
  defp special(:kernel), do: Native.metal_kernel("first", ["a", "b"], ["y"], "y[0] = a[0];", "", true, false)
  defp special(:stream), do: stream(Native.default_stream(:cpu))
  defp special(:new_stream), do: stream(Native.stream_new(:cpu))
  defp special(:array_of_other_reference), do: %{sample() | ref: make_ref()}
  defp special(:array_of_stream_reference), do: %{sample() | ref: Native.default_stream(:cpu)}
  defp special(:stream_of_array_reference), do: stream(sample().ref)

  defp special(:deallocated) do
    array = sample()
    :ok = Native.deallocate(array)
    array
  end

  defp special(:placeholder), do: "Mlx.grad" |> Native.begin_tape([sample()]) |> elem(1) |> hd()
  defp special(:placeholder_without_value), do: shape_only_tape() |> elem(1) |> hd()

  defp special(:ended_placeholder) do
    {tape, [placeholder]} = shape_only_tape()
    :ok = Native.abandon_tape(tape)
    placeholder
  end

  defp special(:tape), do: elem(shape_only_tape(), 0)
  defp special(:instruction), do: Native.program_value_and_grad(special(:program), [0])
  defp special(:compiled_function), do: Native.compile(special(:program), false, [])
  defp special(:compiled_entry), do: {special(:compiled_function), [], %{sum: sample(), name: "sum"}}

  # It has what `compiled_entry` says for a list of one array.
  defp special(:cache) do
    cache = Native.cache_new(2, false)
    Native.cache_insert(cache, [build_array({4, 4}, :f32, :varied, :plain)], false, special(:compiled_entry))
    cache
  end

  defp special(:table), do: Native.table_new(%{"a" => 1, nil => :none})
  defp special(:execution), do: Native.execute(special(:instruction), [build_array({4, 4}, :f32, :varied, :lazy)], :tag)

  defp special(:loop_condition) do
    {tape, [placeholder]} = shape_only_tape()
    {program, []} = Native.finish_tape(tape, [placeholder |> Native.sum(false, nil) |> Native.less(100, nil)])
    program
  end

  defp special(:loop_body) do
    {tape, [placeholder]} = shape_only_tape()
    {program, []} = Native.finish_tape(tape, [Native.add(placeholder, 1, nil)])
    program
  end

  defp special(:vmap_rules), do: Native.vmap_rules_new("the user's function")
  defp special(:example_call), do: {special(:program), [build_array({4, 4}, :f32, :varied, :plain)], [], []}

  defp special(:imported_function) do
    path = Path.join(System.tmp_dir!(), "mlx_imported_#{System.pid()}_#{System.unique_integer([:positive])}.mlxfn")
    :ok = Native.export_functions(path, [special(:example_call)], false, "")
    {imported, ""} = Native.import_function(path)
    File.rm!(path)
    imported
  end

  defp special(:program) do
    {tape, [placeholder]} = shape_only_tape()
    sum = placeholder |> Native.multiply(2.5, nil) |> Native.sum(false, nil)
    {program, []} = Native.finish_tape(tape, [sum])
    program
  end

  defp shape_only_tape, do: Native.begin_tape_without_values("Mlx.grad", [{{4, 4}, :f32}])
  defp sample, do: Native.from_binary(<<1, 2, 3, 4, 5, 6>>, {2, 3}, :u8)
  defp stream(reference), do: %Mlx.Stream{ref: reference, device: :cpu, index: 0}

  defp build_array(shape, type, content, :plain) do
    array = build_array(shape, type, content, :lazy)
    Native.eval([array])
    array
  end

  defp build_array(shape, type, content, :lazy) do
    size = Tuple.product(shape)

    if type in [:f16, :f32, :f64, :bf16, :c64] do
      for(i <- 0..(size - 1)//1, into: <<>>, do: float(content, i))
      |> Native.from_binary(shape, :f32)
      |> Native.astype(type, nil)
    else
      for(i <- 0..(size - 1)//1, into: <<>>, do: <<integer(content, i, type)::64-native>>)
      |> Native.from_binary(shape, :s64)
      |> Native.astype(type, nil)
    end
  end

  defp build_array(shape, type, content, :transposed) do
    shape |> reverse() |> build_array(type, content, :plain) |> Native.transpose(nil)
  end

  defp build_array(shape, type, content, :broadcast) do
    1 |> Tuple.duplicate(tuple_size(shape)) |> build_array(type, content, :plain) |> Native.broadcast_to(shape, nil)
  end

  defp build_array(shape, type, content, :flipped) do
    shape |> build_array(type, content, :plain) |> Native.flip(nil)
  end

  defp reverse(tuple), do: tuple |> Tuple.to_list() |> Enum.reverse() |> List.to_tuple()

  defp float(:varied, i), do: <<rem(i * 7919 + 3, 13) - 2.5::float-32-native>>
  defp float(:zeros, _i), do: <<0.0::float-32-native>>
  defp float(:ones, _i), do: <<1.0::float-32-native>>
  defp float(:negative, i), do: <<-1.0 * i - 1::float-32-native>>
  defp float(:extreme, i), do: <<(1 - 2 * rem(i, 2)) * 3.0e38::float-32-native>>
  # NaN, infinity, negative infinity, and the smallest number there is.
  defp float(:special, i), do: <<elem({0x7FC00000, 0x7F800000, 0xFF800000, 1}, rem(i, 4))::32-native>>

  defp integer(:varied, i, _type), do: rem(i * 7919 + 3, 4)
  defp integer(:zeros, _i, _type), do: 0
  defp integer(:ones, _i, _type), do: 1
  defp integer(:negative, i, _type), do: -i - 1
  defp integer(:extreme, i, type), do: elem(limits(type), rem(i, 2))
  defp integer(:special, i, _type), do: elem({0, -1, 100, 2_147_483_647}, rem(i, 4))

  defp limits(:bool), do: {0, 1}
  defp limits(type) when type in [:u8, :u16, :u32, :u64], do: {0, -1}
  defp limits(:s8), do: {-128, 127}
  defp limits(:s16), do: {-32_768, 32_767}
  defp limits(:s32), do: {-2_147_483_648, 2_147_483_647}
  defp limits(:s64), do: {-9_223_372_036_854_775_808, 9_223_372_036_854_775_807}
end
