defmodule Mlx.IO do
  @moduledoc """
  Arrays in files.

  | format | holds | metadata |
  | --- | --- | --- |
  | `:safetensors` | arrays with names | strings |
  | `:gguf` | arrays with names, also quantized ones | numbers, strings and lists |
  | `:npy` | one array | |
  | `:npz` | arrays with names | |

  The format is told from the extension of the path, or by the option `:format`. `load/2` and `save/3` are for files,
  `decode/2` and `encode/2` for the bytes of a file in memory.

  A file is checked before anything of it is used, and one that is cut short or damaged raises `Mlx.Error` with its
  path.

  A file is written under another name in the same folder, a hidden one, brought to the disk and then renamed. So a file
  is whole or not there, arrays that were loaded from a path can be saved to it, and what a machine that was killed
  leaves behind is not taken for a file: its name is `.mlx-` with numbers and `.tmp`, and it can be removed.

  Python: `mlx.core.load`, `save`, `savez`, `save_safetensors`, `save_gguf`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Array
  alias Mlx.Arguments.{CalledFunction, Options}
  alias Mlx.IO.{Bytes, Content, Failure, FilePath, GGUF, GGUFEncoder, GGUFForm, Npy, Npz, Safetensors, WholeFile}
  alias Mlx.Values.Evaluation

  @type format :: :safetensors | :gguf | :npy | :npz
  @type arrays :: %{String.t() => Array.t()}

  @typedoc "By names of quantized weights, the options with which `Mlx.dequantize/4` and `Mlx.quantized_matmul/5` take them."
  @type quantization :: %{String.t() => keyword()}

  @typep loaded ::
           Array.t()
           | arrays()
           | {arrays(), %{String.t() => term()} | quantization()}
           | {arrays(), %{String.t() => term()}, quantization()}

  # The options of what reads, beside `:format`.
  @reading [metadata: false, quantization: false, form: :quantized, type: nil, requantize: nil]

  @formats %{".safetensors" => :safetensors, ".gguf" => :gguf, ".npy" => :npy, ".npz" => :npz}

  @doc """
  Loads an array (`:npy`) or a map of names and arrays.

  The arrays of a npy or safetensors file are read when they are evaluated. When the file was cut short or removed and
  written anew in between, that raises, or gives the new contents.

  GGUF tensors of the formats F16, BF16, F32, F64, I8, I16, I32 and I64 keep their type. Those of quantized formats of which
  MLX has a form with the same numbers stay quantized: they give three arrays, `name.weight`, `name.scales` and
  `name.biases`, as `Mlx.quantize/2` makes them, or two in a mode without biases. All others give their numbers.

  | format | MLX's form | type of scales and biases |
  | --- | --- | --- |
  | Q4_0, Q4_1 | 4 bits in groups of 32 | `:f16` |
  | Q5_0, Q5_1 | 5 bits in groups of 32 | `:f16` |
  | Q8_0, IQ4_NL | 8 bits in groups of 32 | `:f16` |
  | TQ1_0, TQ2_0 | 2 bits in groups of 32 | `:f16` |
  | Q4_K, IQ3_S | 4 bits in groups of 32 | `:f32` |
  | Q5_K | 5 bits in groups of 32 | `:f32` |
  | IQ4_XS, IQ2_XXS, IQ3_XXS | 8 bits in groups of 32 | `:f32` |
  | IQ1_S | 2 bits in groups of 32 | `:f32` |
  | MXFP4 | mode `:mxfp4` | `:u8` |
  | NVFP4 | mode `:nvfp4` | `:u8` |
  | Q2_K, Q3_K, Q6_K, IQ2_XS, IQ2_S, IQ1_M | none: scales are shared by 8 or 16 numbers | |

  In this type scales and biases are exact. Those of Q4_K and its like are products, which `:f16` rounds: one in 2000 of a
  number is lost then, and a tensor takes 5 bits a number and not 6. Formats that are not in the table raise.

  Safetensors of the types F8_E4M3 and F8_E8M0 are given as their bytes, of the type `:u8`.

  Options:

    * `:format` - see above
    * `:metadata` - `true` returns `{arrays, metadata}`, default false; for `:safetensors` and `:gguf`. With `:arrays`,
      numbers, booleans and lists of these in GGUF metadata are arrays of the type that they have in the file
    * `:stream` - where arrays are loaded

  And for `:gguf`:

    * `:form` - of tensors of quantized formats: `:quantized` as above (default), or `:dense` for the numbers of all
    * `:type` - of numbers, scales and biases: `:f16`, `:bf16` or `:f32`. By default numbers are `:f16`, and scales and
      biases as in the table. In `:f32`, numbers are exactly those of the file
    * `:requantize` - options of `Mlx.quantize/2`, `[group_size: 64, bits: 4]`, with which those tensors are quantized that
      else give numbers of the type `:type`; default nil
    * `:quantization` - `true` adds to what is returned a map that has the quantization of each quantized weight, by its
      name: `%{"name.weight" => [mode: :affine, group_size: 32, bits: 4]}`, options for `Mlx.dequantize/4` and
      `Mlx.quantized_matmul/5`; default false

  Examples:

      iex> path = Path.join(System.tmp_dir!(), "mlx_load_example.safetensors")
      iex> Mlx.IO.save(path, %{"x" => Mlx.array([1, 2])}, metadata: %{"from" => "an example"})
      iex> {arrays, metadata} = Mlx.IO.load(path, metadata: true)
      iex> File.rm!(path)
      iex> {Mlx.to_list(arrays["x"]), metadata}
      {[1, 2], %{"from" => "an example"}}

  Python: `mlx.core.load`, which converts those formats of GGUF to `:f16` that are not Q4_0, Q4_1 or Q8_0.
  """
  @spec load(Path.t(), keyword()) :: loaded()
  def load(path, options \\ []) do
    [format | others] = Options.values(options, :"IO.load", [format: nil] ++ @reading)
    path = FilePath.string!(path, :"IO.load")
    format = format!(:load, format, path)
    wanted = wanted!(:load, format, others)
    Failure.about("Mlx.IO.load: cannot read #{path}", fn -> Bytes.open(path, &read(format, &1, wanted)) end)
  end

  @doc """
  The array (`:npy`), or the map of names and arrays, that a binary holds: the bytes of a file, as `encode/2` makes them.
  The arrays are copies.

  Options:

    * `:format` - see above, default `:safetensors`
    * all others - as for `load/2`

  Raises `Mlx.Error` when the bytes are not those of such a file.

      iex> bytes = Mlx.IO.encode(%{"x" => Mlx.array([1, 2])})
      iex> Mlx.to_list(Mlx.IO.decode(bytes)["x"])
      [1, 2]

  Python: `mlx.core.load` of an object that is read like a file.
  """
  @spec decode(binary(), keyword()) :: loaded()
  def decode(bytes, options \\ [])

  def decode(bytes, options) when is_binary(bytes) do
    [format | others] = Options.values(options, :"IO.decode", [format: :safetensors] ++ @reading)
    format = format!(:decode, format, nil)
    wanted = wanted!(:decode, format, others)
    Failure.about("Mlx.IO.decode: cannot read #{format}", fn -> read(format, Bytes.of(bytes), wanted) end)
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
    path = FilePath.string!(path, :"IO.save")
    format = format!(:save, format, path)
    {content, metadata} = checked!(:save, format, content, metadata)

    written(:save, "cannot write #{path}", fn ->
      pieces = pieces(format, content, metadata, compress)
      Evaluation.eval(content)
      WholeFile.write(path, pieces)
    end)
  end

  @doc """
  The bytes of the file that `save/3` would write.

  Options:

    * `:format` - see above, default `:safetensors`
    * `:metadata`, `:compress` - as for `save/3`

  Raises `Mlx.Error` when the format does not take an array, and `ArgumentError` as `save/3` does.

      iex> <<0x93, "NUMPY", _rest::binary>> = Mlx.IO.encode(Mlx.array([1.0, 2.0]), format: :npy)
      iex> bytes = Mlx.IO.encode(%{"x" => Mlx.array([1.0])}, metadata: %{"from" => "an example"})
      iex> {%{"x" => _}, metadata} = Mlx.IO.decode(bytes, metadata: true)
      iex> metadata
      %{"from" => "an example"}

  Python: `mlx.core.save_safetensors` and its like with an object that is written like a file.
  """
  @spec encode(Array.t() | %{(String.t() | atom()) => Array.t()}, keyword()) :: binary()
  def encode(content, options \\ []) do
    defaults = [format: :safetensors, metadata: nil, compress: false]
    [format, metadata, compress, _stream] = Options.values(options, :"IO.encode", defaults)
    format = format!(:encode, format, nil)
    {content, metadata} = checked!(:encode, format, content, metadata)

    written(:encode, "cannot make #{format}", fn ->
      pieces = pieces(format, content, metadata, compress)
      Evaluation.eval(content)
      pieces |> Enum.to_list() |> IO.iodata_to_binary()
    end)
  end

  # Reading

  # The options of a function as `read/3` takes them.
  defp wanted!(function, format, [metadata, quantization, form, type, requantize, stream]) do
    check_metadata!(function, metadata, format)

    for {name, value, default} <- [
          {:quantization, quantization, false},
          {:form, form, :quantized},
          {:type, type, nil},
          {:requantize, requantize, nil}
        ],
        format != :gguf and value != default do
      raise ArgumentError, "Mlx.IO.#{function}: the option #{inspect(name)} is for :gguf, not for #{inspect(format)}"
    end

    unless is_boolean(quantization) do
      raise ArgumentError,
            "Mlx.IO.#{function}: expected :quantization to be true or false, got: #{inspect(quantization)}"
    end

    form = GGUFForm.new!(function, form, type, requantize)
    %{metadata: metadata, quantization: quantization, form: form, stream: stream}
  end

  defp read(:npy, bytes, wanted), do: Npy.decode(bytes, wanted.stream)
  defp read(:npz, bytes, wanted), do: Npz.decode(bytes, wanted.stream)

  defp read(:safetensors, bytes, wanted) do
    {arrays, values} = Safetensors.decode(bytes, wanted.stream)
    if wanted.metadata, do: {arrays, values}, else: arrays
  end

  defp read(:gguf, bytes, %{metadata: metadata} = wanted) do
    {arrays, quantization, %{metadata: values, types: types}} = GGUF.decode(bytes, wanted.form, wanted.stream)

    case {metadata && if(metadata == :arrays, do: typed(values, types), else: values), wanted.quantization} do
      {false, false} -> arrays
      {values, false} -> {arrays, values}
      {false, true} -> {arrays, quantization}
      {values, true} -> {arrays, values, quantization}
    end
  end

  defp typed(values, types) do
    Map.new(values, fn {key, value} ->
      {key, if(type = types[key], do: Mlx.Ops.Creation.array(value, type: type), else: value)}
    end)
  end

  # Writing

  defp checked!(function, format, content, metadata) do
    check_metadata!(function, metadata != nil, format)
    Content.check!(function, format, content, metadata)
  end

  # What `fun` returns, whose arrays may have been deallocated.
  defp written(function, what, fun) do
    name = "Mlx.IO.#{function}"
    CalledFunction.name(name, fn -> Failure.about("#{name}: #{what}", fun) end)
  end

  # The bytes of a file, in pieces.
  defp pieces(:npy, array, _metadata, _compress), do: Npy.encode(array)
  defp pieces(:npz, arrays, _metadata, compress), do: Npz.encode(arrays, compress)
  defp pieces(:safetensors, arrays, metadata, _compress), do: Safetensors.encode(arrays, metadata)
  defp pieces(:gguf, arrays, metadata, _compress), do: GGUFEncoder.encode(arrays, metadata)

  # Both

  defp format!(_function, format, _path) when format in [:safetensors, :gguf, :npy, :npz], do: format

  defp format!(function, nil, path) when is_binary(path) do
    extension = path |> Path.extname() |> String.downcase()

    @formats[extension] ||
      raise ArgumentError,
            "Mlx.IO.#{function}: cannot tell the format of #{inspect(path)}; give the option :format"
  end

  defp format!(function, format, _path) do
    raise ArgumentError,
          "Mlx.IO.#{function}: expected :format to be :safetensors, :gguf, :npy or :npz, got: #{inspect(format)}"
  end

  defp check_metadata!(function, metadata, _format) when metadata not in [true, false, :arrays] do
    raise ArgumentError,
          "Mlx.IO.#{function}: expected :metadata to be true, false or :arrays, got: #{inspect(metadata)}"
  end

  defp check_metadata!(function, metadata, format) when metadata != false and format in [:npy, :npz] do
    raise ArgumentError, "Mlx.IO.#{function}: the format #{inspect(format)} has no metadata"
  end

  defp check_metadata!(_function, _metadata, _format), do: :ok
end
