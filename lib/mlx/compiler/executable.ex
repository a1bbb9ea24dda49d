if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Compiler.Executable do
    @moduledoc false
    # A numerical definition for one kind of arguments, ready to be called.

    import Mlx.Backend.ForeignTypes, only: [is_absent: 1]

    alias Mlx.Backend.{Conversion, Manner}
    alias Mlx.Compiler.{Evaluation, Expression, HostFunctions, Lowering, Tensors}
    alias Mlx.{Computation, KernelCompiler, Native, Recording, Telemetry}
    alias Nx.Defn.Composite

    # `call`: how it is computed. MLX compiles what is called a second time, since to make kernels for a CPU takes longer
    # than thousands of small operations. `used`: for each tensor among the arguments, whether the definition needs it;
    # others are not asked for. `donated`: for each that is used, whether its memory is given to the results. `anchored`: it
    # needs none, and a number stands for them, since a program is a function of at least one array.
    @enforce_keys [:call, :captured, :functions, :used, :donated, :output, :manner, :anchored]
    defstruct @enforce_keys

    @type call ::
            {:compiled, reference(), first :: reference(), called :: :atomics.atomics_ref()}
            | {:dynamic, reference()}
            | {:evaluated, ([(-> Nx.Tensor.t())] -> Nx.Container.t())}

    @type t :: %__MODULE__{
            call: call(),
            captured: [Mlx.Array.t()],
            functions: %{non_neg_integer() => function()},
            used: [boolean()],
            donated: [boolean()],
            output: Nx.Container.t(),
            manner: Manner.t(),
            anchored: boolean()
          }

    @doc "Compiles `definition`; `fun` makes its expression of `vars`."
    @spec build(definition :: term(), [Nx.Container.t()], ([Nx.Container.t()] -> Nx.Container.t()), keyword()) :: t()
    def build(definition, vars, fun, options) do
      KernelCompiler.allow()
      manner = options |> Keyword.take([:lazy, :device]) |> Manner.validate!() |> Manner.from()
      parameters = Composite.flatten_list(vars)

      Manner.run(manner, fn ->
        Telemetry.span(:compile, "Mlx.Compiler", kinds(parameters), %{compiled: definition}, fn ->
          executable(vars, parameters, fun.(vars), options, manner)
        end)
      end)
    end

    # Of tensors that MLX has a type for.
    defp kinds(parameters), do: for(parameter <- parameters, not is_absent(parameter), do: Tensors.kind(parameter))

    defp executable(vars, parameters, output, options, manner) do
      numbers = Expression.parameters(output)
      used = for number <- 0..(length(parameters) - 1)//1, do: number in numbers
      {call, captured, functions} = compile(vars, output, Enum.zip(parameters, used), options)

      %__MODULE__{
        call: call,
        captured: captured,
        functions: functions,
        used: used,
        donated: for({donated, true} <- Enum.zip(donated(vars, options), used), do: donated),
        output: Composite.traverse(output, &Nx.to_template/1),
        manner: manner,
        anchored: true not in used
      }
    end

    defp donated(vars, options) do
      positions = Keyword.get(options, :donate, [])

      for {argument, position} <- Enum.with_index(vars), _tensor <- Composite.flatten_list([argument]) do
        position in positions
      end
    end

    defp compile(vars, output, parameters, options) do
      if Expression.any?(output, &is_absent/1),
        do: {{:evaluated, Evaluation.prepare(vars, fn _vars -> output end, options)}, [], %{}},
        else: record(output, parameters, Keyword.get(options, :hooks, %{}))
    end

    defp record(output, parameters, hooks) do
      expression = Composite.traverse(output, &Nx.devectorize(&1, keep_names: false))
      kinds = for {parameter, true} <- parameters, do: Tensors.kind(parameter)

      {{program, captured}, functions} =
        HostFunctions.collect(fn ->
          Tensors.record("a numerical definition", or_anchor(kinds, {{}, :bool}), fn [first | _] = arrays ->
            Lowering.lower(expression, place(parameters, arrays), first, hooks)
          end)
        end)

      Recording.evaluate_captured(captured)
      {native_call(program), captured, functions}
    end

    defp or_anchor([], anchor), do: [anchor]
    defp or_anchor(kinds, _anchor), do: kinds

    # The tensors of the parameters, but of those that are not used.
    defp place([{parameter, true} | rest], [array | arrays]) do
      [Tensors.tensor(parameter, array) | place(rest, arrays)]
    end

    defp place([{_parameter, false} | rest], arrays), do: [nil | place(rest, arrays)]
    defp place([], _arrays), do: []

    defp native_call(program) do
      if Native.program_is_dynamic(program) do
        {:dynamic, Native.program_prepare(program, 1)}
      else
        {:compiled, Native.compile(program, false, []), Native.program_call(program), :atomics.new(1, [])}
      end
    end

    @doc "The result for arguments, each a function that returns a tensor."
    @spec call(t(), [(-> Nx.Tensor.t())]) :: Nx.Container.t()
    def call(%__MODULE__{call: {:evaluated, evaluate}}, arguments), do: evaluate.(arguments)

    def call(%__MODULE__{manner: manner} = executable, arguments) do
      results = Manner.run(manner, fn -> compute(executable, used(executable.used, arguments)) end)
      {output, []} = Composite.traverse(executable.output, results, &give(&1, &2, manner))
      output
    end

    defp compute(%__MODULE__{manner: {lazy, _device}} = executable, tensors) do
      results = run(executable, inputs(executable, tensors) ++ executable.captured)

      if (not lazy or true in executable.donated) and not Native.is_traced(results) do
        donate(executable.donated, tensors)
        if not lazy, do: start(results)
      end

      results
    end

    defp used([true | used], [argument | rest]), do: [argument.() | used(used, rest)]
    defp used([false | used], [_argument | rest]), do: used(used, rest)
    defp used([], []), do: []

    defp inputs(%__MODULE__{anchored: true}, []), do: [Native.scalar(true, :bool)]
    defp inputs(_executable, tensors), do: for(tensor <- tensors, do: tensor |> value!() |> Conversion.array())

    defp donate([true | donated], [tensor | tensors]) do
      Nx.backend_deallocate(tensor)
      donate(donated, tensors)
    end

    defp donate([false | donated], [_tensor | tensors]), do: donate(donated, tensors)
    defp donate([], []), do: :ok

    defp start(results) do
      :ok = Computation.run(:eval, "Mlx.Compiler", results, fn -> Native.async_eval(results) end)
    end

    defp value!(%Nx.Tensor{vectorized_axes: [_ | _]} = tensor),
      do: tensor |> Nx.devectorize(keep_names: false) |> value!()

    defp value!(%Nx.Tensor{data: %Nx.Defn.Expr{}} = tensor) do
      raise ArgumentError, "cannot pass a tensor expression as argument to defn, got: #{inspect(tensor)}"
    end

    defp value!(tensor), do: tensor

    defp give(template, [array | arrays], manner), do: {Conversion.wrap(template, array, manner), arrays}

    defp run(%__MODULE__{call: {:compiled, compiled, first, called}}, inputs) do
      if :atomics.get(called, 1) == 1 do
        Native.call_compiled(compiled, inputs)
      else
        :atomics.put(called, 1, 1)
        Native.apply_instruction(first, inputs)
      end
    end

    defp run(%__MODULE__{call: {:dynamic, instruction}, functions: functions}, inputs) do
      # Inside of another function that is recorded it becomes part of that.
      if Native.is_traced(inputs) do
        Native.apply_instruction(instruction, inputs)
      else
        Telemetry.span(:eval, "Mlx.Compiler", inputs, fn ->
          tag = make_ref()
          instruction |> Native.execute(inputs, tag) |> await(tag, functions)
        end)
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
