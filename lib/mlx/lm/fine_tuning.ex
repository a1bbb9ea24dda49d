defmodule Mlx.LM.FineTuning do
  @moduledoc """
  Trains a language model further: with adapters of low rank beside its matrices (LoRA, DoRA), or its blocks themselves.

      tuning = Mlx.LM.FineTuning.load("SmolLM2", kind: :lora, rank: 8, layers: 16)
      data = Mlx.LM.TrainingData.open("train.jsonl", tuning, mask_prompt: true)
      validation = Mlx.LM.TrainingData.open("valid.jsonl", tuning, mask_prompt: true)

      {tuning, training} =
        Mlx.LM.FineTuning.train(tuning, data, Mlx.Optimizers.Adam.new(1.0e-4),
          steps: 200, batch_size: 4, validation: validation, validate_every: 50, seed: 0)

      Mlx.LM.FineTuning.save(tuning, "adapter")
      Mlx.LM.generate(Mlx.LM.FineTuning.lm(tuning), [%{role: "user", content: "Hello!"}]).text

  | kind | what is trained |
  | --- | --- |
  | `:lora` | two small matrices beside each chosen matrix: `y = layer(x) + scale * (x @ lora_a) @ lora_b` |
  | `:dora` | these, and a length for each row of the changed matrix (`Mlx.LM.Decoder.DoRALinear`) |
  | `:full` | all arrays of the last blocks |

  The layers of a quantized model stay quantized, in whatever form, beside adapters (QLoRA and QDoRA). LoRA is for linear
  layers, embeddings and experts, DoRA for the first two.

  An adapter is saved as mlx-lm has it, and `Mlx.LM.load/2` loads it by the option `:adapter`. `fuse/4` makes it a part of the
  model.

  Python: `mlx_lm.lora`, `mlx_lm.fuse`, `mlx_lm.tuner`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, Hub, NN, Training, Tree}
  alias Mlx.Arguments.{CalledFunction, Given, OptionKinds, Options}
  alias Mlx.IO.FilePath
  alias Mlx.LM.{ChatTemplate, Decoder, Decoding, Families, Tokenizer, TrainingData}
  alias Mlx.LM.Checkpoint.Saved
  alias Mlx.LM.FineTuning.{AdapterFiles, Fusing, Loading, Objective, Reinforcement, Split, Start, Supervised}

  @derive {Inspect, only: [:name, :kind, :settings]}
  @enforce_keys [:name, :folder, :decoder, :kind, :settings, :first, :tokenizer, :template, :saved, :fields]
  defstruct @enforce_keys

  @typep saved :: Saved.t()

  @typedoc """
  A model that is being trained:

    * `name`, `folder` - of the model
    * `decoder` - the model, with the layers of the adapter
    * `kind`, `settings` - `:lora`, `:dora` or `:full`, and the options of `load/2`
    * `first` - the number of the first block that is trained
    * `tokenizer`, `template` - of the model, or nil where its folder has none
  """
  @type t :: %__MODULE__{
          name: String.t(),
          folder: Path.t(),
          decoder: Decoder.t(),
          kind: :lora | :dora | :full,
          settings: keyword(),
          first: non_neg_integer(),
          tokenizer: Tokenizer.t() | nil,
          template: ChatTemplate.t() | nil,
          saved: saved(),
          fields: Families.Fields.t()
        }

  @doc """
  Loads a model for training: a folder, as `Mlx.LM.Checkpoint` reads it, or a name on the Hugging Face Hub. `Mlx.LM.convert/3`
  makes a folder of a GGUF file.

  Options:

    * `:kind` - `:lora` (default), `:dora` or `:full`
    * `:layers` - how many of the last blocks are trained, or `:all`; by default 16, or all of a model with fewer
    * `:keys` - the names of the layers that get adapters: `"self_attn.q_proj"` for that layer of each block, `"lm_head"` or
      `"model.embed_tokens"` for one outside of the blocks. By default all of the blocks, but for experts of `:dora`
    * `:rank`, `:scale`, `:dropout` - of adapters, default 8, 20.0 and 0.0
    * `:adapter` - the folder of an adapter to begin with, of mlx-lm or PEFT. Its layers, rank and scale count then, and whether
      it is of LoRA, DoRA or whole arrays; default `nil`
    * `:seed` - starts the random numbers of new adapters, an integer; by default they come from the sequence of the process
    * `:type` - the floating-point type of the model, by default that of the files. Adapters are `:f32`
    * `:families` - that of `Mlx.LM.load/2`

  Raises `ArgumentError` for wrong options, and `Mlx.Error` as `Mlx.LM.load/2` does.

  Python: `mlx_lm.load`, `linear_to_lora_layers` of `mlx_lm.tuner.utils`.
  """
  @spec load(Path.t(), keyword()) :: t()
  def load(source, options \\ []) do
    source = FilePath.string!(source, :"LM.FineTuning.load")
    table = Loading.options()
    options = Options.complete(options, :"LM.FineTuning.load", OptionKinds.defaults(table))
    OptionKinds.check!(table, options, "Mlx.LM.FineTuning.load: ")

    CalledFunction.name("Mlx.LM.FineTuning.load", fn ->
      source |> Hub.resolve() |> Loading.of_folder(source, options)
    end)
  end

  @doc """
  Trains the model with `Mlx.Training.run/5`. `data` is an `Mlx.LM.TrainingData`, or batches as `Mlx.Training.run/5` takes them,
  each of which `Mlx.LM.TrainingData.batches/3` has made. Returns the model and the training, whose model holds what was
  trained and nothing else.

  Options:

    * those of `Mlx.Training.run/5`. `:validation` may be an `Mlx.LM.TrainingData`, too. With `:type`, the whole model is
      computed in that type, and what is trained keeps its own
    * `:batch_size` - how many texts are in a batch of `data`, default 4
    * `:sort`, `:shuffle` - those of `Mlx.LM.TrainingData.batches/3` for `data`, both true by default
    * `:pack` - that of `Mlx.LM.TrainingData.batches/3` for `data` and an `Mlx.LM.TrainingData` as `:validation`: several
      texts in a row of `:max_length` tokens, so that no time goes into what is empty behind short texts. Then
      `:batch_size` is of rows. Default false
    * `:validation_batches` - the most batches of a validation, default `nil`, all
    * `:objective` - `:likelihood` (default), or for pairs `:dpo` or `:orpo`
    * `:beta` - the number of the objectives of pairs, default 0.1
    * `:reference` - the model that `:dpo` compares with, an `Mlx.LM.FineTuning`. By default it is the model without its
      adapter, and of the kind `:full` the model as it is given
    * `:gradient_checkpoint` - whether gradients compute each block anew, which takes less memory and more time; default false

  `:counted` of the training is how many tokens have counted. In a group of processes, `:batch_size` is that of all of them
  together.

  ## Objectives

  | objective | texts | the loss |
  | --- | --- | --- |
  | `:likelihood` | no pairs | the mean of `-log p` over the tokens that count |
  | `:dpo` | pairs | the mean of `-log sigmoid(margin)` over the pairs |
  | `:orpo` | pairs | the mean of `-mean(log p(chosen)) - beta * log sigmoid(margin)` over the pairs |

  The margin of a pair is

    * of `:dpo`, `beta * (log p(chosen) / r(chosen) - log p(rejected) / r(rejected))`, in which `p` and `r` are the
      probabilities of a whole answer after the prompt, of the model and of the reference (Rafailov and others, "Direct
      Preference Optimization", 2023)
    * of `:orpo`, `log odds(chosen) / odds(rejected)` with `odds = q / (1 - q)`, in which `log q` is the mean of `log p` over
      the tokens of the answer (Hong and others, "ORPO: Monolithic Preference Optimization without Reference Model", 2024)

  Validations of pairs have the metrics `margin` and `accuracy` besides those of `:metrics`: the means of the margin, and of
  whether it is above 0.

      pairs = Mlx.LM.TrainingData.open("pairs.jsonl", tuning)
      Mlx.LM.FineTuning.train(tuning, pairs, Mlx.Optimizers.AdamW.new(5.0e-6), objective: :dpo, steps: 200)

      Mlx.LM.FineTuning.train(tuning, data, Mlx.Optimizers.AdamW.new(2.0e-5),
        epochs: 3, accumulate: 4, checkpoint: "training.safetensors", checkpoint_every: 100, resume: true)

  A training that was killed and is resumed ends with the same bytes, as with `Mlx.Training.run/5`.

  Python: `train` of `mlx_lm.tuner.trainer`.
  """
  @spec train(t(), TrainingData.t() | Training.batches(), Mlx.Optimizers.t(), keyword()) :: {t(), Training.t()}
  def train(tuning, data, optimizer, options \\ [])

  def train(%__MODULE__{} = tuning, data, optimizer, options) do
    training = Supervised.run(tuning, data, optimizer, options)
    {put(tuning, training), training}
  end

  @typedoc "What `reinforce/5` tells of each step: `rewards`, `divergences` and `losses`, lists of `{step, number}`."
  @type curves :: [{:rewards | :divergences | :losses, [{pos_integer(), number() | atom()}]}]

  @doc """
  Trains the model by rewards of its own answers (GRPO). `prompts` is a list of what `Mlx.LM.generate/3` takes, and `reward` a
  function of a prompt and the text of an answer that returns a number. Returns the model and the curves.

      reward = fn _prompt, text -> -abs(length(String.split(text)) - 5) end
      {tuning, curves} = Mlx.LM.FineTuning.reinforce(tuning, prompts, reward, Mlx.Optimizers.AdamW.new(1.0e-5), steps: 200)
      File.write!("reward.svg", Mlx.Training.Curve.to_svg(Keyword.take(curves, [:rewards])))

  A step takes some of the prompts and has the model make a group of answers to each. The advantage `A` of an answer is its
  reward less the mean of its group, over the standard deviation of the group; where all rewards are alike it is 0. The loss
  is the mean over the answers of the means over their tokens of

      beta * (r / p - log(r / p) - 1) - min(p / o * A, clip(p / o, 1 - clip, 1 + clip) * A)

  in which `p` is the probability of the token, `o` the one that it had when the answer was made, and `r` that of the
  reference; all are at the temperature of the answers (Shao and others, "DeepSeekMath", 2024).

  Options:

    * `:steps` - default 100
    * `:batch_size`, `:samples` - how many prompts are in a step, default 4, and how many answers are in a group, default 8
    * `:max_tokens`, `:temperature` - of answers, default 128 and 1.0
    * `:iterations` - how often the answers of a step change the model, default 1
    * `:clip`, `:beta` - the numbers of the loss, default 0.2 and 0.04
    * `:reference` - that of `train/4`
    * `:clip_norm`, `:gradient_checkpoint` - those of `Mlx.Training.run/5` and `train/4`
    * `:seed` - starts the order of the prompts and the answers, an integer; by default it comes from the sequence of the process
    * `:callback` - a function of a map with `:step`, `:rewards`, `:divergences` and `:losses` of the step, and the training,
      for `put/2`. If it returns `:halt`, the training ends there. Default `nil`
    * `:progress`, `:report_every` - the IO device of lines with the mean reward and divergence, default `:stdio`, and after
      how many steps there is one, default 10

  An `Mlx.LM.Server` of its own decodes all answers of a step together. Gradients are computed of one prompt's answers at a
  time. Dropout is not used. There are no checkpoints and no groups of processes.

  Raises `ArgumentError` where a reward is no number, and what the reward raises.

  Python: none.
  """
  @spec reinforce(t(), [Mlx.LM.prompt(), ...], (Mlx.LM.prompt(), String.t() -> number()), Mlx.Optimizers.t(), keyword()) ::
          {t(), curves()}
  def reinforce(tuning, prompts, reward, optimizer, options \\ [])

  def reinforce(%__MODULE__{} = tuning, [_ | _] = prompts, reward, optimizer, options)
      when is_function(reward, 2) and is_struct(optimizer) do
    table = Reinforcement.options()
    options = Options.complete(options, :"LM.FineTuning.reinforce", OptionKinds.defaults(table))
    OptionKinds.check!(table, options, "Mlx.LM.FineTuning.reinforce: ")

    CalledFunction.name("Mlx.LM.FineTuning.reinforce", ["Mlx.LM.encode", "Mlx.LM.FineTuning.lm"], fn ->
      lm = lm(tuning)
      prompts = for prompt <- prompts, do: {prompt, Mlx.LM.encode(lm, prompt)}

      settings = [objective: :dpo, beta: options[:beta], reference: options[:reference]]
      %{reference: reference} = Objective.new(tuning, settings, nil, "reinforce")
      {training, curves} = Reinforcement.run(tuning, reference, prompts, reward, optimizer, options)
      {put(tuning, training), curves}
    end)
  end

  @doc """
  The model with what a training has made of it so far, for a callback of `Mlx.Training.run/5`.

      save = fn
        :epoch, training -> tuning |> Mlx.LM.FineTuning.put(training) |> Mlx.LM.FineTuning.save("adapter")
        _report, _training -> :ok
      end
  """
  @spec put(t(), Training.t()) :: t()
  def put(%__MODULE__{decoder: decoder} = tuning, %Training{model: trained}) do
    # The next step donates the arrays of the training.
    %{tuning | decoder: Split.merged(decoder, Tree.map(trained, &Mlx.copy/1))}
  end

  @doc """
  How many numbers are trained, and how many there are.

  Python: `print_trainable_parameters` of `mlx_lm.tuner.utils`.
  """
  @spec parameter_count(t()) :: %{trained: non_neg_integer(), all: non_neg_integer()}
  def parameter_count(%__MODULE__{decoder: decoder, kind: kind, first: first}) do
    trained = Split.trained(decoder, kind, first)
    count = fn arrays -> Enum.sum_by(arrays, fn %Array{shape: shape} -> Tuple.product(shape) end) end

    base = Start.without_adapters(decoder)
    adapters = if kind == :full, do: 0, else: count.(Tree.arrays(trained))
    %{trained: count.(Tree.arrays(trained)), all: Saved.parameters(base) + adapters}
  end

  @doc """
  The loss of the model for batches of `Mlx.LM.TrainingData.batches/3`: the mean over all tokens that count, where these were
  made with `mean_of: :all`.

  Python: `evaluate` of `mlx_lm.tuner.trainer`.
  """
  @spec loss(t(), Enumerable.t()) :: number() | atom()
  def loss(%__MODULE__{} = tuning, batches) do
    CalledFunction.name("Mlx.LM.FineTuning.loss", ["Mlx.LM.FineTuning.evaluate"], fn ->
      evaluate(tuning, batches).loss
    end)
  end

  @doc """
  What a validation of `train/4` has of the model, for batches of `Mlx.LM.TrainingData.batches/3`: the `loss` of an objective,
  and for pairs `margin` and `accuracy`.

  Options: `:objective`, `:beta` and `:reference` of `train/4`. The kind `:full` needs a reference for `:dpo`, which is what
  `load/2` gave.

      Mlx.LM.FineTuning.evaluate(tuning, Mlx.LM.TrainingData.batches(pairs, 4), objective: :dpo)
      #=> %{loss: 0.41, margin: 1.3, accuracy: 0.9}

  Python: none.
  """
  @spec evaluate(t(), Enumerable.t(), keyword()) :: %{atom() => number() | atom()}
  def evaluate(tuning, batches, options \\ [])

  def evaluate(%__MODULE__{} = tuning, batches, options), do: Supervised.evaluate(tuning, batches, options)

  @doc """
  The model for `Mlx.LM.generate/3`, with the same arrays. `Mlx.LM.load/2` makes a faster one of what was saved.
  """
  @spec lm(t()) :: Mlx.LM.t()
  def lm(%__MODULE__{tokenizer: nil, folder: folder}) do
    raise Mlx.Error, "Mlx.LM.FineTuning.lm: #{folder} has no tokenizer.json, which a text is made with"
  end

  def lm(%__MODULE__{} = tuning) do
    model = NN.eval(tuning.decoder)

    %Mlx.LM{
      name: tuning.name,
      model: model,
      decode: Decoding.compile(model),
      tokenizer: tuning.tokenizer,
      template: tuning.template
    }
  end

  @doc """
  Writes the adapter into a folder, with `adapters.safetensors` and `adapter_config.json` as mlx-lm has them. Files of these
  names are replaced. Of `:full` it is the blocks that were trained.

  `Mlx.LM.load/2` loads it, and so does Python's `mlx_lm.load`. Only the first loads the DoRA of a quantized embedding, and
  adapters of layers that mlx-lm has in one matrix and Mlx in several.

  Raises `Mlx.Error` when something cannot be written.
  """
  @spec save(t(), Path.t()) :: :ok
  def save(%__MODULE__{} = tuning, folder) do
    folder = FilePath.string!(folder, :"LM.FineTuning.save")

    CalledFunction.name("Mlx.LM.FineTuning.save", fn ->
      if tuning.kind == :full do
        trained = Split.trained(tuning.decoder, :full, tuning.first)
        count = length(tuning.decoder.model.layers) - tuning.first
        AdapterFiles.write_whole(folder, tuning.decoder, trained, tuning.saved, count)
      else
        AdapterFiles.write(folder, tuning.decoder, tuning.saved, tuning.settings)
      end
    end)
  end

  @doc """
  Makes an adapter a part of a model, and writes a new folder, which `Mlx.LM.load/2` and Python's `mlx_lm.load` load.

      Mlx.LM.FineTuning.fuse("SmolLM2", "adapter", "SmolLM2-tuned")

  `source` is a folder, or a name on the Hugging Face Hub; `adapter` the folder of an adapter of mlx-lm or PEFT.

  Options:

    * `:dequantize` - whether quantized matrices are unpacked. By default those that the adapter changes are quantized anew,
      as they were
    * `:families`, `:shard_size`, `:progress` - those of `Mlx.LM.Checkpoint.save/3`

  Raises `Mlx.Error` where something of the name of the folder is there already, and as `Mlx.LM.load/2` does.

  Python: `mlx_lm.fuse`.
  """
  @spec fuse(Path.t(), Path.t(), Path.t(), keyword()) :: :ok
  def fuse(source, adapter, folder, options \\ []) do
    [source, adapter, folder] = for path <- [source, adapter, folder], do: FilePath.string!(path, :"LM.FineTuning.fuse")
    options = Options.complete(options, :"LM.FineTuning.fuse", Fusing.defaults())

    if not is_boolean(options[:dequantize]) do
      raise ArgumentError,
            "Mlx.LM.FineTuning.fuse: expected :dequantize to be true or false, got: #{Given.text(options[:dequantize])}"
    end

    CalledFunction.name("Mlx.LM.FineTuning.fuse", fn -> Fusing.run(source, adapter, folder, options) end)
  end

  @doc false
  def tuning?(value), do: is_struct(value, __MODULE__)
end
