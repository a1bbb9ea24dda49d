defmodule Mlx.Unsafe do
  @moduledoc """
  Functions that can end the virtual machine. They run kernels that a program brings for a GPU, read and share memory by
  its address, and import functions from files.

  Everything else in this library raises an exception for wrong arguments. Here nothing stands between a mistake and the
  process of the operating system: a kernel that writes past the end of its output, an address at which there is nothing,
  or a damaged file of functions can stop the virtual machine with all that runs in it, or silently change values that
  belong to something else.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, Native, Type}
  alias Mlx.Arguments.{Options, Sizes}
  alias Mlx.IO.FilePath
  alias Mlx.Transforms.{RecordedCall, Recording}
  alias Mlx.Unsafe.Kernel

  @type size :: {pos_integer(), pos_integer(), pos_integer()}

  @typedoc "A function from a file: of a list of arrays, which may end with keywords."
  @type imported :: ([Array.t() | {atom(), Array.t()}] -> [Array.t()])

  @doc """
  Makes a kernel of the body of a function in the Metal shading language.

  The function's signature is written by MLX: a pointer for each name of `inputs` and `outputs`, for an input `x` also
  `x_shape`, `x_strides` and `x_ndim` where the body uses them, and what the body uses of Metal's attributes, such as
  `thread_position_in_grid`. Types and shapes are those of the arrays that `run/3` gets. The kernel is compiled when it
  runs first.

      kernel =
        Mlx.Unsafe.metal_kernel("double", ["x"], ["y"], \"""
          uint i = thread_position_in_grid.x;
          y[i] = 2 * x[i];
        \""")

      [y] = Mlx.Unsafe.run(kernel, [x], outputs: [{x.shape, x.type}], grid: {Mlx.size(x), 1, 1})

  Options:

    * `:header` - what stands before the function: includes, helper functions. Default `""`
    * `:row_major` - copy inputs that are not in row-major order, so that the body needs no strides; default true
    * `:atomic_outputs` - outputs are `device atomic<T>*`; default false

  Raises an `Mlx.Error` where MLX has no Metal:

      iex> make = fn -> Mlx.Unsafe.metal_kernel("double", ["x"], ["y"], "y[0] = 2 * x[0];") end
      iex> if Mlx.Metal.available?(), do: make.().name, else: "double"
      "double"

  Python: `mlx.core.fast.metal_kernel`; its `compile_options` are not in MLX's C API.
  """
  @spec metal_kernel(String.t(), [String.t()], [String.t()], String.t(), keyword()) :: Kernel.t()
  def metal_kernel(name, inputs, outputs, body, options \\ []) do
    defaults = [header: "", row_major: true, atomic_outputs: false]
    [header, row_major, atomic_outputs] = Options.without_stream(options, :"Unsafe.metal_kernel", defaults)
    require_gpu(Mlx.Metal.available?(), :metal_kernel, "Metal")
    ref = Native.metal_kernel(name, inputs, outputs, body, header, row_major, atomic_outputs)
    %Kernel{ref: ref, name: name, language: :metal}
  end

  @doc """
  Makes a kernel of the body of a function in CUDA C++.

  The function's signature is written by MLX, as for `metal_kernel/5`: a pointer for each name of `inputs` and `outputs`,
  for an input `x` also `x_shape`, `x_strides` and `x_ndim` where the body uses them.

      kernel =
        Mlx.Unsafe.cuda_kernel("double", ["x"], ["y"], \"""
          auto i = cooperative_groups::this_grid().thread_rank();
          y[i] = 2 * x[i];
        \""")

      [y] = Mlx.Unsafe.run(kernel, [x], outputs: [{x.shape, x.type}], grid: {Mlx.size(x), 1, 1}, thread_group: {64, 1, 1})

  Options:

    * `:header` - what stands before the function. Default `""`
    * `:row_major` - copy inputs that are not in row-major order, so that the body needs no strides; default true
    * `:shared_memory` - the bytes of dynamic shared memory, default 0

  Raises an `Mlx.Error` where MLX has no CUDA:

      iex> make = fn -> Mlx.Unsafe.cuda_kernel("double", ["x"], ["y"], "y[0] = 2 * x[0];") end
      iex> if Mlx.CUDA.available?(), do: make.().name, else: "double"
      "double"

  Python: `mlx.core.fast.cuda_kernel`.
  """
  @spec cuda_kernel(String.t(), [String.t()], [String.t()], String.t(), keyword()) :: Kernel.t()
  def cuda_kernel(name, inputs, outputs, body, options \\ []) do
    defaults = [header: "", row_major: true, shared_memory: 0]
    [header, row_major, shared_memory] = Options.without_stream(options, :"Unsafe.cuda_kernel", defaults)
    require_gpu(Mlx.CUDA.available?(), :cuda_kernel, "CUDA")
    ref = Native.cuda_kernel(name, inputs, outputs, body, header, row_major, shared_memory)
    %Kernel{ref: ref, name: name, language: :cuda}
  end

  @doc """
  Applies a kernel to a list of inputs, arrays or numbers. Returns the list of its outputs, lazily, as any operation.

  Options:

    * `:outputs` - required: a list with the shape and type of each output, `[{{2, 3}, :f32}]`
    * `:grid` - required: the number of threads along each of three dimensions
    * `:thread_group` - the number of threads of a group along each dimension, default `{1, 1, 1}`
    * `:template` - constants that the body uses by name, each a type, an integer or a boolean: `[T: :f32, n: 3]`
    * `:initial` - a number that the outputs are filled with first, default `nil`
    * `:verbose` - print the whole source; default false
    * `:stream` - of the GPU

  Examples:

      iex> kernel = fn ->
      ...>   Mlx.Unsafe.metal_kernel("fill", [], ["y"], "y[thread_position_in_grid.x] = value;")
      ...> end
      iex> if Mlx.Metal.available?() do
      ...>   [y] = Mlx.Unsafe.run(kernel.(), [], outputs: [{{2}, :f32}], grid: {2, 1, 1}, template: [value: 7])
      ...>   Mlx.to_list(y)
      ...> else
      ...>   [7.0, 7.0]
      ...> end
      [7.0, 7.0]

  Python: the object that `mlx.core.fast.metal_kernel` or `mlx.core.fast.cuda_kernel` returns is called.
  """
  @spec run(Kernel.t(), [Array.operand()], keyword()) :: [Array.t()]
  def run(%Kernel{ref: ref}, inputs, options) do
    defaults = [outputs: nil, grid: nil, thread_group: {1, 1, 1}, template: [], initial: nil, verbose: false]
    [outputs, grid, thread_group, template, initial, verbose, stream] = Options.values(options, :"Unsafe.run", defaults)
    required(options, [:outputs, :grid])
    Native.kernel_apply(ref, inputs, {outputs, grid, thread_group, template, initial, verbose}, stream)
  end

  @doc """
  An array of what is in memory at an address, in row-major order and the machine's byte order.

  On a CPU and with CUDA the memory is copied at once. With Metal it is shared where it starts at the beginning of a page:
  then it must stay what it is for as long as any array is computed from it.

  Options:

    * `:owner` - a term that is kept for as long as MLX uses the memory, such as the reference of the native resource that
      the memory belongs to

  Examples:

      iex> x = Mlx.eval(Mlx.array([[1, 2], [3, 4]]))
      iex> Mlx.Unsafe.from_pointer(Mlx.Unsafe.to_pointer(x) + 4, {3}, :s32, owner: x) |> Mlx.to_list()
      [2, 3, 4]

  Not in Python.
  """
  @spec from_pointer(pos_integer(), Array.sizes(), Type.t(), keyword()) :: Array.t()
  def from_pointer(address, shape, type, options \\ []) do
    [owner] = Options.without_stream(options, :"Unsafe.from_pointer", owner: nil)
    Native.from_pointer(address, Sizes.shape!(shape, :"Unsafe.from_pointer"), type, owner)
  end

  @doc """
  The address of an array's elements, which it computes first. They are in row-major order; an array of which they are not
  raises an `ArgumentError`.

  The memory may be read for as long as the array is not collected or deallocated, and must not be written: MLX takes
  values for constant, and other arrays may share them. With CUDA the elements move when an operation uses the array.

      iex> x = Mlx.array([1, 2])
      iex> address = Mlx.Unsafe.to_pointer(x)
      iex> address == Mlx.Unsafe.to_pointer(x)
      true

  Not in Python.
  """
  @spec to_pointer(Array.t()) :: non_neg_integer()
  def to_pointer(%Array{} = array), do: Native.to_pointer(array)

  @doc """
  The function in a file that `Mlx.export_function/4`, or MLX in another language, has written.

  Import only files that you trust, from where nobody can change them. A file of this kind is a program, and MLX takes it
  as it is: one that is damaged, or made to harm, can stop the virtual machine or read memory that is not its own, when it
  is imported and when its function is called. Only a file that is no such file, or is cut short, is told for certain.
  `Mlx.IO.load/2` is for arrays from others.

  The returned function takes a list of arrays, which may end with keywords, as `Mlx.export_function/4` does, and returns
  a list of arrays. It composes with every transform. The arrays in the file are read at the first call, so the file has
  to stay until then.

  Options:

    * `:metadata` - `true` returns `{function, metadata}`, with the string that was written with the function; default
      false.

  Raises `Mlx.Error` when the file cannot be read, and when the function is called with arrays that it was not exported
  for.

      iex> path = Path.join(System.tmp_dir!(), "mlx_import_example.mlxfn")
      iex> Mlx.export_function(path, fn x, [by: y] -> Mlx.multiply(x, y) end, [Mlx.array(1.0), by: Mlx.array(1.0)])
      iex> [y] = Mlx.Unsafe.import_function(path).([Mlx.array(2.0), by: Mlx.array(3.0)])
      iex> File.rm!(path)
      iex> Mlx.to_number(y)
      6.0

  Python: `mlx.core.import_function`.
  """
  @spec import_function(Path.t(), keyword()) :: imported() | {imported(), String.t()}
  def import_function(path, options \\ []) do
    [with_metadata] = Options.without_stream(options, :"Unsafe.import_function", metadata: false)
    {imported, metadata} = path |> FilePath.string!(:"Unsafe.import_function") |> Native.import_function()
    function = fn arguments -> call(imported, arguments) end
    if with_metadata, do: {function, metadata}, else: function
  end

  defp call(imported, arguments) do
    {arrays, keywords} = RecordedCall.split!("Mlx.Unsafe.import_function", arguments)
    inputs = arrays ++ Keyword.values(keywords)
    names = keywords |> Keyword.keys() |> Enum.map(&Atom.to_string/1)
    imported |> Native.imported_call(length(inputs), names) |> Recording.run(inputs)
  end

  defp require_gpu(true, _function, _name), do: :ok

  defp require_gpu(false, function, name) do
    raise Mlx.Error, "Mlx.Unsafe.#{function}: this machine has no GPU that MLX uses through #{name}"
  end

  defp required(options, names) do
    for name <- names, not Keyword.has_key?(options, name) do
      raise ArgumentError, "Mlx.Unsafe.run: the option #{inspect(name)} is missing"
    end
  end
end
