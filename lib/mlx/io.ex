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
  path.

  A file is written under another name in the same folder, a hidden one, brought to the disk and then renamed. So a file
  is whole or not there, arrays that were loaded from a path can be saved to it, and what a machine that was killed
  leaves behind is not taken for a file: its name is `.mlx-` with numbers and `.tmp`, and it can be removed.

  Python: `mlx.core.load`, `save`, `savez`, `save_safetensors`, `save_gguf`.
  """

  alias Mlx.{Array, Evaluation, Options}
  alias Mlx.IO.{Bytes, Failure, GGUF, GGUFEncoder, Npy, Npz, Safetensors, WholeFile}

  @type format :: :safetensors | :gguf | :npy | :npz

  @formats %{".safetensors" => :safetensors, ".gguf" => :gguf, ".npy" => :npy, ".npz" => :npz}

  @doc """
  Loads an array (`:npy`) or a map of names and arrays.

  The arrays of a npy or safetensors file are read when they are evaluated. When the file was cut short or removed and
  written anew in between, that raises, or gives the new contents.

  GGUF tensors of the formats F16, BF16, F32, F64, I8, I16, I32 and I64 keep their type. Those of the quantized formats
  Q4_0, Q4_1 and Q8_0 give three arrays, `name.weight`, `name.scales` and `name.biases`, as `quantize/2` makes them, and
  those of Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K and Q6_K are converted to `:f16`. Other formats raise.

  Safetensors of the types F8_E4M3 and F8_E8M0 are given as their bytes, of the type `:u8`.

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
    open = fn -> Bytes.open(path, &read(format, &1, stream)) end
    loaded = Failure.about("Mlx.IO.load: cannot read #{path}", open)

    case {loaded, metadata} do
      {{arrays, _}, false} -> arrays
      {{arrays, %{metadata: values}}, true} -> {arrays, values}
      {{arrays, %{metadata: values, types: types}}, :arrays} -> {arrays, typed(values, types)}
      {array, _} -> array
    end
  end

  @doc """
  Saves an array (`:npy`), or a map of names and arrays. Names are atoms, or strings without a zero byte.

  The arrays are evaluated together, and then written one after the other without a copy. A safetensors file takes all
  types but `:f64`, and a GGUF file `:f32`, `:f16`, `:s8`, `:s16` and `:s32`.

  Options:

    * `:format` - see above
    * `:metadata` - a map; of strings for `:safetensors`, of strings, numbers, booleans, arrays with at most one axis,
      and lists of one kind of these for `:gguf`, where `general.alignment` is what arrays are aligned to, otherwise 32
    * `:compress` - for `:npz`, default false

  Raises `Mlx.Error` with the path when the file cannot be written or its format does not take an array, and
  `ArgumentError` when the arrays, their names, the metadata or an option are not as described here.

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
    metadata = metadata!(format, metadata || %{})

    Failure.about("Mlx.IO.save: cannot write #{path}", fn ->
      pieces = encode(format, content, metadata, compress)
      Evaluation.eval(content)
      WholeFile.write(path, pieces)
    end)
  end

  # Reading

  defp read(:npy, bytes, stream), do: Npy.decode(bytes, stream)
  defp read(:npz, bytes, stream), do: Npz.decode(bytes, stream)
  defp read(:gguf, bytes, stream), do: GGUF.decode(bytes, stream)

  defp read(:safetensors, bytes, stream) do
    {arrays, metadata} = Safetensors.decode(bytes, stream)
    {arrays, %{metadata: metadata, types: %{}}}
  end

  defp typed(values, types) do
    Map.new(values, fn {key, value} ->
      {key, if(type = types[key], do: Mlx.Creation.array(value, type: type), else: value)}
    end)
  end

  # Writing

  # The bytes of a file, in pieces.
  defp encode(:npy, array, _metadata, _compress), do: Npy.encode(array)
  defp encode(:npz, arrays, _metadata, compress), do: Npz.encode(arrays, compress)
  defp encode(:safetensors, arrays, metadata, _compress), do: Safetensors.encode(arrays, metadata)
  defp encode(:gguf, arrays, metadata, _compress), do: GGUFEncoder.encode(arrays, metadata)

  defp metadata!(format, metadata) when is_map(metadata) and not is_struct(metadata) do
    by_name!(metadata, "the metadata", fn key, value ->
      if format == :safetensors, do: string!(value, "the metadata #{inspect(key)}"), else: value
    end)
  end

  defp metadata!(_format, other) do
    raise ArgumentError, "Mlx.IO.save: expected :metadata to be a map, got: #{inspect(other)}"
  end

  defp content!(:npy, %Array{} = array), do: array

  defp content!(format, arrays) when format != :npy and is_map(arrays) and not is_struct(arrays) do
    by_name!(arrays, "the array", fn
      _name, %Array{} = array ->
        array

      name, other ->
        raise ArgumentError, "Mlx.IO.save: expected #{inspect(name)} to name an array, got: #{inspect(other)}"
    end)
  end

  defp content!(format, other) do
    expected = if format == :npy, do: "an array", else: "a map of names and arrays"
    raise ArgumentError, "Mlx.IO.save: expected #{expected} for the format #{inspect(format)}, got: #{inspect(other)}"
  end

  # The map with strings for names.
  defp by_name!(map, what, check) do
    named = for {name, value} <- map, into: %{}, do: {name!(name, what), check.(name, value)}

    if map_size(named) != map_size(map) do
      raise ArgumentError, "Mlx.IO.save: expected different names, got: #{inspect(Map.keys(map))}"
    end

    named
  end

  defp name!(name, what) when is_binary(name) or is_atom(name) do
    string!(to_string(name), "the name of #{what} #{inspect(name)}")
  end

  defp name!(name, what) do
    raise ArgumentError, "Mlx.IO.save: expected the name of #{what} to be a string or an atom, got: #{inspect(name)}"
  end

  # MLX takes a zero byte for the end of a string.
  defp string!(text, what) do
    if not is_binary(text),
      do: raise(ArgumentError, "Mlx.IO.save: expected #{what} to be a string, got: #{inspect(text)}")

    if not String.valid?(text) or String.contains?(text, <<0>>) do
      raise ArgumentError, "Mlx.IO.save: expected #{what} to be UTF-8 without zero bytes, got: #{inspect(text)}"
    end

    text
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
end
