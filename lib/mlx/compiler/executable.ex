if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Compiler.Executable do
    @moduledoc false
    # A numerical definition for one kind of arguments, ready to be called.

    alias Mlx.Backend
    alias Mlx.Backend.Conversion
    alias Mlx.Compiler.{HostFunctions, Lowering, Tensors}
    alias Mlx.{Native, Pressure}
    alias Nx.Defn.Composite

    # `call`: how the native code is reached. `anchored`: there are no arguments, and a number stands for them, since a
    # program is a function of at least one array.
    @enforce_keys [:call, :captured, :functions, :templates, :output, :lazy, :anchored]
    defstruct @enforce_keys

    @type t :: %__MODULE__{
            call: {:compiled | :dynamic, reference()},
            captured: [Mlx.Array.t()],
            functions: %{non_neg_integer() => function()},
            templates: [Nx.Tensor.t()],
            output: Nx.Container.t(),
            lazy: boolean(),
            anchored: boolean()
          }

    @doc "Compiles `fun`, which makes an expression of `vars`."
    @spec build([Nx.Container.t()], ([Nx.Container.t()] -> Nx.Container.t()), keyword()) :: t()
    def build(vars, fun, options) do
      parameters = Composite.flatten_list(vars)
      output = fun.(vars)
      expression = Composite.traverse(output, &Nx.devectorize(&1, keep_names: false))
      anchored = parameters == []
      kinds = if anchored, do: [{{}, :bool}], else: Enum.map(parameters, &Tensors.kind/1)

      {{program, captured}, functions} =
        HostFunctions.collect(fn ->
          Tensors.record("a numerical definition", kinds, fn [first | _] = arrays ->
            tensors = if anchored, do: [], else: Enum.zip_with(parameters, arrays, &Tensors.tensor/2)
            Lowering.lower(expression, tensors, first, Keyword.get(options, :hooks, %{}))
          end)
        end)

      for array <- captured, do: if(not Native.is_traced([array]), do: Native.eval([array]))

      %__MODULE__{
        call: native_call(program),
        captured: captured,
        functions: functions,
        templates: Enum.map(parameters, &Nx.to_template(Nx.devectorize(&1, keep_names: false))),
        output: Composite.traverse(output, &Nx.to_template/1),
        lazy: Keyword.get(options, :lazy, false),
        anchored: anchored
      }
    end

    defp native_call(program) do
      if Native.program_is_dynamic(program),
        do: {:dynamic, Native.program_call(program)},
        else: {:compiled, Native.compile(program, false)}
    end

    @doc "The result for arguments, each a function that returns a tensor."
    @spec call(t(), [(-> Nx.Tensor.t())]) :: Nx.Container.t()
    def call(%__MODULE__{} = executable, arguments) do
      inputs = inputs(executable, arguments) ++ executable.captured
      results = run(executable, inputs)

      if not executable.lazy and not Native.is_traced(results) do
        :ok = Native.async_eval(results)
        Pressure.relieve()
      end

      {output, []} = Composite.traverse(executable.output, results, &give(&1, &2, executable.lazy))
      output
    end

    defp inputs(%__MODULE__{anchored: true}, []), do: [Native.scalar(true, :bool)]

    defp inputs(_executable, arguments), do: Enum.map(arguments, &(&1.() |> value!() |> Conversion.array()))

    defp value!(%Nx.Tensor{vectorized_axes: [_ | _]} = tensor),
      do: tensor |> Nx.devectorize(keep_names: false) |> value!()

    defp value!(%Nx.Tensor{data: %Nx.Defn.Expr{}} = tensor) do
      raise ArgumentError, "cannot pass a tensor expression as argument to defn, got: #{inspect(tensor)}"
    end

    defp value!(tensor), do: tensor

    defp give(template, [array | arrays], lazy), do: {%{template | data: %Backend{array: array, lazy: lazy}}, arrays}

    defp run(%__MODULE__{call: {:compiled, compiled}}, inputs), do: Native.call_compiled(compiled, inputs)

    defp run(%__MODULE__{call: {:dynamic, instruction}, functions: functions}, inputs) do
      # Inside of another function that is recorded it becomes part of that.
      if Native.is_traced(inputs) do
        Native.apply_instruction(instruction, inputs)
      else
        tag = make_ref()
        instruction |> Native.execute(inputs, tag) |> await(tag, functions)
      end
    end

    defp await(execution, tag, functions) do
      receive do
        {^tag, :ok, results} ->
          results

        {^tag, :error, message} ->
          raise Mlx.Error, "Mlx.Compiler: " <> message

        {^tag, :call, function, arrays} ->
          Native.resume(execution, call_function(execution, tag, Map.fetch!(functions, function), arrays))
          await(execution, tag, functions)
      end
    end

    defp call_function(execution, tag, function, arrays) do
      function.(arrays)
    catch
      kind, reason ->
        Native.resume(execution, nil)
        receive(do: ({^tag, :error, _message} -> :ok))
        :erlang.raise(kind, reason, __STACKTRACE__)
    end
  end
end
