defmodule Mlx do
  @moduledoc """
  MLX for Elixir: lazy arrays on the CPU and on Apple and NVIDIA GPUs.

      iex> x = Mlx.array([[1.0, 2.0], [3.0, 4.0]])
      iex> x |> Mlx.multiply(10) |> Mlx.sum(axes: [0])
      #Mlx.Array<
        f32[2]
        [40.0, 60.0]
      >

  An operation returns at once: it only adds a node to a graph. The graph is computed when a value is read
  (`to_list/1`, `to_number/1`, `to_binary/1`, `inspect/1`) or when `eval/1` asks for it.

  Operations take arrays first and options last. Wherever an array is expected, a number may stand, and takes the type
  of the array beside it. Every operation has the option `:stream`, which says where it runs: a `Mlx.Stream`, `:cpu` or
  `:gpu`.

  ## Memory

  An array holds its memory until the garbage collector of the last process that has it collects it, or until
  `deallocate/1`. The virtual machine sees only the few words that stand for an array. So the library counts the bytes of
  the arrays that each process made. Before something is computed, the calling process is collected when these are worth
  it, and MLX frees and reuses what no process reaches. Processes that wait, or that pass arrays on, are collected when
  MLX's memory has grown by 16 MiB. That size is configured in bytes:

      config :mlx, gc_threshold: 64 * 1024 * 1024     # or :infinity to collect nothing

  When more than `Mlx.Memory.limit/0` is in use, all processes are collected before the next evaluation, and free buffers are
  given back.

  ## Names

  Names of things follow MLX, names of operations and options follow Nx; each function says what its Python counterpart
  is. Wrong arguments raise an `ArgumentError`, and what MLX itself refuses, such as shapes that do not fit together,
  raises an `Mlx.Error`.
  """

  use Mlx.Arguments.Mismatch
  use Mlx.Ops.Operation
  require Mlx.Ops.Topic

  Mlx.Ops.Topic.delegate([
    Mlx.Ops.Creation,
    Mlx.Ops.Elementwise.Unary,
    Mlx.Ops.Elementwise.Binary,
    Mlx.Ops.Elementwise.Comparison,
    Mlx.Ops.Elementwise.Logical,
    Mlx.Ops.Elementwise.Bitwise,
    Mlx.Ops.Elementwise.Choice,
    Mlx.Ops.Elementwise.Conversion,
    Mlx.Ops.Reduction,
    Mlx.Ops.Cumulative,
    Mlx.Ops.Sorting,
    Mlx.Ops.Shape,
    Mlx.Ops.Joining,
    Mlx.Ops.IndexedElements,
    Mlx.Ops.Slices,
    Mlx.Ops.Gathering,
    Mlx.Ops.MatrixProducts,
    Mlx.Ops.Einsum,
    Mlx.Ops.SelectedProducts,
    Mlx.Ops.Convolution,
    Mlx.Ops.Quantization,
    Mlx.Values.Evaluation,
    Mlx.Values.Reading,
    Mlx.Values.Attributes,
    Mlx.Transforms.Gradient,
    Mlx.Transforms.Vectorization,
    Mlx.Transforms.Compilation,
    Mlx.Transforms.CustomFunction,
    Mlx.Transforms.FunctionFile,
    Mlx.Transforms.GraphDescription
  ])

  @doc """
  Calls a function whose operations run on the default stream of a device, `:cpu` or `:gpu`.

  The choice holds for the calling process and ends with the function, however it ends. Calls can be nested.

      iex> Mlx.with_device(:cpu, fn -> Mlx.add(1, 2) |> Mlx.to_number() end)
      3

  Python: `with mlx.core.stream(device)`.
  """
  @doc topic: "Choosing devices"
  @spec with_device(Mlx.Device.t(), (-> result)) :: result when result: var
  def with_device(device, fun) when device in [:cpu, :gpu] and is_function(fun, 0) do
    device |> Mlx.Stream.of_device("Mlx.with_device") |> Mlx.Stream.with_current(fun)
  end

  def with_device(device, fun) when is_function(fun, 0) do
    raise ArgumentError, "Mlx.with_device: expected :cpu or :gpu, got: #{inspect(device)}"
  end

  @doc """
  Calls a function whose operations run on a stream. Otherwise as `with_device/2`.

      iex> Mlx.with_stream(Mlx.Stream.new(:cpu), fn -> Mlx.add(1, 2) |> Mlx.to_number() end)
      3

  Python: `with mlx.core.stream(stream)`.
  """
  @doc topic: "Choosing devices"
  @spec with_stream(Mlx.Stream.t(), (-> result)) :: result when result: var
  def with_stream(%Mlx.Stream{} = stream, fun) when is_function(fun, 0), do: Mlx.Stream.with_current(stream, fun)

  def with_stream(stream, fun) when is_function(fun, 0) do
    raise ArgumentError, "Mlx.with_stream: expected a Mlx.Stream, got: #{inspect(stream)}"
  end

  if Code.ensure_loaded?(Nx) do
    # `compiler: Mlx`
    for {name, arity} <- [__jit__: 5, __compile__: 4, __partitions_options__: 1, __to_backend__: 1, __shard_jit__: 6] do
      @doc false
      defdelegate unquote(name)(unquote_splicing(Macro.generate_arguments(arity, __MODULE__))), to: Mlx.Compiler
    end
  end
end
