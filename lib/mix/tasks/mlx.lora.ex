defmodule Mix.Tasks.Mlx.Lora do
  @shortdoc "Fine-tunes a language model"

  @moduledoc """
  Fine-tunes a language model with LoRA or DoRA, or as a whole, on a folder with `train.jsonl` and, if there are any,
  `valid.jsonl` and `test.jsonl`. `Mlx.LM.TrainingData` says what their lines are.

      mix mlx.lora --model SmolLM2 --data livebooks/owl --mask-prompt --steps 200 --output owl
      mix mlx.lora -m SmolLM2-4bit --data data --kind dora --layers 8 --rank 16 -o adapter --plot loss.svg
      mix mlx.generate --model SmolLM2 --adapter owl --prompt "What is the capital of Norway?"

    * `--model`, `-m` - a folder, or a name on the Hugging Face Hub. `mix mlx.convert` makes a folder of a GGUF file
    * `--data` - the folder with the texts
    * `--output`, `-o` - the folder of the adapter, default `adapters`. An adapter or a training that is there is not replaced
    * `--kind` - `lora` (default), `dora` or `full`
    * `--layers` - how many of the last blocks are trained, default 16; -1 is all
    * `--key` - the name of a layer that gets an adapter, such as `self_attn.q_proj`; several times. Default all of the blocks
    * `--rank`, `--scale`, `--dropout` - of adapters, default 8, 20.0 and 0.0
    * `--adapter` - the folder of an adapter to begin with
    * `--objective` - `likelihood` (default), or `dpo` or `orpo` for lines with a `chosen` and a `rejected` answer
    * `--beta` - the number of the objectives of pairs, default 0.1
    * `--mask-prompt` - only answers count for the loss
    * `--max-length` - texts are cut off after so many tokens, default 2048
    * `--pack` - several texts in a row of `--max-length` tokens, so that no time goes into what is empty behind short ones
    * `--steps` - how many steps are made, default 1000
    * `--batch-size`, `--accumulate` - texts in a batch, or rows with `--pack`, default 4, and batches in a step, default 1
    * `--optimizer` - `adam` (default), `adamw`, `adafactor`, `adagrad`, `adadelta`, `adamax`, `lion`, `muon`, `rmsprop` or `sgd`
    * `--learning-rate` - default 1.0e-5
    * `--warmup`, `--decay` - the learning rate grows from 0 in so many steps, and falls to 0 as a cosine in so many after them
    * `--clip-norm` - the greatest norm of the gradients
    * `--type` - the type of the model's numbers: f32, f16 or bf16
    * `--gradient-checkpoint` - less memory for more time
    * `--seed` - of adapters, order and dropout, default 0
    * `--report-every`, `--validate-every`, `--save-every` - after how many steps, default 10, 200 and 100
    * `--validation-batches` - the most batches of a validation, default 25; -1 is all
    * `--resume` - go on where a training with the same output ended or was killed, to the same bytes. All other options have
      to be the same. Only `--steps`, and how often it reports, validates and saves, may change
    * `--test` - the loss on `test.jsonl` at the end
    * `--plot` - an SVG file for the curves
    * `--json` - write an object of JSON with the losses and figures at the end, and nothing else
    * `--help`, `-h` - list the options

  The output has `adapters.safetensors` and `adapter_config.json`, as mlx-lm has them, and `training.safetensors` and
  `training.json`, from which `--resume` goes on. `mix mlx.launch -n 2 mix mlx.lora ...` trains in two processes, which share
  each batch.

  Wrong options, and a model or data that can't be read, end it with exit status 1.

  Python: `mlx_lm.lora`.
  """

  use Mix.Task

  alias Mix.Mlx.{CommandLine, FineTuningOutput, FineTuningReport, Switches}
  alias Mlx.LM.{FineTuning, TrainingData}
  alias Mlx.Optimizers
  alias Mlx.Optimizers.Schedules

  @head "mix mlx.lora --model MODEL --data FOLDER [OPTIONS]"

  @optimizers [
    adam: Optimizers.Adam,
    adamw: Optimizers.AdamW,
    adafactor: Optimizers.Adafactor,
    adagrad: Optimizers.Adagrad,
    adadelta: Optimizers.AdaDelta,
    adamax: Optimizers.Adamax,
    lion: Optimizers.Lion,
    muon: Optimizers.Muon,
    rmsprop: Optimizers.RMSprop,
    sgd: Optimizers.SGD
  ]

  @rows [
    model: {:string, "MODEL", "a folder, or a name on the Hugging Face Hub"},
    data: {:string, "FOLDER", "with train.jsonl, and valid.jsonl and test.jsonl if there are any"},
    output: {:string, "FOLDER", "of the adapter, default adapters"},
    kind: {{:one_of, [:lora, :dora, :full]}, "KIND", "lora (default), dora or full"},
    layers: {:integer, "N", "how many of the last blocks are trained, default 16; -1 is all"},
    key: {:several, "NAME", "a layer that gets an adapter, such as self_attn.q_proj; several times"},
    rank: {:integer, "N", "of adapters, default 8"},
    scale: {:float, "X", "of adapters, default 20"},
    dropout: {:float, "P", "of adapters, default 0"},
    adapter: {:string, "FOLDER", "an adapter to begin with"},
    objective:
      {{:one_of, [:likelihood, :dpo, :orpo]}, "NAME", "likelihood (default), or dpo or orpo for pairs of answers"},
    beta: {:float, "X", "of the objectives of pairs, default 0.1"},
    mask_prompt: {:boolean, nil, "only answers count for the loss"},
    max_length: {:integer, "N", "texts are cut off after so many tokens, default 2048"},
    pack: {:boolean, nil, "several texts in a row of --max-length tokens"},
    steps: {:integer, "N", "how many steps are made, default 1000"},
    batch_size: {:integer, "N", "texts in a batch, or rows with --pack, default 4"},
    accumulate: {:integer, "N", "batches in a step, default 1"},
    optimizer: {{:one_of, Keyword.keys(@optimizers)}, "NAME", Enum.map_join(@optimizers, ", ", &elem(&1, 0))},
    learning_rate: {:float, "X", "default 1.0e-5"},
    warmup: {:integer, "N", "the learning rate grows from 0 in so many steps"},
    decay: {:integer, "N", "the learning rate falls to 0 in so many steps, as a cosine"},
    clip_norm: {:float, "X", "the greatest norm of the gradients"},
    type: {{:one_of, [:f32, :f16, :bf16]}, "TYPE", "of the model's numbers: f32, f16 or bf16"},
    gradient_checkpoint: {:boolean, nil, "less memory for more time"},
    seed: {:integer, "N", "of adapters, order and dropout, default 0"},
    report_every: {:integer, "N", "after how many steps the loss is shown, default 10"},
    validate_every: {:integer, "N", "after how many steps there is a validation, default 200"},
    save_every: {:integer, "N", "after how many steps all is saved, default 100"},
    validation_batches: {:integer, "N", "the most batches of a validation, default 25; -1 is all"},
    resume: {:boolean, nil, "go on where a training with the same output ended"},
    test: {:boolean, nil, "the loss on test.jsonl at the end"},
    plot: {:string, "FILE", "an SVG file for the curves"}
  ]

  @defaults [output: "adapters", steps: 1000, batch_size: 4, learning_rate: 1.0e-5, seed: 0] ++
              [report_every: 10, validate_every: 200, save_every: 100, validation_batches: 25, optimizer: :adam]

  @requirements ["app.start"]

  @impl true
  def run(arguments) do
    case Switches.parse(arguments, @head, @rows ++ Switches.group(:json)) do
      :help -> :ok
      {options, []} -> CommandLine.or_exit(fn -> tune(Keyword.merge(@defaults, options)) end)
      {_options, [other | _]} -> Switches.refuse("unexpected argument: #{other}", @head)
    end
  end

  defp tune(options) do
    [model, folder] =
      for name <- [:model, :data], do: options[name] || Switches.refuse("there is no #{Switches.flag(name)}", @head)

    group = Mlx.Distributed.init()
    # The other processes write nothing.
    if group.rank == 0, do: FineTuningOutput.check!(options)
    tuning = FineTuning.load(model, loading(options))
    data = open!(folder, "train", tuning, options)
    validation = open(folder, "valid", tuning, options)
    report = FineTuningReport.new(tuning, options, group)
    if group.rank == 0, do: FineTuningOutput.begin!(options)
    FineTuningReport.start(report, data, validation)
    {tuned, training} = FineTuning.train(tuning, data, optimizer(options), settings(report, validation, group, options))

    if group.rank == 0 do
      FineTuning.save(tuned, options[:output])
      test = if options[:test], do: test(tuned, open!(folder, "test", tuned, options), tuning, options)
      FineTuningReport.finish(report, tuned, training, test)
    end
  end

  defp loading(options) do
    layers = with -1 <- options[:layers], do: :all
    given = Keyword.take(options, [:kind, :rank, :scale, :dropout, :adapter, :seed, :type])
    given ++ [layers: layers, keys: options[:key]]
  end

  defp open!(folder, name, tuning, options) do
    open(folder, name, tuning, options) || raise Mlx.Error, "#{folder} has no #{name}.jsonl"
  end

  defp open(folder, name, tuning, options) do
    path = Path.join(folder, "#{name}.jsonl")
    if File.exists?(path), do: TrainingData.open(path, tuning, Keyword.take(options, [:mask_prompt, :max_length]))
  end

  defp optimizer(options), do: Keyword.fetch!(@optimizers, options[:optimizer]).new(rate(options))

  defp rate(options) do
    {rate, warmup, decay} = {options[:learning_rate], options[:warmup], options[:decay]}
    falling = if decay, do: Schedules.cosine_decay(rate, decay), else: fn _step -> Mlx.array(rate) end

    cond do
      warmup != nil -> Schedules.join_schedules([Schedules.linear_schedule(0.0, rate, warmup), falling], [warmup + 1])
      decay != nil -> falling
      true -> rate
    end
  end

  defp settings(report, validation, group, options) do
    batches = with -1 <- options[:validation_batches], do: nil
    validated = [validation: validation, validate_every: options[:validate_every], validation_batches: batches]

    given = [
      :steps,
      :batch_size,
      :accumulate,
      :clip_norm,
      :seed,
      :report_every,
      :gradient_checkpoint,
      :objective,
      :beta,
      :pack
    ]

    Keyword.take(options, given) ++
      if(validation, do: validated, else: []) ++
      [
        group: group,
        progress: nil,
        callbacks: [FineTuningReport.callback(report)],
        checkpoint: FineTuningOutput.checkpoint(options[:output]),
        checkpoint_every: options[:save_every],
        resume: options[:resume] || false
      ]
  end

  # The model before its training is what a whole one is compared with; adapters are left out.
  defp test(tuned, data, before, options) do
    objective = Keyword.take(options, [:objective, :beta])
    objective = if tuned.kind == :full, do: [reference: before] ++ objective, else: objective
    batches = TrainingData.batches(data, options[:batch_size], mean_of: :all, pack: options[:pack] == true)
    FineTuning.evaluate(tuned, batches, objective).loss
  end
end
