defmodule Mlx.LM.Checkpoint do
  @moduledoc """
  Models in folders, as Hugging Face has them: `config.json`, and the tensors in `model.safetensors`, or in several files
  that `model.safetensors.index.json` lists.

  | in `config.json` | |
  | --- | --- |
  | `model_type` | the family, see `Mlx.LM.Families` |
  | `quantization` | how matrices are quantized that have scales: `group_size`, `bits` and `mode`, also for single layers |
  | `quantization_config` | the same, or another quantizer: its `quant_method` |
  | `eos_token_id` | the tokens that end a text, with those of `generation_config.json` |

  Files of other quantizers are read too. Their matrices become MLX's form where that has the same numbers, and else
  numbers, in the type of the model:

  | `quant_method` | what it holds | becomes |
  | --- | --- | --- |
  | `awq` | 4 bits | affine |
  | `gptq` | 2, 4 and 8 bits | affine; numbers where inputs are not in the order of their groups |
  | `compressed-tensors` | integers of 2, 4 and 8 bits | affine |
  | `compressed-tensors` | mxfp4 | mxfp4 |
  | `compressed-tensors`, `modelopt` | nvfp4 | nvfp4; numbers where a whole matrix has a scale other than 1 |
  | `compressed-tensors`, `fp8`, `fbgemm_fp8`, `modelopt` | fp8 with one scale, of rows or of blocks | numbers |
  | `compressed-tensors`, `fp8` | fp8 with powers of two as scales of 32 columns, of one row or 32 | mxfp8 |

  In `:f32` these are the same numbers, where the file's scales have 16 bits. In `:f16` and `:bf16`, the biases of affine
  groups are rounded whose zero point is no power of two.

  Nothing of a folder is run.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, Type}
  alias Mlx.Arguments.{CalledFunction, Options}
  alias Mlx.IO.FilePath
  alias Mlx.LM.{Adapter, Decoder, Families, JSONFile}
  alias Mlx.LM.Checkpoint.{Filling, Saving, Shards}
  alias Mlx.LM.Decoder.Matrix
  alias Mlx.LM.Families.Fields

  @options [form: nil, type: nil, families: %{}, adapter: nil, fuse: false]

  @doc """
  The model of a folder, ready to run (`Mlx.LM.Decoder.for_inference/2`).

  Options:

    * `:form` - the form of quantized matrices, `:quantized` or `:dense`; by default the one that the device multiplies
      fastest (see `Mlx.LM.Decoder.for_inference/2`)
    * `:type` - the floating-point type, by default `:f32` on a CPU and that of the file on a GPU
    * `:families` - types of models of your own, a map of types and modules (`Mlx.LM.Family`)
    * `:adapter` - the folder of an adapter: one of mlx-lm, `adapters.safetensors` (LoRA, DoRA, or whole arrays), or one of
      PEFT, `adapter_model.safetensors` (LoRA and DoRA), each with `adapter_config.json`
    * `:fuse` - whether the changes of an adapter become a part of the matrices that they change, default false. Quantized
      matrices are then quantized anew, or unpacked where `:form` is `:dense`. Changes beside the matrices keep the numbers
      of both; DoRA unpacks the matrices that it changes

  The files are read while the model is made, one block after the other.

  Raises `Mlx.Error` with the file when something cannot be read, and names tensors that are missing, are of another
  shape, or have no place in the model.
  """
  @spec load(Path.t(), keyword()) :: Decoder.t()
  def load(folder, options \\ []) do
    folder = FilePath.string!(folder, :"LM.Checkpoint.load")
    options = Options.complete(options, :"LM.Checkpoint.load", @options)

    CalledFunction.name("Mlx.LM.Checkpoint.load", fn ->
      folder
      |> tree(Keyword.put(options, :type, options[:type] || default_type()))
      |> Decoder.for_inference(form: options[:form])
    end)
  end

  @doc false
  # The model of a folder as `load/2` gives it, but that each layer is where it is in files.
  @spec unjoined(Path.t(), keyword()) :: Decoder.t()
  def unjoined(folder, options) do
    folder
    |> tree(type: options[:type] || default_type(), families: options[:families])
    |> Decoder.for_inference(form: options[:form], join: false)
  end

  @doc """
  The model of a folder with the paths that its tensors have, for training, or to save it. Its arrays are read when they
  are evaluated.

  Takes the options of `load/2`. The `:type` is by default that of the file, and the `:form` says only what becomes of
  quantized matrices with which an adapter is fused.
  """
  @spec tree(Path.t(), keyword()) :: Decoder.t()
  def tree(folder, options \\ []) do
    folder = FilePath.string!(folder, :"LM.Checkpoint.tree")
    options = Options.complete(options, :"LM.Checkpoint.tree", @options)

    CalledFunction.name("Mlx.LM.Checkpoint.tree", fn ->
      fields = config(folder)
      decoder = from_tensors(tensors(folder), fields, Keyword.take(options, [:type, :families]) ++ [source: folder])
      if options[:adapter], do: adapted(decoder, fields, options), else: decoder
    end)
  end

  defp adapted(decoder, fields, options) do
    {family, text} = Families.find(fields, families: options[:families])
    form = options[:form] || if(Mlx.Device.default() == :cpu, do: :dense, else: :quantized)
    settings = Keyword.take(options, [:type, :fuse]) ++ [form: form, unpacked: options[:type] || Matrix.type(decoder)]
    Adapter.onto(decoder, options[:adapter], family, text, settings)
  end

  @doc """
  The model of these tensors, by the names that they have in files, and the fields of a `config.json`.

  Options: `:type` and `:families` of `load/2`, and `:source`, the name of the tensors in errors.
  """
  @spec from_tensors(%{String.t() => Array.t()}, Fields.t(), keyword()) :: Decoder.t()
  def from_tensors(tensors, fields, options \\ [])

  def from_tensors(tensors, %Fields{} = fields, options) when is_map(tensors) and not is_struct(tensors) do
    defaults = [type: nil, families: %{}, source: "the tensors"]
    [type, families, source] = Options.without_stream(options, :"LM.Checkpoint.from_tensors", defaults)
    type = if type, do: floating!(type)
    Filling.model(tensors, fields, type, families, source)
  end

  defp floating!(type) do
    type = Type.normalize!(type, :"LM.Checkpoint.from_tensors")

    if not Type.subtype?(type, :float) do
      raise ArgumentError,
            "Mlx.LM.Checkpoint.from_tensors: expected :type to be a floating-point type such as :f32 or :bf16, " <>
              "got: #{inspect(type)}"
    end

    type
  end

  defp default_type, do: if(Mlx.Device.default() == :cpu, do: :f32)

  @doc """
  Saves the model that `tree/2` made, changed or not, in a new folder, which `load/2` and Python's `mlx_lm.load` load. The
  tensors have the names that `mlx-lm` has for them, in files `model.safetensors` or `model-00001-of-00002.safetensors`
  with `model.safetensors.index.json`. `quantization` of `config.json` says how layers are packed.

  Options:

    * `:config` - the fields of the `config.json` that the model came with, as `config/1` gives them. It must be there
    * `:from` - a folder from which the files of the tokenizer, the chat templates and `generation_config.json` are copied
    * `:families` - that of `load/2`
    * `:shard_size` - the most bytes of tensors in a file, default 5 GiB
    * `:progress` - a function that is called with `{:tensors, done, total}`

  The folder takes its name when all of it is written. Tensors are computed and written one after the other; those that the
  caller goes on holding stay in memory, unlike with `Mlx.LM.convert/3`.

  Raises `Mlx.Error` where there is something of this name already, or when something cannot be written.

      model = Mlx.LM.Checkpoint.tree("SmolLM2")
      Mlx.LM.Checkpoint.save(model, "copy", config: Mlx.LM.Checkpoint.config("SmolLM2"), from: "SmolLM2")

  Python: `mlx_lm.utils.save`.
  """
  @spec save(Decoder.t(), Path.t(), keyword()) :: :ok
  def save(%Decoder{} = decoder, folder, options) do
    folder = FilePath.string!(folder, :"LM.Checkpoint.save")
    options = Options.complete(options, :"LM.Checkpoint.save", Saving.defaults())
    CalledFunction.name("Mlx.LM.Checkpoint.save", fn -> Saving.save(decoder, folder, options) end)
  end

  @doc "The fields of the `config.json` of a folder."
  @spec config(Path.t()) :: Fields.t()
  def config(folder) do
    path = Path.join(FilePath.string!(folder, :"LM.Checkpoint.config"), "config.json")
    CalledFunction.name("Mlx.LM.Checkpoint.config", fn -> Fields.new(JSONFile.read!(path), path) end)
  end

  @doc """
  The tokens that end a text, by `config.json` and `generation_config.json`.
  """
  @spec end_ids(Path.t()) :: [non_neg_integer()]
  def end_ids(folder) do
    folder = FilePath.string!(folder, :"LM.Checkpoint.end_ids")

    CalledFunction.name("Mlx.LM.Checkpoint.end_ids", fn ->
      generation = Path.join(folder, "generation_config.json")
      more = if File.regular?(generation), do: [Fields.new(JSONFile.read!(generation), generation)], else: []
      config = config(folder)
      own = [config | List.wrap(Fields.under(config, "text_config"))]
      (own ++ more) |> Enum.flat_map(&ids/1) |> Enum.uniq()
    end)
  end

  defp ids(fields) do
    ids = List.wrap(fields.map["eos_token_id"])
    valid? = Enum.all?(ids, &(is_integer(&1) and &1 >= 0))
    if valid?, do: ids, else: Fields.refuse(fields, "eos_token_id", "a token, or a list of tokens")
  end

  @doc "The tensors of a folder by their names. They are read when they are evaluated."
  @spec tensors(Path.t()) :: %{String.t() => Array.t()}
  def tensors(folder) do
    folder = FilePath.string!(folder, :"LM.Checkpoint.tensors")
    CalledFunction.name("Mlx.LM.Checkpoint.tensors", fn -> Shards.tensors(folder) end)
  end
end
