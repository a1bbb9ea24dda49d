defmodule Mlx.IO do
  @moduledoc """
  Arrays in files.

  | format | holds | metadata |
  | --- | --- | --- |
  | `:safetensors` | arrays with names | strings |
  | `:gguf` | arrays with names, also quantized ones | numbers, strings and lists |
  | `:npy` | one array | |
  | `:npz` | arrays with names | |

  The format is told from the extension of the path, or by the option `:format`.

  A file is checked before anything of it is used, and one that is cut short or damaged raises `Mlx.Error` with its
  path. Files are written under another name in the same folder and then renamed, so a file is whole or not there, and
  arrays that were loaded from a path can be saved to it.

  Python: `mlx.core.load`, `save`, `savez`, `save_safetensors`, `save_gguf`.
  """

  alias Mlx.{Array, Native, Options, Type}
  alias Mlx.IO.{GGUF, GGUFMetadata, Npy, Npz, WholeFile}

  @type format :: :safetensors | :gguf | :npy | :npz

  @formats %{".safetensors" => :safetensors, ".gguf" => :gguf, ".npy" => :npy, ".npz" => :npz}

  @doc """
  Loads an array (`:npy`) or a map of names and arrays.

  The arrays of a npy or safetensors file are read when they are evaluated. When the file was cut short or removed and
  written anew in between, that raises, or gives the new contents.

  A GGUF file that may not be written is copied to the system's folder for temporary files while it is loaded.

  Quantized GGUF tensors of the kinds Q4_0, Q4_1 and Q8_0 give three arrays, `name.weight`, `name.scales` and
  `name.biases`, as `quantize/2` makes them; other kinds are converted to `:f16`.

  Options:

    * `:format` - see above
    * `:metadata` - `true` returns `{arrays, metadata}`, default false; for `:safetensors` and `:gguf`. With `:arrays`,
      numbers, booleans and lists of these in GGUF metadata are arrays of the type that they have in the file
    * `:stream` - where arrays are loaded

  Examples:

      iex> path = Path.join(System.tmp_dir!(), "mlx_load_example.safetensors")
      iex> Mlx.IO.save(path, %{"x" => Mlx.array([1, 2])}, metadata: %{"from" => "an example"})
      iex> {arrays, metadata} = Mlx.IO.load(path, metadata: true)
      iex> File.rm!(path)
      iex> {Mlx.to_list(arrays["x"]), metadata}
      {[1, 2], %{"from" => "an example"}}

  Python: `mlx.core.load`.
  """
  @spec load(Path.t(), keyword()) ::
          Array.t() | %{String.t() => Array.t()} | {%{String.t() => Array.t()}, %{String.t() => term()}}
  def load(path, options \\ []) do
    [format, metadata, stream] = Options.values(options, :"IO.load", format: nil, metadata: false)
    path = IO.chardata_to_string(path)
    format = format!(:load, format, path)
    without_metadata!(:load, metadata!(metadata), format)
    size = file_size!(path)
    loaded = about("cannot read", path, fn -> read(format, path, size, stream) end)

    case {loaded, metadata} do
      {{arrays, _}, false} -> arrays
      {{arrays, %{metadata: values}}, true} -> {arrays, values}
      {{arrays, %{metadata: values, types: types}}, :arrays} -> {arrays, typed(values, types)}
      {array, _} -> array
    end
  end

  @doc """
  Saves an array (`:npy`), or a map of names and arrays. Names are strings or atoms.

  A GGUF file takes the types `:f32`, `:f16`, `:s8`, `:s16` and `:s32`.

  Options:

    * `:format` - see above
    * `:metadata` - a map; of strings for `:safetensors`, of strings, numbers, booleans, arrays with at most one axis,
      and lists of one kind of these for `:gguf`
    * `:compress` - for `:npz`, default false

  Examples:

      iex> path = Path.join(System.tmp_dir!(), "mlx_save_example.npy")
      iex> Mlx.IO.save(path, Mlx.array([[1.0, 2.0]]))
      :ok
      iex> array = Mlx.IO.load(path)
      iex> File.rm!(path)
      iex> Mlx.to_list(array)
      [[1.0, 2.0]]

  Python: `mlx.core.save`, `savez`, `savez_compressed`, `save_safetensors`, `save_gguf`.
  """
  @spec save(Path.t(), Array.t() | %{(String.t() | atom()) => Array.t()}, keyword()) :: :ok
  def save(path, content, options \\ []) do
    defaults = [format: nil, metadata: nil, compress: false]
    [format, metadata, compress, _stream] = Options.values(options, :"IO.save", defaults)
    path = IO.chardata_to_string(path)
    format = format!(:save, format, path)
    without_metadata!(:save, metadata, format)
    content = content!(format, content)

    about("cannot write", path, fn ->
      WholeFile.write(path, ".#{format}", &write(format, &1, content, metadata || %{}, compress))
    end)
  end

  # Reading

  defp read(:npy, path, size, stream), do: Npy.load(path, size, stream)
  defp read(:npz, path, _size, stream), do: path |> File.read!() |> Npz.decode(stream)

  defp read(:safetensors, path, size, stream) do
    {arrays, metadata} = Native.load_safetensors(path, stream)
    for {name, array} <- arrays, do: check_size!(name, array, size)
    {arrays, %{metadata: metadata, types: %{}}}
  end

  defp read(:gguf, path, _size, stream), do: GGUF.load(path, stream)

  defp typed(values, types) do
    Map.new(values, fn {key, value} ->
      {key, if(type = types[key], do: Mlx.Creation.array(value, type: type), else: value)}
    end)
  end

  # MLX computes the size of an array in 64 bits, where a forged shape can wrap around and pass.
  defp check_size!(name, %Array{shape: shape, type: type}, size) do
    if Enum.any?(Tuple.to_list(shape), &(&1 < 0)) or Tuple.product(shape) * Type.bytes(type) > size do
      raise Mlx.Error, "the shape #{inspect(shape)} of #{inspect(name)} does not fit into the file"
    end
  end

  defp file_size!(path) do
    case File.stat(path) do
      {:ok, %File.Stat{type: :regular, size: size}} -> size
      {:ok, %File.Stat{type: type}} -> raise Mlx.Error, "Mlx.IO.load: cannot read #{path}: it is a #{type}"
      {:error, reason} -> raise Mlx.Error, "Mlx.IO.load: cannot read #{path}: #{:file.format_error(reason)}"
    end
  end

  # Writing

  defp write(:npy, path, array, _metadata, _compress), do: File.write!(path, Npy.encode(array))
  defp write(:npz, path, arrays, _metadata, compress), do: File.write!(path, Npz.encode(arrays, compress))

  defp write(:safetensors, path, arrays, metadata, _compress) do
    Native.save_safetensors(path, arrays, string_metadata!(metadata))
    # MLX does not notice a full disk.
    {saved, _metadata} = Native.load_safetensors(path, nil)
    if map_size(saved) != map_size(arrays), do: raise(Mlx.Error, "not all arrays were written")
  end

  defp write(:gguf, path, arrays, metadata, _compress) do
    Native.save_gguf(path, arrays, Map.new(metadata, fn {key, value} -> {to_string(key), gguf_value(value)} end))
    GGUFMetadata.read(path)
  end

  defp string_metadata!(metadata) do
    Map.new(metadata, fn
      {key, value} when is_binary(value) ->
        {to_string(key), value}

      {key, value} ->
        raise ArgumentError, "Mlx.IO.save: expected the metadata #{inspect(key)} to be a string, got: #{inspect(value)}"
    end)
  end

  defp gguf_value(value) when is_binary(value) or is_struct(value, Array), do: value
  defp gguf_value([first | _] = strings) when is_binary(first), do: strings
  defp gguf_value(value), do: Mlx.Creation.array(value)

  defp content!(:npy, %Array{} = array), do: array

  defp content!(format, arrays) when format != :npy and is_map(arrays) and not is_struct(arrays) do
    Map.new(arrays, fn
      {name, %Array{} = array} when is_binary(name) or is_atom(name) ->
        {to_string(name), array}

      {name, other} ->
        raise ArgumentError, "Mlx.IO.save: expected #{inspect(name)} to name an array, got: #{inspect(other)}"
    end)
  end

  defp content!(format, other) do
    expected = if format == :npy, do: "an array", else: "a map of names and arrays"
    raise ArgumentError, "Mlx.IO.save: expected #{expected} for the format #{inspect(format)}, got: #{inspect(other)}"
  end

  # Both

  defp format!(_function, format, _path) when format in [:safetensors, :gguf, :npy, :npz], do: format

  defp format!(function, nil, path) do
    extension = path |> Path.extname() |> String.downcase()

    @formats[extension] ||
      raise ArgumentError, "Mlx.IO.#{function}: cannot tell the format of #{path}; give the option :format"
  end

  defp format!(function, format, _path) do
    raise ArgumentError,
          "Mlx.IO.#{function}: expected :format to be :safetensors, :gguf, :npy or :npz, got: #{inspect(format)}"
  end

  defp metadata!(metadata) when metadata in [true, false, :arrays], do: metadata

  defp metadata!(other) do
    raise ArgumentError, "Mlx.IO.load: expected :metadata to be true, false or :arrays, got: #{inspect(other)}"
  end

  defp without_metadata!(function, metadata, format) when format in [:npy, :npz] and metadata not in [nil, false] do
    raise ArgumentError, "Mlx.IO.#{function}: the format #{inspect(format)} has no metadata"
  end

  defp without_metadata!(_function, _metadata, _format), do: :ok

  defp about(what, path, fun) do
    fun.()
  rescue
    error in Mlx.Error -> reraise Mlx.Error, "#{what} #{path}: #{error.message}", __STACKTRACE__
    error in File.Error -> reraise Mlx.Error, Exception.message(error), __STACKTRACE__
    error in File.RenameError -> reraise Mlx.Error, Exception.message(error), __STACKTRACE__
  end
end
