defmodule Mlx.LM do
  @moduledoc """
  Language models: loads one and generates text with it.

      lm = Mlx.LM.load("mlx-community/Qwen3-0.6B-4bit")
      messages = [%{role: "user", content: "What is the capital of France?"}]

      Mlx.LM.generate(lm, messages).text
      #=> "The capital of France is Paris."

      lm |> Mlx.LM.stream(messages, temperature: 0.7, top_p: 0.9, seed: 1) |> Enum.each(&IO.write/1)

  A prompt is one of

    * a string, which the model continues
    * a list of messages, maps with `:role` (`"system"`, `"user"` or `"assistant"`) and `:content`, which the chat template
      of the file makes a string of
    * a list of tokens

  A model belongs to no process. It can be used by several at once, which then take turns on the device.

  Python: `mlx_lm.load`, `mlx_lm.convert`, `mlx_lm.quant`, `mlx_lm.generate`, `mlx_lm.stream_generate`, `mlx_lm.perplexity`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Arguments.{CalledFunction, Given, Options}
  alias Mlx.IO.{FilePath, GGUFMetadata}
  alias Mlx.Hub

  alias Mlx.LM.{
    Adapters,
    ChatTemplate,
    Checkpoint,
    Conversion,
    Decoder,
    Decoding,
    Generation,
    GGUFModel,
    Perplexity,
    Response,
    Tokenizer
  }

  alias Mlx.LM.Quantization.Methods

  @architectures GGUFModel.architectures()

  @enforce_keys [:name, :model, :decode, :tokenizer, :template]
  defstruct @enforce_keys ++ [adapters: nil]

  @typep decode :: Decoding.t()
  @typep adapters :: Adapters.t()

  @type t :: %__MODULE__{
          name: String.t(),
          model: Decoder.t(),
          decode: decode,
          tokenizer: Tokenizer.t(),
          template: ChatTemplate.t() | nil,
          adapters: adapters() | nil
        }

  @type message :: %{required(:role) => String.t(), required(:content) => String.t()}
  @type prompt :: String.t() | [message()] | [Tokenizer.id()]

  @doc """
  Loads a model, by one of

    * a folder with `config.json`, safetensors and `tokenizer.json`, as Hugging Face has them (`Mlx.LM.Checkpoint`)
    * a GGUF file, of one of the architectures #{Enum.join(@architectures, ", ")}
    * the name of a model on the Hugging Face Hub, such as `"mlx-community/Qwen3-0.6B-4bit"` or
      `"mlx-community/Qwen3-0.6B-4bit@main"`, which is downloaded where it is not in the cache (`Mlx.Hub`)

  Options:

    * `:form` - the form of the matrices, `:quantized` as in the file or `:dense`; by default the one that the device
      multiplies fastest, which is `:dense` for some matrices on a CPU (see `Mlx.LM.Decoder.for_inference/2`)
    * `:type` - the floating-point type of everything else; by default `:f32` on a CPU, and on a GPU that of the folder, or
      for a GGUF file `:f16`, and `:bf16` for those architectures whose numbers leave the range of `:f16` (gemma, gpt-oss)
    * `:requantize` - for a GGUF file, options of `Mlx.quantize/2` for the matrices of formats that MLX cannot multiply by
      (see `Mlx.IO.load/2`), such as `[group_size: 64, bits: 6]`; by default they are dense. With it, `:form` is
      `:quantized` by default
    * `:families` - types of models of your own in folders, a map of types and modules (`Mlx.LM.Family`)
    * `:adapter` - the folder of an adapter of mlx-lm or PEFT for a model in a folder, and `:fuse`, whether it becomes a part
      of the model's matrices, default false (see `Mlx.LM.Checkpoint.load/2`)
    * `:adapters` - adapters of LoRA and DoRA among which each call chooses by its option `:adapter`, a map of names and
      folders, such as `%{"poet" => "adapters/poet"}`; `%{}` where `put_adapter/3` brings them later. The matrices of the
      model are in memory once. Default `nil`

  Raises `Mlx.Error` when something can't be read, is of an unknown kind, or is missing.

  Python: `mlx_lm.load`.
  """
  @spec load(Path.t(), keyword()) :: t()
  def load(model, options \\ []) do
    model = FilePath.string!(model, :"LM.load")
    defaults = [form: nil, type: nil, requantize: nil, families: %{}, adapter: nil, fuse: false, adapters: nil]
    options = Options.complete(options, :"LM.load", defaults)

    CalledFunction.name("Mlx.LM.load", fn ->
      path = Hub.resolve(model)
      if File.dir?(path), do: of_folder(path, model, options), else: of_gguf(path, options)
    end)
  end

  # A download of a repository may hold nothing but one GGUF file.
  defp of_folder(folder, name, options) do
    case {File.exists?(Path.join(folder, "config.json")), Path.wildcard(Path.join(folder, "*.gguf"))} do
      {false, [path]} -> of_gguf(path, options)
      _other -> of_checkpoint(folder, name, options)
    end
  end

  defp of_checkpoint(folder, name, options) do
    {requantize, options} = Keyword.pop(options, :requantize)

    if requantize do
      raise ArgumentError, "Mlx.LM.load: the option :requantize is for GGUF files, and #{folder} is a folder"
    end

    {adapters, options} = Keyword.pop(options, :adapters)
    model = if adapters, do: Adapters.base(folder, options), else: Checkpoint.load(folder, options)

    lm = %__MODULE__{
      name: name |> Path.expand() |> Path.basename(),
      model: model,
      decode: Decoding.compile(model),
      tokenizer: Tokenizer.from_folder(folder),
      template: ChatTemplate.from_folder(folder)
    }

    if adapters, do: Adapters.load(lm, adapters, folder, options), else: lm
  end

  defp of_gguf(path, options) do
    if options[:adapter] || options[:adapters],
      do: raise(Mlx.Error, message: "#{path} is a GGUF file, and adapters are for models in folders")

    %{metadata: metadata} = GGUFMetadata.read(path)
    GGUFModel.check!(metadata, path)
    tokenizer = Tokenizer.from_gguf(metadata)
    model = GGUFModel.load(path, metadata, Keyword.take(options, [:form, :type, :requantize]))

    %__MODULE__{
      name: metadata["general.name"] || Path.basename(path, ".gguf"),
      model: model,
      decode: Decoding.compile(model),
      tokenizer: tokenizer,
      template: template(metadata)
    }
  end

  @doc """
  The model with another adapter, by a name for the option `:adapter` of `generate/3`, `stream/3` and `events/3`. The model was
  loaded with the option `:adapters`. An adapter that had the name is replaced; `nil` in place of a folder takes it away.

      lm = Mlx.LM.load("SmolLM2", adapters: %{"owl" => "adapters/owl"})
      lm = Mlx.LM.put_adapter(lm, "poet", "adapters/poet")
      Mlx.LM.generate(lm, "Hello", adapter: "poet")

  Nothing of the model is read again.

  Raises `ArgumentError` for a model that was loaded without `:adapters`, and `Mlx.Error` where the adapter does not fit.
  """
  @spec put_adapter(t(), String.t(), Path.t() | nil) :: t()
  def put_adapter(%__MODULE__{} = lm, name, folder) when is_binary(name) do
    CalledFunction.name("Mlx.LM.put_adapter", fn -> Adapters.put(lm, name, folder) end)
  end

  @doc """
  The model with one of its adapters, by its name, or without any for `nil`: what the option `:adapter` chooses for a call, for
  those that have no such option, such as `perplexity/3`.
  """
  @spec with_adapter(t(), String.t() | nil) :: t()
  def with_adapter(%__MODULE__{} = lm, name) do
    CalledFunction.name("Mlx.LM.with_adapter", fn -> Adapters.choose(lm, name) end)
  end

  @doc """
  Converts a model to a folder that `load/2` and Python's `mlx_lm.load` load. `source` is what `load/2` takes: a folder, a
  GGUF file, or a name on the Hugging Face Hub.

      Mlx.LM.convert("HuggingFaceTB/SmolLM2-135M-Instruct", "SmolLM2-4bit", quantize: [bits: 4])
      Mlx.LM.convert("SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2", dequantize: true, type: :bf16)

  Options:

    * `:quantize` - `true`, or a keyword list of
      * `:mode`, `:bits`, `:group_size` - those of `Mlx.quantize/2`
      * `:recipe` - `:mixed_2_6`, `:mixed_3_4`, `:mixed_3_6` or `:mixed_4_6`: more bits for the matrices that matter most
      * `:where` - a function of the path of a layer, as the folder names it, and the layer, that says whether to quantize
        it: true, false, or a keyword list with other options for it
    * `:dequantize` - whether to unpack what is quantized, default false; it may be quantized anew then
    * `:type` - the floating-point type, `:f32`, `:f16` or `:bf16`; by default what `torch_dtype` of `config.json` says, and
      otherwise as it is, and `:f16` for a GGUF file
    * `:families` - that of `load/2`
    * `:shard_size` - the most bytes of tensors in a file, default 5 GiB
    * `:progress` - a function that is called with `{:tensors, done, total}`

  Without options it is the same model, as MLX has it. What a family leaves as it is, such as the choice of experts, and
  matrices whose rows are no multiple of the group size stay as they are.

  The matrices of a GGUF file stay quantized where MLX has the form. A `tokenizer.json` is made of its metadata, for
  tokenizers of the byte-level kind.

  Returns a map: `:parameters`, `:bytes` of all tensors, and `:bits_per_weight`. The folder takes its name when it is
  complete. Tensors are computed and written one after the other, so that a few of them are in memory at a time. A GGUF
  file is read as a whole.

  `mlx-lm` loads the folder, too, where it has the type: with the option `:dequantize`, bitnet is an exception, of which it
  has packed matrices alone.

  Raises `Mlx.Error` where something of the name of the folder is there already, where a model is quantized already, and as
  `load/2` does.

  Python: `mlx_lm.convert`.
  """
  @spec convert(Path.t(), Path.t(), keyword()) :: %{
          parameters: non_neg_integer(),
          bytes: non_neg_integer(),
          bits_per_weight: float()
        }
  def convert(source, folder, options \\ []) do
    source = FilePath.string!(source, :"LM.convert")
    folder = FilePath.string!(folder, :"LM.convert")
    options = Options.complete(options, :"LM.convert", Conversion.options())
    CalledFunction.name("Mlx.LM.convert", fn -> Conversion.run(source, folder, options) end)
  end

  @doc """
  Quantizes a model with the help of a text, and writes it to a folder that `load/2` and Python's `mlx_lm.load` load. `source`
  is what `convert/3` takes.

      text = File.read!("text.txt")
      Mlx.LM.quantize("SmolLM2", "SmolLM2-gptq", method: :gptq, bits: 4, calibration: text)

  | method | |
  | --- | --- |
  | `:round` | each number to the nearest, as `convert/3` does |
  | `:gptq` | rounds the columns of a matrix one after another, and makes up for each error in the columns that are left (Frantar et al., 2022) |
  | `:awq` | scales features, so that columns that read large ones are rounded with less error, and bounds the numbers of groups (Lin et al., 2023) |
  | `:dwq` | trains scales, biases and all that is not quantized, such as norms, to foretell what the whole model does |
  | `:dynamic` | gives more bits to the layers whose rounding is felt most, by the slope of the divergence from the whole model |

  Options of all methods:

    * `:method` - one of the table. It must be there
    * `:calibration` - a text, or a list of texts, like those that the model will read. All methods but `:round` need it
    * `:bits`, `:group_size`, `:recipe`, `:where` - those of `:quantize` of `convert/3`
    * `:embedding_bits` - the bits of `model.embed_tokens` and `lm_head`, by default those of other layers
    * `:window`, `:windows`, `:batch_size` - how many tokens are read as one text, default 512; how many of these, from all
      over the text, default 32 and `nil` for all; and how many at once, default 4
    * `:dequantize`, `:type`, `:families`, `:shard_size` - those of `convert/3`
    * `:progress` - a function that is called with `{what, done, total}`, where `what` is `:blocks`, `:batches`, `:steps` or
      `:tensors`

  Options of single methods:

    * `:grid`, `:clip` - of `:awq`: how many scales are tried, default 20, and whether numbers are bounded, default true
    * `:start` - of `:dwq`: the method that gives what is trained, `:round` (default), `:gptq` or `:awq`
    * `:steps`, `:learning_rate`, `:temperature` - of `:dwq`: how many steps are made, by default one for each batch; default
      1.0e-5; and by what logits are divided, default 2.0
    * `:seed` - of `:dwq`: shuffles the windows of the text, which are read in this order, default 0; `nil` leaves them in the
      order of the text
    * `:report` - of `:dwq`: a function of the number of a step, and the divergence from the whole model before it
    * `:high_bits`, `:bits_per_weight` - of `:dynamic`: the bits of the layers that have more, by default the next after `:bits`;
      and how many bits there are for each number of the model in the end, scales and all others counted, default 5.0
    * `:gradient_checkpoint` - of `:dwq` and `:dynamic`: less memory for more time, default false

  Returns what `convert/3` returns. The whole model is in memory, in `:f32` on a CPU. Embeddings, and experts and other layers
  that read nothing of the text, are rounded by `:gptq` and `:awq`. All experts of a layer count as reading what any of them
  reads. `:awq` scales where it knows all that reads a feature: attention, feed-forward layers and experts.

  Raises `ArgumentError` for wrong options, and `Mlx.Error` as `convert/3` does.

  Python: `mlx_lm.gptq`, `mlx_lm.awq`, `mlx_lm.dwq`, `mlx_lm.dynamic_quant`.
  """
  @spec quantize(Path.t(), Path.t(), keyword()) :: %{
          parameters: non_neg_integer(),
          bytes: non_neg_integer(),
          bits_per_weight: float()
        }
  def quantize(source, folder, options) do
    source = FilePath.string!(source, :"LM.quantize")
    folder = FilePath.string!(folder, :"LM.quantize")
    CalledFunction.name("Mlx.LM.quantize", fn -> Methods.run(source, folder, options) end)
  end

  @doc """
  Generates text, and returns it with its figures as a `Mlx.LM.Response`. Takes the options of `events/3`.
  """
  @spec generate(t(), prompt(), keyword()) :: Response.t()
  def generate(lm, prompt, options \\ [])

  def generate(%__MODULE__{} = lm, prompt, options) do
    {:done, response} = lm |> events(prompt, options, "Mlx.LM.generate") |> Enum.find(&match?({:done, _response}, &1))
    response
  end

  @doc """
  Generates text as a stream of strings, each of which is given as soon as it is complete and never ends inside a
  character. Takes the options of `events/3`.

  The model runs only as far as the stream does.
  """
  @spec stream(t(), prompt(), keyword()) :: Enumerable.t()
  def stream(lm, prompt, options \\ [])

  def stream(%__MODULE__{} = lm, prompt, options) do
    lm
    |> events(prompt, options, "Mlx.LM.stream")
    |> Stream.flat_map(fn event -> with {:text, text} <- event, do: [text], else: (_ -> []) end)
  end

  @doc """
  Generates text as a stream of `{:text, string}`, of which the last element is `{:done, response}` with a
  `Mlx.LM.Response`. With the option `:logprobs` there are elements `{:token, map}`, too: each token as soon as it is
  known, with its log-probability (see `Mlx.LM.Response`).

  Options:

    * `:max_tokens` - the most tokens to generate, default 256
    * `:stop` - strings that end the text, which are no part of it, default `[]`
    * `:stop_ids` - tokens that end the text in place of the model's own end tokens; default `nil`, the model's own
    * `:ignore_eos` - whether the model's own end tokens do not end the text, default false
    * `:special` - whether special tokens, such as `<|channel|>`, are a part of the text, default false; or a list of the
      texts of those that are, such as the marks of tool calls (`Mlx.LM.Tools.special/1`)
    * `:context` - the context of an earlier response, of which the prompt is a continuation (see `Mlx.LM.Context`)
    * `:cache` - caches that take less memory, in place of those of all keys and values (Python: `kv_bits`,
      `kv_group_size`, `quantized_kv_start`, `max_kv_size`). Sliding windows and recurrent layers keep theirs. One of
        * `[bits: 8, group_size: 64, start: 0]` - quantized ones (`Mlx.LM.QuantizedCache`), from so many positions on
        * `[max_size: 4096, keep: 4]` - those of the last positions, beside the first `:keep` (`Mlx.LM.RotatingCache`)
    * `:grammar` - what the text has to be, such as JSON of a schema: a `Mlx.LM.Grammar`, or one that is compiled
    * `:draft`, `:draft_tokens` - who drafts tokens that the model only checks, several in one call, and how many at most (see
      "Drafts" below)
    * `:template` - variables of the chat template, as `encode/3` takes them
    * `:adapter` - the name of an adapter that the model was loaded with, or `nil` for none; by default the one that
      `with_adapter/2` has chosen
    * `:prefill_step` - how many tokens of the prompt are read at once, default 2048
    * `:progress` - a function that is called with `{:prefill, done, total}` while the prompt is read: before the first
      token of it, after each step, and when the first token of the answer is known
    * those of `Mlx.LM.Sampler`: #{Enum.map_join(Mlx.LM.Sampler.options(), ", ", &"`#{inspect(&1)}`")}.
      `:xtc_special_tokens` are by default the end tokens and those of a line break

  ## Drafts

  Speculative decoding takes fewer calls of the model for the same text. `:draft` is one of

    * an `Mlx.LM`, a smaller model with the same vocabulary
    * `:prompt`, for what followed the last tokens where they came before, in the prompt or the text so far. It serves
      answers that repeat parts of the prompt. `{:ngram, longest: 3, shortest: 2}` says how many last tokens must be the same

  and `:draft_tokens`, from 1 to 64, is by default 4 with a model and 8 without.

  The model accepts drafts or not, so that the text has the distribution that it has without drafts: at temperature 0 it is
  the same, but for tokens that are equally probable within rounding. Drafts of a model are sampled by the sampler's own
  options, and are accepted by rejection sampling: a `:seed` gives another text than without them. Drafts of the text are
  accepted where the sampler chooses the same token, and the text of a seed stays. Penalties and functions of one's own see
  the tokens that were accepted; the functions run in each call of the model then. `:speculation` of the response tells how
  many drafts there were.

  Recurrent states and full windows cannot forget a draft that was not accepted. They are copied before, and what was
  accepted is read again with the next drafts. Neither a `:cache` with `:max_size` nor a `:grammar` can be used with
  drafts; a `:cache` with `:bits` can, and may begin some tokens after its `:start`. The drafting model reads the whole
  prompt, also with a `:context`.

  Python: `draft_model` and `num_draft_tokens` of `mlx_lm.stream_generate`, which accepts a draft where the sampler chooses the
  same token.

  A stream that is not read to its end gives the memory of its caches back at once, and so does one whose consumer raises.
  That of a process that is killed comes back with the process.

  Raises `ArgumentError` for an empty prompt and wrong options, and `Mlx.Error` for a prompt that is longer than the
  model's context length.
  """
  @spec events(t(), prompt(), keyword()) :: Enumerable.t()
  def events(lm, prompt, options \\ [])
  def events(%__MODULE__{} = lm, prompt, options), do: events(lm, prompt, options, "Mlx.LM.events")

  # The events of the function that was called.
  defp events(lm, prompt, options, called) do
    parts = ["Mlx.LM.encode", "Mlx.LM.Generation.events"]

    {own, options} =
      if Keyword.keyword?(options), do: Keyword.split(options, [:template, :adapter]), else: {[], options}

    {adapter, template} = Keyword.split(own, [:adapter])
    lm = CalledFunction.name(called, fn -> Adapters.of_call(lm, adapter) end)
    CalledFunction.name(called, parts, fn -> Generation.events(lm, encode(lm, prompt, template), options) end)
  end

  @doc """
  How well the model foretells a text, which is a string or a list of tokens. The text is cut into windows of one length,
  and each of them is read by itself; what is left over at the end is left out. A text that is shorter than a window is
  one. A map:

    * `:perplexity` - the exponential of `:loss`; `:infinity` where that is no float any more
    * `:standard_error` - that of the perplexity; nil for a single token
    * `:loss` - the mean negative log-likelihood of a token
    * `:tokens`, `:windows` - how many were foretold, and in how many windows. The first token of a window is not foretold

  Options:

    * `:window` - the number of tokens in a window; by default 512, or the model's context length where that is less
    * `:windows` - the most windows to read; default `nil`, all
    * `:batch_size` - how many windows are read at once, default 1
    * `:progress` - a function that is called with `{:windows, done, total}`

  Raises `ArgumentError` for a text of fewer than two tokens and for wrong options, and `Mlx.Error` when the model gives
  logits that are not finite.

  Python: `mlx_lm.perplexity`.
  """
  @spec perplexity(t(), String.t() | [Tokenizer.id()], keyword()) :: %{
          perplexity: float() | :infinity,
          standard_error: float() | :infinity | nil,
          loss: float(),
          tokens: pos_integer(),
          windows: pos_integer()
        }
  def perplexity(lm, text, options \\ [])

  def perplexity(%__MODULE__{} = lm, text, options) do
    {ids, options} =
      CalledFunction.name("Mlx.LM.perplexity", fn ->
        options = Perplexity.options!(lm, options)
        {Perplexity.ids!(lm, text), options}
      end)

    Perplexity.of(lm.model, ids, options)
  end

  @doc """
  The tokens of a prompt.

  Option:

    * `:template` - variables of the chat template for a list of messages, a keyword list such as
      `[tools: [%{...}], enable_thinking: false]`, default `[]`
  """
  @spec encode(t(), prompt(), keyword()) :: [Tokenizer.id()]
  def encode(lm, prompt, options \\ [])

  def encode(%__MODULE__{} = lm, prompt, options) do
    [variables] = Options.without_stream(options, :"LM.encode", template: [])

    if not Keyword.keyword?(variables) do
      raise ArgumentError, "Mlx.LM.encode: expected :template to be a keyword list, got: #{Given.text(variables)}"
    end

    tokens(lm, prompt, variables)
  end

  defp tokens(lm, text, _variables) when is_binary(text), do: Tokenizer.encode(lm.tokenizer, text)
  defp tokens(_lm, [id | _] = ids, _variables) when is_integer(id), do: ids
  defp tokens(_lm, [], _variables), do: []

  defp tokens(%{template: nil} = lm, [_ | _], _variables) do
    raise ArgumentError,
          "Mlx.LM.encode: #{lm.name} has no chat template; give a string, and not messages, as the prompt"
  end

  defp tokens(lm, [_ | _] = messages, variables) do
    text = CalledFunction.name("Mlx.LM.encode", fn -> render(lm, messages, variables) end)

    # The template writes what the file's settings would otherwise add.
    Tokenizer.encode(lm.tokenizer, text, bos: false, eos: false)
  end

  defp tokens(_lm, other, _variables) do
    raise ArgumentError,
          "Mlx.LM.encode: expected the prompt to be a string, messages or tokens, got: #{Given.text(other)}"
  end

  defp render(lm, messages, variables) do
    named = Keyword.merge([bos_token: "", eos_token: ""], Tokenizer.named_tokens(lm.tokenizer))
    ChatTemplate.render(lm.template, messages, Keyword.merge([add_generation_prompt: true] ++ named, variables))
  end

  defp template(metadata) do
    case metadata["tokenizer.chat_template"] do
      nil -> nil
      source -> ChatTemplate.compile(source)
    end
  end
end
