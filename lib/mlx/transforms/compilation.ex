defmodule Mlx.Transforms.Compilation do
  @moduledoc false
  # Functions that are recorded once and called often.

  use Mlx.Ops.Topic, title: "Compiling functions"

  alias Mlx.{Array, Native, Telemetry, Tree}
  alias Mlx.Arguments.{Arity, CalledFunction, Given, Options}
  alias Mlx.NonFinite.Operations
  alias Mlx.Transforms.{KernelMaking, KernelProgress, Recording, Replacement}

  @disabled {__MODULE__, :disabled}

  # Of the forms that differ only in numbers.
  @most_forms 32

  @doc """
  A function that does what `fun` does, compiled.

  The first call records the operations of `fun`; MLX drops what is computed twice and fuses operations into kernels.
  Later calls with arguments of the same form, shapes and types only run what was compiled. Effects of `fun`, such as
  printing, therefore happen once. While it runs its arrays have no values that could be read.

  Arguments that are not arrays belong to the form. `fun` is recorded anew for each number, and may therefore use numbers
  for anything. Of the forms that differ in numbers only, the last #{@most_forms} are kept, and their recordings share
  their kernels. A number that changes at each call costs a recording each time; an array in its place costs none.

  Arrays that `fun` uses from outside are taken as they are at the first call. Random numbers need a key among the
  arguments, or a state: see `Mlx.Random.with_state/2`.

  Any number of processes may call the function. What was compiled is freed with the function.

  Options:

    * `:shapeless` - whether to compile only once for all shapes of the same number of axes, default false. `fun` then
      must not depend on the shapes.
    * `:donate` - the positions, from 0, of arguments whose arrays are not needed after the call, default `[]`. Their
      memory is free for the results at once, instead of after the next garbage collection, as for the parameters that
      a training step returns anew; using these arrays afterwards raises. Inside of another transform, and when the call
      raises, they stay as they are.
    * `:keep` - how many recordings are kept, those that were used last; by default `nil` for all, but for what is said
      above of numbers. For a function of arrays that grow, whose former shapes do not come again.

  On a CPU, MLX makes the kernels with the C++ compiler of the machine and keeps them in the folder `mlx` of the folder for
  temporary files (`TMPDIR`). Of more than 2,000 files or 128 MB there, Mlx removes those that were used the longest time
  ago. They are made in the background: until a kernel is there, and where none can be made, operations are computed one
  after another. The last digits of a result may differ between the two ways. A log message tells of kernels that take
  longer than a second, and `mix mlx.doctor` says why a kernel cannot be made.

      config :mlx, kernels: :wait     # for each kernel, while nothing else is computed; or :never

  MLX has to hear when the compiler ends, so the first compiled function sets the signal `SIGCHLD` to its default for the
  whole virtual machine, as `:os.set_signal(:sigchld, :default)` does. With `kernels: :never` it stays as it is.

      iex> gelu = Mlx.compile(fn x -> Mlx.multiply(x, Mlx.multiply(0.5, Mlx.add(1, Mlx.erf(Mlx.divide(x, 1.41421356))))) end)
      iex> gelu.(Mlx.array([0.0, 1.0])) |> Mlx.to_list() |> Enum.map(&Float.round(&1, 4))
      [0.0, 0.8413]

      iex> step = Mlx.compile(fn weights, gradient -> Mlx.subtract(weights, gradient) end, donate: [0])
      iex> weights = Mlx.array([1.0, 2.0])
      iex> step.(weights, Mlx.array([0.5, 0.5])) |> Mlx.to_list()
      [0.5, 1.5]
      iex> Mlx.to_list(weights)
      ** (ArgumentError) Mlx.to_list: the array was deallocated

  Python: `mlx.core.compile`, which tells from counts of references what is donated; JAX has `donate_argnums`.
  """
  @spec compile(function(), keyword()) :: function()
  def compile(fun, options \\ []) when is_function(fun) do
    [shapeless, donate, keep] = Options.without_stream(options, :compile, shapeless: false, donate: [], keep: nil)
    arity = Arity.of(fun)
    require_positions!(donate, arity)
    require_count!(keep)
    KernelMaking.allow()
    cache = Native.cache_new(keep || @most_forms, keep != nil)
    Arity.function(arity, &call(cache, fun, %{shapeless: shapeless, donate: donate}, &1))
  end

  defp require_positions!(positions, arity) do
    if not (is_list(positions) and Enum.all?(positions, &(&1 in 0..(arity - 1)//1))) do
      raise ArgumentError,
            "Mlx.compile: expected :donate to be a list of positions of the #{arity} arguments, got: #{inspect(positions)}"
    end
  end

  defp require_count!(nil), do: :ok
  defp require_count!(count) when is_integer(count) and count in 1..1_000_000, do: :ok

  defp require_count!(count) do
    raise ArgumentError,
          "Mlx.compile: expected :keep to be nil or an integer from 1 to 1000000, got: #{Given.text(count)}"
  end

  @doc """
  Has compiled functions do what the functions that they were made of do, until `enable_compile/0`: their effects happen
  at each call, and values can be read. The compiler of Nx's definitions, `compiler: Mlx`, computes them operation by
  operation then. For finding mistakes, for machines without a C++ compiler, and for all processes.

      iex> Mlx.disable_compile()
      iex> Mlx.compile(fn x -> if Mlx.to_number(x) > 0, do: x, else: Mlx.negate(x) end).(Mlx.array(-1.5)) |> Mlx.to_number()
      1.5
      iex> Mlx.enable_compile()
      :ok

  Python: `mlx.core.disable_compile`.
  """
  @spec disable_compile() :: :ok
  def disable_compile, do: :persistent_term.put(@disabled, true)

  @doc """
  Has compiled functions be compiled again, after `disable_compile/0`.

      iex> Mlx.enable_compile()
      :ok

  Python: `mlx.core.enable_compile`.
  """
  @spec enable_compile() :: :ok
  def enable_compile, do: :persistent_term.put(@disabled, false)

  @doc false
  @spec disabled?() :: boolean()
  def disabled?, do: :persistent_term.get(@disabled, false) or Operations.on?()

  defp call(cache, fun, options, arguments) do
    if disabled?() do
      apply(fun, arguments)
    else
      call_compiled(cache, fun, options, arguments)
    end
  end

  defp call_compiled(cache, fun, %{shapeless: shapeless, donate: donated} = options, arguments) do
    key = {Replacement.wanted?(), arguments}

    {:ok, result, traced} =
      with nil <- call_recorded(cache, key, shapeless, arguments) do
        recorded = record(cache, key, fun, options, arguments)
        # Others may have had the cache drop it.
        with nil <- call_recorded(cache, key, shapeless, arguments), do: run(recorded, arguments)
      end

    # What is traced may be computed again.
    if donated != [] and not traced,
      do: donated |> Enum.map(&Enum.at(arguments, &1)) |> Tree.arrays() |> Native.deallocate_all()

    Replacement.received(result, arguments)
  end

  defp call_recorded(cache, key, shapeless, arguments) do
    case Native.cache_call(cache, key, shapeless) do
      {:ok, _result, _traced} = called -> called
      {_in_parts, _captured, _result} = recorded -> run(recorded, arguments)
      nil -> nil
    end
  end

  defp run({compiled, captured, result}, arguments) do
    arrays = run_native(compiled, Tree.arrays(arguments) ++ captured)
    {:ok, Tree.with_arrays(result, arrays), Native.is_traced(arrays)}
  end

  defp run_native({:in_parts, instruction}, inputs), do: Recording.run(instruction, inputs)
  defp run_native(compiled, inputs), do: Native.call_compiled(compiled, inputs)

  defp record(cache, key, fun, options, arguments) do
    shapes = Recording.shapes(arguments)

    Telemetry.span(:compile, "Mlx.compile", shapes, %{compiled: fun}, fn ->
      compile(cache, key, fun, options, arguments, shapes)
    end)
  end

  # For another number `fun` may do something else, so it is recorded for each. The kernels are the same.
  defp compile(cache, key, fun, %{shapeless: shapeless}, arguments, shapes) do
    recorded = Recording.without_values("Mlx.compile", arguments, shapes, Replacement.carried(fun))
    CalledFunction.name("Mlx.compile", ["Mlx.eval"], fn -> Recording.evaluate_captured(recorded.captured) end)
    formers = for {compiled, _captured, _result} when is_reference(compiled) <- Native.cache_latest(cache), do: compiled
    entry = {compiled(recorded.program, shapeless, formers), recorded.captured, form_of(recorded.result)}
    KernelProgress.watch()
    :ok = Native.cache_insert(cache, key, shapeless, entry)
    entry
  end

  # The container without the contents of its arrays.
  defp form_of(container), do: Tree.map(container, fn %Array{} = array -> %Array{array | ref: nil} end)

  # Of a function that exchanges arrays with other processes, MLX compiles what is between the exchanges.
  defp compiled(program, shapeless, formers) do
    cond do
      not Native.program_is_dynamic(program) ->
        Native.compile(program, shapeless, formers)

      shapeless ->
        raise ArgumentError,
              "Mlx.compile: with shapeless: true, expected a function that exchanges no arrays with other processes"

      true ->
        {:in_parts, Native.program_prepare(program, 0)}
    end
  end
end
