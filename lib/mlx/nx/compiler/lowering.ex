if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Compiler.Lowering do
    @moduledoc false
    # Expressions of Nx as operations on arrays that are recorded: `Mlx.Backend` computes each node, lazily, and the tape
    # that its arrays are on takes it down.
    #
    # A scope is what is computed together: the definition itself, the condition and the body of a loop, a branch. It has
    #
    #   * `parameters` - the tensors of its parameters
    #   * `values` - the nodes that are computed by now, by id
    #   * `place` - which branch it is, if it is one
    #   * `places` - where the nodes of it and of the branches beside and around it are computed
    #   * `anchor` - an array of its tape. Control flow over nothing but constants hangs on it: what is on no tape is
    #     computed while the definition is compiled
    #   * `hooks` - functions by name
    #   * `products` - those that are used as they are (`Mlx.Nx.Compiler.Transposition`)
    #   * `few_rounds` - how often loops run that are recorded round by round, by id (`Mlx.Nx.Compiler.Counting`)

    alias Mlx.Nx.Backend.{Conversion, Indexing, Logic, Manner}
    alias Mlx.Nx.Compiler.{AlongAxis, Branch, Counting, HostFunctions, Loop, Placement, Simplification, Tensors}
    alias Mlx.Nx.Compiler.Transposition
    alias Mlx.{Array, Backend, Native}
    alias Nx.Defn.{Composite, Expr, Tree}
    alias Nx.Tensor

    @type scope :: %{
            parameters: [Tensor.t()],
            values: %{reference() => term()},
            place: Placement.place(),
            places: Placement.t(),
            anchor: Array.t(),
            hooks: map(),
            products: MapSet.t(reference()),
            few_rounds: %{reference() => non_neg_integer()}
          }

    @creation [:eye, :iota, :from_binary]
    @element_wise [:add, :subtract, :multiply, :divide, :pow, :min, :max, :select]

    @doc "The tensors of an expression for tensors of its parameters."
    @spec lower(Nx.Container.t(), [Tensor.t()], Array.t(), map()) :: Nx.Container.t()
    def lower(expression, parameters, anchor, hooks) do
      scope = %{
        parameters: parameters,
        values: %{},
        place: [],
        places: Placement.of(expression),
        anchor: anchor,
        hooks: hooks,
        products: Transposition.used_as_they_are(expression),
        few_rounds: Counting.few_rounds(expression)
      }

      expression |> composite(scope) |> elem(0)
    end

    @doc "The tensors of a container of nodes."
    @spec composite(Nx.Container.t(), scope()) :: {Nx.Container.t(), scope()}
    def composite(container, scope), do: Composite.traverse(container, scope, &node/2)

    @doc "The value of a node: a tensor, or a tuple of them."
    @spec node(Tensor.t(), scope()) :: {term(), scope()}
    def node(%Tensor{data: %Expr{id: id, op: op, args: args}} = node, %{values: values} = scope) do
      case values do
        %{^id => value} ->
          {value, scope}

        %{} ->
          simpler = Simplification.of(node)
          {value, scope} = if simpler, do: node(simpler, scope), else: compute(op, args, node, scope)
          {value, put_in(scope.values[id], value)}
      end
    end

    @doc "The value of a boolean node, as an array of MLX's booleans."
    @spec truth(Tensor.t(), scope()) :: {Array.t(), scope()}
    def truth(node, scope) do
      {tensor, scope} = node(node, scope)
      {tensor |> Conversion.array() |> Logic.truth(), scope}
    end

    defp compute(:parameter, [index], _node, scope), do: {Enum.fetch!(scope.parameters, index), scope}
    defp compute(:tensor, [tensor], node, scope), do: {Tensors.tensor(node, Conversion.held(tensor)), scope}
    defp compute(:constant, [number], node, scope), do: {Backend.constant(node, number, lazy: true), scope}
    defp compute(:metadata, [inner, _metadata], _node, scope), do: composite(inner, scope)

    defp compute(:elem, [tuple, index], _node, scope) do
      {tuple, scope} = node(tuple, scope)
      {elem(tuple, index), scope}
    end

    defp compute(:transpose, [%Tensor{data: %Expr{op: :dot, id: id, args: args}} = product, axes], node, scope) do
      with false <- id in scope.products, {:ok, swapped} <- Transposition.swapped(args, axes) do
        compute(:dot, swapped, %{node | data: %{node.data | op: :dot, args: swapped}}, scope)
      else
        _as_it_is -> transpose(product, axes, node, scope)
      end
    end

    defp compute(:transpose, [tensor, axes], node, scope), do: transpose(tensor, axes, node, scope)

    defp compute(:indexed_add, [target, indices, updates, options] = args, node, scope) do
      with true <- options[:axes] == Nx.axes(target),
           {:ok, indices, axis} <- AlongAxis.indices(indices, target.shape) do
        {tensors, scope} = Enum.map_reduce([target, indices, updates], scope, &node/2)
        {Tensors.tensor(node, add_along_axis(node, tensors, axis)), scope}
      else
        _several_axes -> operation(:indexed_add, args, node, scope)
      end
    end

    defp compute(:cond, [clauses, last], %Tensor{data: %Expr{id: id}}, scope),
      do: Branch.lower(id, clauses, last, scope)

    defp compute(:while, [initial, _parameters, condition, body], %Tensor{data: %Expr{id: id}}, scope) do
      Loop.lower(id, initial, condition, body, scope)
    end

    defp compute(:block, [block, arguments, default, _callback], node, scope) do
      {arguments, scope} =
        Enum.map_reduce(arguments, scope, fn
          %Tensor{} = argument, scope -> node(argument, scope)
          option, scope -> {option, scope}
        end)

      # Where MLX has no operation for the block, it is what Nx makes of it.
      parameters = Enum.take_while(arguments, &is_struct(&1, Tensor))

      composed =
        Mlx.Arguments.Arity.function(length(arguments) + 1, fn _block_and_arguments ->
          lower(default, parameters, scope.anchor, scope.hooks)
        end)

      out = if match?({:tuple, _}, node.type), do: default, else: node
      {Backend.block(block, out, arguments, composed), scope}
    end

    defp compute(:hook, [hooked, callback, template, _reference], _node, scope) do
      {value, scope} = composite(hooked, scope)
      {with_leaves(value, template), run_hook(callback, value, scope)}
    end

    defp compute(:runtime_call, [argument, fun, template, options], _node, scope) do
      {argument, scope} = composite(argument, scope)

      call = fn argument ->
        result = fun.(argument, options)
        if not Nx.compatible?(template, result), do: raise(unexpected(fun, result, template))
        result
      end

      {call_host(argument, template, call, scope), scope}
    end

    # Functions of two numbers, which Elixir calls for each element.
    defp compute(op, [tensor, accumulator | rest], node, scope) when op in [:reduce, :window_reduce] do
      {tensor, scope} = node(tensor, scope)
      {accumulator, scope} = node(accumulator, scope)
      {options, [fun]} = Enum.split(rest, -1)
      fun = evaluated(fun)
      call = fn {tensor, accumulator} -> apply(Backend, op, [node, tensor, accumulator | options] ++ [fun]) end
      {call_host({tensor, accumulator}, Nx.to_template(node), call, scope), scope}
    end

    defp compute(op, _args, node, scope) when op in @creation do
      {args, scope} = Tree.apply_args(node, scope, &node/2)
      {apply(Backend, op, [node | args] ++ [[lazy: true]]), scope}
    end

    defp compute(op, args, node, scope), do: operation(op, args, node, scope)

    defp add_along_axis(node, tensors, axis) do
      tensors
      |> Manner.of()
      |> Manner.run(:indexed_add, [node | tensors], fn ->
        [target, indices, updates] = Enum.map(tensors, &Conversion.array/1)
        Indexing.add_along_axis(node, target, indices, updates, axis)
      end)
    end

    defp operation(op, args, node, scope) do
      {args, scope} = Tree.apply_args(node, scope, argument(op, args, node))
      # Operations with several results get no template.
      args = if match?({:tuple, _}, node.type), do: args, else: [node | args]
      {apply(Backend, op, args), scope}
    end

    # MLX makes faster kernels of a number than of an array that has it everywhere. Another argument gives the shape.
    defp argument(op, args, %Tensor{shape: shape}) when op in @element_wise and shape != {} do
      shaped? = Enum.any?(args, &match?(%Tensor{shape: ^shape, data: %Expr{op: op}} when op != :constant, &1))

      fn
        %Tensor{data: %Expr{op: :constant, args: [number]}} = constant, scope when shaped? ->
          {Backend.constant(%{constant | shape: {}, names: []}, number, lazy: true), scope}

        argument, scope ->
          node(argument, scope)
      end
    end

    defp argument(_op, _args, _node), do: &node/2

    defp transpose(tensor, axes, node, scope) do
      {tensor, scope} = node(tensor, scope)
      {Backend.transpose(node, tensor, axes), scope}
    end

    # What is around the hooked value is known by its place among the leaves.
    defp with_leaves(%Tensor{} = value, %Tensor{}), do: value
    defp with_leaves(value, _template), do: [value] |> Composite.flatten_list() |> List.to_tuple()

    defp run_hook({:token_hook, hooked, callback}, _value, scope) do
      {value, scope} = composite(hooked, scope)
      run_hook(callback, value, scope)
    end

    defp run_hook(callback, value, scope) do
      if fun = hook(callback, scope.hooks) do
        register_hook(value, fun, scope)
      end

      scope
    end

    defp hook({:fn, fun}, _hooks), do: fun
    defp hook({:named, name, fun}, hooks), do: hooks[name] || fun

    defp register_hook(value, fun, scope) do
      templates = Composite.traverse(value, &Nx.to_template/1)

      number =
        HostFunctions.register(fn arrays ->
          fun.(with_arrays(templates, arrays))
          []
        end)

      [] = number |> Native.host_call([]) |> Native.apply_instruction(traced(Tensors.arrays(value), scope))
    end

    # The results of a function of tensors that Elixir computes.
    defp call_host(argument, template, fun, scope) do
      argument_templates = Composite.traverse(argument, &Nx.to_template/1)
      results = Composite.flatten_list([template])

      number =
        HostFunctions.register(fn arrays ->
          argument_templates |> with_arrays(arrays) |> fun.() |> Tensors.arrays()
        end)

      arrays =
        number
        |> Native.host_call(Enum.map(results, &Tensors.kind/1))
        |> Native.apply_instruction(traced(Tensors.arrays(argument), scope))

      tensors = Enum.zip_with(results, arrays, &Tensors.tensor/2)
      if is_struct(template, Tensor), do: hd(tensors), else: List.to_tuple(tensors)
    end

    defp unexpected(fun, result, template) do
      [given, expected] =
        for composite <- [result, template] do
          Enum.map_join(
            Composite.flatten_list([composite]),
            ", ",
            &"#{Nx.Type.to_string(&1.type)} #{inspect(&1.shape)}"
          )
        end

      "Nx.runtime_call: #{inspect(fun)} returned #{given}, and its output template says #{expected}"
    end

    defp with_arrays(templates, arrays) do
      {tensors, []} =
        Composite.traverse(templates, arrays, fn template, [array | arrays] ->
          {%{template | data: %Backend{array: array}}, arrays}
        end)

      tensors
    end

    # A function node as a function of tensors.
    defp evaluated(%Tensor{data: %Expr{op: :fun, args: [parameters, body, _mfa]}}) do
      run = Nx.Defn.Evaluator.__compile__(nil, parameters, fn _parameters -> body end, [])

      fn a, b ->
        [result] = run.([[fn -> Nx.to_tensor(a) end, fn -> Nx.to_tensor(b) end]])
        result
      end
    end

    @doc "The arrays, on the scope's tape if none of them is on any."
    @spec traced([Array.t()], scope()) :: [Array.t()]
    def traced(arrays, %{anchor: anchor}) do
      if Native.is_traced(arrays), do: arrays, else: Native.depends(arrays, [anchor])
    end
  end
end
