if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Compiler.Executable do
    @moduledoc false
    # A numerical definition for one kind of arguments, ready to be called.

    import Mlx.Nx.Backend.ForeignTypes, only: [is_absent: 1]

    alias Mlx.{Native, Telemetry}
    alias Mlx.Nx.Backend.{Conversion, Manner}
    alias Mlx.Nx.Compiler.{Evaluation, Expression, HostFunctions, Lowering, Tensors}
    alias Mlx.Transforms.{Execution, KernelMaking, Recording}
    alias Mlx.Values.Computation
    alias Nx.Defn.{Composite, Expr}
    alias Nx.Tensor

    # `call`: how it is computed. MLX compiles what is called a second time, since to make kernels for a CPU takes longer
    # than thousands of small operations. `used`: for each tensor among the arguments, whether the definition needs it;
    # others are not asked for. `forms`: those of the tensors that are used. `donated`: for each of these, whether its memory
    # is given to the results. `handed_on`: for each result, the number of the tensor that it is as it was given, or nil.
    # `anchored`: the definition needs no tensor, and a number stands for them, since a program is a function of at least one
    # array.
    @enforce_keys [:call, :captured, :functions, :used, :forms, :donated, :output, :handed_on, :manner, :anchored]
    defstruct @enforce_keys

    @type call ::
            {:compiled, reference(), first :: reference(), called :: :atomics.atomics_ref()}
            | {:dynamic, reference()}
            | {:evaluated, ([(-> Tensor.t())] -> Nx.Container.t())}

    @type t :: %__MODULE__{
            call: call(),
            captured: [Mlx.Array.t()],
            functions: %{non_neg_integer() => function()},
            used: [boolean()],
            forms: [Tensors.form()],
            donated: [boolean()],
            output: Nx.Container.t(),
            handed_on: [non_neg_integer() | nil],
            manner: Manner.t(),
            anchored: boolean()
          }

    @doc """
    Compiles `definition`; `fun` makes its expression of `vars`. `forms` has those of the tensors that are used, for what
    `used` says of each.
    """
    @spec build(
            definition :: term(),
            [Nx.Container.t()],
            ([Nx.Container.t()] -> Nx.Container.t()),
            keyword(),
            (used :: [boolean()] -> [Tensors.form()])
          ) :: t()
    def build(definition, vars, fun, options, forms) do
      KernelMaking.allow()
      manner = options |> Keyword.take([:lazy, :device]) |> Manner.validate!() |> Manner.from()
      parameters = Composite.flatten_list(vars)

      Manner.run(manner, fn ->
        Telemetry.span(:compile, "Mlx.Compiler", kinds(parameters), %{compiled: definition}, fn ->
          executable(vars, parameters, fun.(vars), options, manner, forms)
        end)
      end)
    end

    # Of tensors that MLX has a type for.
    defp kinds(parameters), do: for(parameter <- parameters, not is_absent(parameter), do: Tensors.kind(parameter))

    defp executable(vars, parameters, output, options, manner, forms) do
      numbers = Expression.parameters(output)
      used = for number <- 0..(length(parameters) - 1)//1, do: number in numbers
      forms = forms.(used)
      parameters = with_forms(parameters, used, forms)
      handed_on = for leaf <- Composite.flatten_list([output]), do: handed_on(leaf, parameters)
      {call, captured, functions} = compile(vars, output, handed_on, parameters, options)

      %__MODULE__{
        call: call,
        captured: captured,
        functions: functions,
        used: used,
        forms: forms,
        donated: vars |> donated(options) |> donated_of(used, handed_on),
        output: Composite.traverse(output, &Nx.to_template/1),
        handed_on: handed_on,
        manner: manner,
        anchored: true not in used
      }
    end

    # The parameters that are used, each with its form; nil stands for others.
    defp with_forms([parameter | parameters], [true | used], [form | forms]),
      do: [{parameter, form} | with_forms(parameters, used, forms)]

    defp with_forms([_parameter | parameters], [false | used], forms), do: [nil | with_forms(parameters, used, forms)]
    defp with_forms([], [], []), do: []

    # A quantized tensor that a definition returns as it is stays quantized, and is no result of the program.
    defp handed_on(%Tensor{data: %Expr{op: :metadata, args: [inner, _metadata]}}, parameters),
      do: if(is_struct(inner, Tensor), do: handed_on(inner, parameters))

    defp handed_on(%Tensor{data: %Expr{op: :parameter, args: [number]}}, parameters) do
      with {_parameter, form} when form != nil <- Enum.at(parameters, number),
           do: parameters |> Enum.take(number) |> Enum.count(&(&1 != nil)),
           else: (_plain -> nil)
    end

    defp handed_on(_computed, _parameters), do: nil

    defp donated(vars, options) do
      positions = Keyword.get(options, :donate, [])

      for {argument, position} <- Enum.with_index(vars), _tensor <- Composite.flatten_list([argument]) do
        position in positions
      end
    end

    defp compile(vars, output, handed_on, parameters, options) do
      if Expression.any?(output, &is_absent/1),
        do: {{:evaluated, Evaluation.prepare(vars, fn _vars -> output end, options)}, [], %{}},
        else: output |> computed(handed_on) |> record(parameters, Keyword.get(options, :hooks, %{}))
    end

    # The results of the program.
    defp computed(output, handed_on) do
      leaves = for {leaf, nil} <- Enum.zip(Composite.flatten_list([output]), handed_on), do: leaf
      leaves |> Enum.map(&Nx.devectorize(&1, keep_names: false)) |> List.to_tuple()
    end

    defp record(expression, parameters, hooks) do
      kinds = for {parameter, form} <- parameters, kind <- Tensors.kinds(parameter, form), do: kind

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
    defp place([{parameter, form} | rest], arrays) do
      {tensor, arrays} = Tensors.take(parameter, form, arrays)
      [tensor | place(rest, arrays)]
    end

    defp place([nil | rest], arrays), do: [nil | place(rest, arrays)]
    defp place([], _arrays), do: []

    defp native_call(program) do
      if Native.program_is_dynamic(program) do
        {:dynamic, Native.program_prepare(program, 1)}
      else
        {:compiled, Native.compile(program, false, []), Native.program_call(program), :atomics.new(1, [])}
      end
    end

    # Of those that are used. The memory of what is handed on is still needed.
    defp donated_of(donated, used, handed_on) do
      for {{donated, true}, number} <- donated |> Enum.zip(used) |> Enum.filter(&elem(&1, 1)) |> Enum.with_index() do
        donated and number not in handed_on
      end
    end

    @doc """
    The result for arguments, each a function that returns a tensor. For those of other forms `variant` has the executable.
    """
    @spec call(t(), [(-> Tensor.t())], ([Tensors.form()] -> t())) :: Nx.Container.t()
    def call(%__MODULE__{call: {:evaluated, evaluate}}, arguments, _variant), do: evaluate.(arguments)

    def call(%__MODULE__{manner: manner, forms: forms} = executable, arguments, variant) do
      {executable, results} =
        Manner.run(manner, fn ->
          tensors = tensors(executable.used, arguments)

          executable =
            case Enum.map(tensors, &Tensors.form/1) do
              ^forms -> executable
              other_forms -> variant.(other_forms)
            end

          {executable, executable |> compute(tensors) |> with_handed_on(executable.handed_on, tensors)}
        end)

      {output, []} = Composite.traverse(executable.output, results, &give(&1, &2, manner))
      output
    end

    defp with_handed_on(results, [nil | rest], tensors), do: [hd(results) | with_handed_on(tl(results), rest, tensors)]

    defp with_handed_on(results, [number | rest], tensors),
      do: [tensors |> Enum.at(number) |> Conversion.held() | with_handed_on(results, rest, tensors)]

    defp with_handed_on([], [], _tensors), do: []

    @doc "The forms of the arguments that are used."
    @spec forms([boolean()], [(-> Tensor.t())]) :: [Tensors.form()]
    def forms(used, arguments), do: used |> tensors(arguments) |> Enum.map(&Tensors.form/1)

    defp compute(%__MODULE__{manner: {lazy, _device, _waiting}} = executable, tensors) do
      results = run(executable, inputs(executable, tensors) ++ executable.captured)

      if (not lazy or true in executable.donated) and not Native.is_traced(results) do
        donate(executable.donated, tensors)
        if not lazy, do: start(results)
      end

      results
    end

    defp tensors([true | used], [argument | rest]), do: [argument.() | tensors(used, rest)]
    defp tensors([false | used], [_argument | rest]), do: tensors(used, rest)
    defp tensors([], []), do: []

    defp inputs(%__MODULE__{anchored: true}, []), do: [Native.scalar(true, :bool)]

    defp inputs(_executable, tensors),
      do: for(tensor <- tensors, array <- tensor |> value!() |> Tensors.held(), do: array)

    defp donate([true | donated], [tensor | tensors]) do
      Nx.backend_deallocate(tensor)
      donate(donated, tensors)
    end

    defp donate([false | donated], [_tensor | tensors]), do: donate(donated, tensors)
    defp donate([], []), do: :ok

    defp start(results) do
      :ok = Computation.run(:eval, "Mlx.Compiler", results, fn -> Native.async_eval(results) end)
    end

    defp value!(%Tensor{vectorized_axes: [_ | _]} = tensor),
      do: tensor |> Nx.devectorize(keep_names: false) |> value!()

    defp value!(%Tensor{data: %Expr{}} = tensor) do
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
          Execution.run(instruction, inputs, "Mlx.Compiler", functions)
        end)
      end
    end
  end
end
