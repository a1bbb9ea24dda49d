defmodule Mlx.Transforms.FunctionFile do
  @moduledoc false
  # Functions in files. `Mlx.Unsafe` reads them.

  use Mlx.Ops.Topic, title: "Saving functions"

  alias Mlx.{Array, Native}
  alias Mlx.Arguments.{ArgumentType, CalledFunction, Given, Options}
  alias Mlx.Transforms.RecordedCall

  alias Mlx.IO.{FilePath, WholeFile}

  @doc """
  Writes a function of arrays to a file, in MLX's format, `.mlxfn`: its operations, and the arrays that it uses from
  outside. Any program with MLX can import it, in any language: here it is `Mlx.Unsafe.import_function/2`.

  `arguments` is a list of arrays, which may end with keywords: `[x, y, mask: mask]`. Of the arrays only the shapes and
  types count: the imported function takes such arrays. `fun` gets an argument for each, and the keywords as a keyword
  list, and returns an array, or a list or tuple of arrays. While it runs, its arrays have no values that could be read.

  Options:

    * `:shapeless` - whether the imported function takes arrays of any shape with as many axes, default false. `fun`
      must then not depend on the shapes.
    * `:metadata` - a string that is kept in the file, default `""`.

  Raises `ArgumentError` for other arguments and results, and `Mlx.Error` when the file cannot be written or MLX has no
  form in the file for an operation. A file that could not be written whole is not left behind.

      iex> path = Path.join(System.tmp_dir!(), "mlx_export_example.mlxfn")
      iex> weight = Mlx.array([[1.0, 2.0], [3.0, 4.0]])
      iex> Mlx.export_function(path, &Mlx.matmul(&1, weight), [Mlx.zeros({1, 2})])
      :ok
      iex> imported = Mlx.Unsafe.import_function(path)
      iex> [y] = imported.([Mlx.array([[1.0, 1.0]])])
      iex> File.rm!(path)
      iex> Mlx.to_list(y)
      [[4.0, 6.0]]

  Python: `mlx.core.export_function`.
  """
  @spec export_function(Path.t(), function(), [Array.t() | {atom(), Array.t()}], keyword()) :: :ok
  def export_function(path, fun, arguments, options \\ []) do
    write(:export_function, path, [{fun, arguments}], options)
  end

  @doc """
  Writes several functions to one file, each with its arguments. The imported function is the one of them that takes the
  arguments of the call. They may share arrays, which are written once. Otherwise as `export_function/4`.

      iex> path = Path.join(System.tmp_dir!(), "mlx_exports_example.mlxfn")
      iex> one = Mlx.array(1.0)
      iex> Mlx.export_functions(path, [{&Mlx.negate/1, [one]}, {&Mlx.subtract/2, [one, one]}])
      :ok
      iex> imported = Mlx.Unsafe.import_function(path)
      iex> results = [imported.([Mlx.array(3.0)]), imported.([Mlx.array(3.0), Mlx.array(1.0)])]
      iex> File.rm!(path)
      iex> Enum.map(results, fn [y] -> Mlx.to_number(y) end)
      [-3.0, 2.0]

  Python: `mlx.core.exporter`.
  """
  @spec export_functions(Path.t(), [{function(), [Array.t() | {atom(), Array.t()}]}], keyword()) :: :ok
  def export_functions(path, functions, options \\ []) do
    write(:export_functions, path, functions, options)
  end

  defp write(function, path, functions, options) do
    name = "Mlx.#{function}"
    [shapeless, metadata] = Options.without_stream(options, function, shapeless: false, metadata: "")

    if not is_binary(metadata) or String.contains?(metadata, <<0>>) do
      raise ArgumentError, "#{name}: expected :metadata to be a string without zero bytes, got: #{Given.text(metadata)}"
    end

    calls = for {fun, arguments} <- functions!(functions, name), do: RecordedCall.record(name, fun, arguments)
    path = FilePath.string!(path, function)

    CalledFunction.name(name, ["Mlx.export_functions"], fn ->
      WholeFile.write_by_name(path, &Native.export_functions(&1, calls, shapeless, metadata))
    end)
  rescue
    error in File.Error -> reraise Mlx.Error, "Mlx.#{function}: #{Exception.message(error)}", __STACKTRACE__
  end

  defp functions!(functions, name) do
    if not (ArgumentType.list?(functions) and Enum.all?(functions, &match?({_fun, _arguments}, &1))) do
      raise ArgumentError,
            "#{name}: expected a list of functions with their arguments, {function, [array]}, got: #{Given.text(functions)}"
    end

    functions
  end
end
