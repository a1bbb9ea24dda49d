if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Compiler do
    @moduledoc """
    The compiler of Nx's numerical definitions.

        Nx.Defn.default_options(compiler: Mlx)

        Nx.Defn.jit(fun, compiler: Mlx)

    A definition is traced once for each kind of arguments (their shapes, types, names and containers), and becomes one
    program of MLX and one native call. What was compiled is kept for the whole virtual machine, so that `Nx.Defn.jit/2`
    may be called again and again, and from any process. The latest ones are kept, up to #{Mlx.Nx.Compiler.Cache.most()}.

    | | |
    | --- | --- |
    | a definition without control flow | one function that MLX has compiled, as by `Mlx.compile/2` |
    | `while`, `cond` | native loops and branches, nested as they are; MLX compiles what is between them, and the bodies of long loops. Such a definition runs on a native thread of its own while the calling process waits, and ends with the process |
    | `cond` of few operations on small tensors | both branches are computed, which takes less time than to wait for the predicate |
    | `while` on small tensors, on a GPU | the CPU computes the whole loop, on the same memory: each round waits for its condition, and to wait for a GPU takes longer than the round |
    | numbers of `c128` | no type of MLX's: Nx's evaluator computes the definition, with `Mlx.Backend` |
    | `Mlx.disable_compile/0` | the same for every definition, until `Mlx.enable_compile/0`: no kernels are made, hooks see each value as it is computed, and errors come from the operation that fails |
    | hooks, `Nx.runtime_call/4`, `Nx.reduce/4`, `Nx.window_reduce/5` | the program calls the function in the calling process |

    Results are tensors of `Mlx.Backend`. They are computed from the call on; with `lazy: true` not before they are needed.

    ## Options

      * `:lazy` - see above, default false
      * `:device` - `:cpu` or `:gpu`, by default that of the default backend where it is one of `Mlx.Backend` with a `:device`,
        or else that of the calling process. The results have the device, as tensors made with this option of the backend
      * `:donate` - the positions, from 0, of arguments of the definition whose tensors are not needed after a call, default
        `[]`; see `Mlx.compile/2`
      * `:hooks` - functions by the name of a hook, as for any compiler
      * `:max_concurrency` - the number of partitions of an `Nx.Serving`, default 1

    Others, which libraries hand on and other compilers have, mean nothing here.

    Sharding (`Nx.Defn.shard_jit/3`) needs several devices in one virtual machine, and MLX has one.
    """

    @behaviour Nx.Defn.Compiler

    alias Mlx.Device
    alias Mlx.Nx.Compiler.{Cache, Evaluation, Executable}
    alias Mlx.Transforms.Compilation

    # What makes another program, or one that is called otherwise.
    @options [:lazy, :device, :hooks, :donate]

    @impl true
    def __jit__(key, vars, fun, args_list, options) do
      options = with_device(options)

      if Compilation.disabled?(),
        do: evaluate(vars, fun, options, args_list),
        else: execute(vars, fun, options, args_list, key)
    end

    @impl true
    def __compile__(key, vars, fun, options) do
      options = with_device(options)
      plain = fn used -> for true <- used, do: nil end
      executable = if not Compilation.disabled?(), do: Executable.build(key, vars, fun, options, plain)

      fn args_list ->
        cond do
          Compilation.disabled?() -> evaluate(vars, fun, options, args_list)
          executable -> call(executable, args_list, &variant(key, vars, fun, options, &1))
          true -> execute(vars, fun, options, args_list, key)
        end
      end
    end

    defp with_device(options) do
      options = Keyword.take(options, @options)

      case Nx.default_backend() do
        {Mlx.Backend, backend_options} -> Keyword.put_new(options, :device, backend_options[:device])
        _other -> options
      end
    end

    defp execute(vars, fun, options, args_list, key) do
      first_forms = &Executable.forms(&1, hd(args_list))

      executable =
        cached(key, vars, options, [], fn -> Executable.build(key, vars, fun, options, first_forms) end)

      call(executable, args_list, &variant(key, vars, fun, options, &1))
    end

    defp call(executable, args_list, variant), do: Enum.map(args_list, &Executable.call(executable, &1, variant))

    # For quantized tensors among the arguments, or for others than before.
    defp variant(key, vars, fun, options, forms) do
      cached(key, vars, options, [forms: forms], fn ->
        Executable.build(key, vars, fun, options, fn _used -> forms end)
      end)
    end

    # A program belongs to the device that it was recorded for.
    defp cached(key, vars, options, forms, build) do
      own = forms ++ [on: options[:device] || Device.default()]
      Cache.fetch({key, Enum.map(vars, &Nx.to_template/1), own ++ options}, build)
    end

    defp evaluate(vars, fun, options, args_list), do: Enum.map(args_list, Evaluation.prepare(vars, fun, options))

    @impl true
    def __partitions_options__(options) do
      List.duplicate(options, Keyword.get(options, :max_concurrency, 1))
    end

    @impl true
    def __to_backend__(options), do: {Mlx.Backend, Keyword.take(options, [:lazy, :device])}

    @impl true
    def __shard_jit__(_key, _mesh, _vars, _fun, _args_list, _options) do
      raise ArgumentError, "Mlx.Compiler: MLX has one device in a virtual machine, so that nothing can be sharded"
    end
  end
end
