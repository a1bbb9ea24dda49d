defmodule Mlx.Conformance.Signatures do
  @moduledoc """
  The parameters of Python's functions, and what becomes of them in `Mlx`: one row for a family of functions.

      {names, parameters}
      {names, parameters, adapter}

  The rows of operations are in their descriptions (`Mlx.Descriptions`); those of functions that are no operations are here.
  Names are those of `mlx.core`, or begin with `mlx.`; a method of `array` that has no row of its own has that of the function
  of its name. Every function of `mlx.core` takes `stream` too. `Mlx.Conformance.Parameters` says what a parameter is.
  `Mlx.Conformance.LayerSignatures` and `Mlx.Conformance.OptimizerSignatures` have the rows of `mlx.nn` and
  `mlx.optimizers`.

  An adapter makes the call where that is not enough. It gets the function of `Mlx`, as a function of a list of arguments
  and of options, what is bound to Python's parameters, and the options. Of several rows for a name the first
  is used whose parameters fit the arguments.
  """

  import Mlx.Conformance.Parameters

  alias Mlx.Conformance.{Constants, Context, Evaluation, Exports, Files, Kernels, LayerSignatures, Mapping}
  alias Mlx.Conformance.{Operators, OptimizerSignatures, Reading, Selection, Transforms, Types}
  alias Mlx.Descriptions

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
      types() ++
      runtime() ++
      files() ++
      kernels() ++
      transforms() ++
      exports() ++
      distributed() ++
      Descriptions.signatures() ++ LayerSignatures.rows() ++ OptimizerSignatures.rows()
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
    operators = ~w(add div floordiv ge gt le lshift lt mod mul pow rshift sub truediv)
    in_place = ~w(iadd ifloordiv ilshift imod imul ipow irshift isub)

    [
      {dunder(~w(copy)), [a: :operand]},
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
      {dunder(~w(bool int float complex)), [self: :array], &Reading.number/3},
      {dunder(~w(index)), [self: :array], &Reading.index/3},
      {dunder(~w(repr)), [self: :array], &Reading.text/3},
      {~w(array.itemsize), [self: :array], &Reading.item_size/3},
      {~w(Dtype.size), [dtype: :type]}
    ]
  end

  defp types do
    [
      {~w(finfo), [dtype: :type], &Types.float_limits/3},
      {~w(iinfo), [dtype: :type], &Types.integer_limits/3},
      {~w(issubdtype), [arg1: :any, arg2: :any], &Types.subtype/3},
      {~w(isdtype), [dtype: :type, kind: :any], &Types.kind/3}
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
      {~w(random.seed), [seed: {:either, [:integer, :array]}]},
      {~w(clear_streams), [], fn _call, _bound, _options -> nil end},
      {~w(metal.is_available cuda.is_available), []},
      {~w(get_active_memory), [], &Evaluation.active_memory/3},
      {~w(get_cache_memory get_peak_memory reset_peak_memory clear_cache get_memory_limit), []},
      {~w(set_cache_limit set_memory_limit set_wired_limit), [limit: :integer]}
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
