defmodule Mlx.Training do
  @moduledoc """
  The training loop of a model.

  `run/5` takes a model, a loss, an optimizer and batches, and gives a training: a struct with the trained model, and with
  all that is needed to go on.

      iex> x = Mlx.Random.normal({64, 2}, key: Mlx.Random.key(0))
      iex> data = %{x: x, y: Mlx.sum(x, axes: 1, keep_axes: true)}
      iex> loss = fn model, batch -> batch.x |> Mlx.NN.forward(model) |> Mlx.NN.Losses.mse_loss(batch.y) end
      iex> training =
      ...>   Mlx.NN.Linear.new(2, 1)
      ...>   |> Mlx.Training.run(loss, Mlx.Optimizers.Adam.new(0.1), Mlx.Training.batches(data, 16, shuffle: true),
      ...>     epochs: 30, seed: 1, progress: nil)
      iex> [{_step, last} | _] = training.losses
      iex> {training.epoch, training.step, last < 0.01}
      {30, 120, true}

  Everything here is made of the public functions of `Mlx.NN`, `Mlx.Optimizers`, `Mlx.Tree` and `Mlx.IO`. A training with
  another loop is a few lines on these, see `Mlx.NN`.

  ## Batches

  A batch is a container of arrays (see `Mlx.Tree`), and the loss is a function of the model and a batch. Batches are an
  `Enumerable`, of which each epoch makes a pass, or a function of the epoch, counted from 1, that returns one. A process
  makes the next batches while the device works. Random numbers without a key come there from a sequence of the epoch, so
  that `batches/3` shuffles each epoch in another way, and the same training always in the same ways.

  ## Checkpoints

  With `checkpoint: "training.safetensors"` the training is written to this file after each epoch, and every so many steps
  with `:checkpoint_every`. The file is replaced as a whole: on a full disk, or when the machine is killed, the former one
  is there. Its arrays have the paths of the model behind `model.`.

  With `resume: true` a run goes on where the file ends, or begins where there is none. The order of the batches and the
  random numbers go on, too: a run that was killed and resumed ends with the same bytes as one that was not. That needs
  the same options and batches, and on a CPU `config :mlx, kernels: :wait` (see `Mlx.compile/2`). Another learning rate
  is refused, because the file has the one that counts. The batches of the epoch
  that were used are made once more and dropped.

  The weights alone are loaded from it for use:

      weights = for {"model." <> path, array} <- Mlx.IO.load("training.safetensors"), do: {path, array}
      model = weights |> Mlx.Tree.unflatten(model) |> Mlx.NN.eval()

  ## Curves

  `curve/1` gives the losses of the steps and of the validations to `Mlx.Training.Curve`, which draws them:

      File.write!("loss.svg", training |> Mlx.Training.curve() |> Mlx.Training.Curve.to_svg())

  ## Several processes

  With `group: Mlx.Distributed.init()` the processes of the group train one model together. Each computes the gradients of
  its rows of a batch, and the mean of the gradients, weighted by rows, is what all of them go on with: the training is
  the one of a single process with the whole batches, up to rounding. `mix mlx.launch -n 2 train.exs` starts a program
  in two processes, and `Mlx.Distributed` has other ways.

      group = Mlx.Distributed.init()
      Mlx.Training.run(model, loss, optimizer, Mlx.Training.batches(data, 128, shuffle: true), group: group, seed: 1)

  All processes call `run/5` with the same batches and options. They begin with the model and the random numbers of the
  first process, whose rank is 0, so that a shuffled order is the same one in all. Each has random numbers of its own in
  the loss. Running statistics, which each process gathers from its rows, are averaged. So are the losses and metrics of
  reports and validations, which all processes know.

  The first process shows the progress, and writes and reads the checkpoint. Callbacks are called in all of them. When one
  of them returns `:halt`, the training ends in all. An error in one process leaves the others waiting until that process
  ends, unless it is an error of the checkpoint, which all of them raise.

  The gradients are one compiled function, and what the optimizer makes of them is another; the exchange is between them.

  ## Memory

  A step donates the arrays of the training before it (see `Mlx.compile/2`). A callback that keeps arrays for later copies
  them with `Mlx.copy/1`. The model that was given to `run/5` stays as it is.

  Python: none.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, NN, Optimizers, Random, Tree}
  alias Mlx.Arguments.{CalledFunction, Given, Options}
  alias Mlx.Training.{Batches, Checkpoint, Evaluation, Loop, Passes, Processes, Settings, Step}

  @array_fields [:model, :optimizer_state, :random, :order]
  @enforce_keys @array_fields
  defstruct @enforce_keys ++
              [epoch: 0, batch: 0, step: 0, losses: [], validations: [], best: nil, waited: 0, counted: 0]

  # Options that all processes of a group need alike, because they say when and what is exchanged.
  @agreed [
    :epochs,
    :steps,
    :validate_every,
    :accumulate,
    :report_every,
    :type,
    :checkpoint_every,
    :resume,
    :early_stopping
  ]

  @typedoc """
  A training:

    * `model`, `optimizer_state` - after the last step
    * `random`, `order` - where the random numbers of the loss and those of the batches are
    * `epoch` - the epochs that are done
    * `batch` - the batches of the next epoch that are done
    * `step` - the steps that are done
    * `losses` - `{step, loss}` for each report, the mean since the report before; the last report comes first
    * `validations` - `{step, values}` for each validation, a map with `:loss` and the metrics; the last one comes first
    * `best`, `waited` - the best value of early stopping, and the validations since then
    * `counted` - what `:count` has counted
  """
  @type t :: %__MODULE__{
          model: Tree.t(),
          optimizer_state: Optimizers.state(),
          random: Array.t(),
          order: Array.t(),
          epoch: non_neg_integer(),
          batch: non_neg_integer(),
          step: non_neg_integer(),
          losses: [{pos_integer(), number() | atom()}],
          validations: [{pos_integer(), %{atom() => number() | atom()}}],
          best: number() | nil,
          waited: non_neg_integer(),
          counted: non_neg_integer()
        }

  @typedoc "Batches: an Enumerable, or a function of the epoch, from 1, that returns one."
  @type batches :: Enumerable.t() | (pos_integer() -> Enumerable.t())

  @doc """
  Trains a model.

  `loss` is a function of a model and a batch that returns a scalar array. The step is compiled.

  Options of the steps:

    * `:epochs` - how many passes over the batches are made in all, default 1, and with `:steps` as many as these take
    * `:steps` - how many steps are made in all, default `nil`, as many as the epochs have
    * `:accumulate` - how many batches make one step, which takes the mean of their gradients; default 1. At the end of an
      epoch it may be fewer.
    * `:clip_norm` - the greatest norm of the gradients, see `Mlx.Optimizers.clip_grad_norm/2`; default `nil`
    * `:type` - `:bf16` or `:f16`, in which the loss is computed: its model and batch have this type in place of `:f32`. The
      weights, their gradients and the state of the optimizer keep theirs. Default `nil`
    * `:frozen` - the parameters that are not trained, a `t:Mlx.NN.selection/0`; default `[]`
    * `:seed` - starts the random numbers, an integer; by default they come from the sequence of the process
    * `:prefetch` - how many batches are made ahead, default 2
    * `:group` - a `t:Mlx.Distributed.Group.t/0` of processes that train together, each with its rows of a batch; default
      `nil`

  Options of what is said and saved:

    * `:validation` - batches of which the loss and the metrics are computed after each epoch, by the model of
      `Mlx.NN.eval/1`; default `nil`
    * `:validate_every` - after how many steps that is done, in place of the ends of epochs; then it is done before the first
      step and after the last one, too. Default `nil`
    * `:metrics` - a keyword list of functions of a model and a batch that return a scalar array; default `[]`
    * `:early_stopping` - stops when the validation does not get better, a keyword list: `:metric`, default `:loss`;
      `:mode`, `:min` (default) or `:max`; `:patience`, how many epochs it may take, default 1; `:min_delta`, by how much
      it has to get better, default 0.0. The training has the last model; a callback that keeps the best one finds
      `waited: 0` at the `:epoch` in which it is better than before.
    * `:report_every` - after how many steps the mean loss is reported, default 10. Each report waits for the device.
    * `:count` - a function of a batch that returns an integer, an array without axes, such as the number of tokens, for
      `counted` of the training; default `nil`. Each process of a group counts its rows
    * `:callbacks` - functions of an event, `:report` or `:epoch`, or `:validation` with `:validate_every`, and the training. If one returns `:halt`, the training
      ends there. Default `[]`
    * `:progress` - the IO device of a line with the loss and the steps in a second, default `:stdio`; `nil` writes nothing
    * `:checkpoint`, `:checkpoint_every`, `:resume` - the path of a file, after how many steps it is written besides the end
      of an epoch, and whether to go on where it ends; default `nil`, `nil` and false

  Examples:

      iex> loss = fn w, x -> Mlx.mean(Mlx.square(Mlx.subtract(w, x))) end
      iex> stop = fn
      ...>   :epoch, training -> if training.epoch == 2, do: :halt
      ...>   :report, _training -> :ok
      ...> end
      iex> batches = [Mlx.array([1.0]), Mlx.array([3.0])]
      iex> training =
      ...>   Mlx.Training.run(Mlx.array(0.0), loss, Mlx.Optimizers.SGD.new(0.25), batches,
      ...>     epochs: 5, callbacks: [stop], progress: nil)
      iex> {training.epoch, training.step, Mlx.to_number(training.model)}
      {2, 4, 2.1875}

  Raises `ArgumentError` when the model has nothing to train, when there are no batches, and when the file to go on from
  does not fit or has another learning rate. What the loss, the batches and the callbacks raise is raised. Python: none.
  """
  @spec run(Tree.t(), (Tree.t(), Tree.t() -> Array.t()), Optimizers.t(), batches(), keyword()) :: t()
  def run(model, loss, optimizer, batches, options \\ [])

  def run(model, loss, optimizer, batches, options) when is_function(loss, 2) and is_struct(optimizer) do
    settings = Settings.new!(options)
    check_batches!(batches)
    training = model |> begin(optimizer, settings) |> agreed(settings) |> resumed(optimizer, settings)

    loop = %Loop{
      settings: settings,
      step: Step.new(loss, optimizer, settings),
      validate: validate(loss, settings),
      batches: batches
    }

    Loop.run(loop, training)
  end

  def run(_model, loss, optimizer, _batches, _options) when is_function(loss, 2) do
    raise ArgumentError,
          "Mlx.Training.run: expected an optimizer such as Mlx.Optimizers.Adam.new(0.001), got: #{Given.text(optimizer)}"
  end

  defp check_batches!(batches) do
    if not Passes.valid?(batches) do
      raise ArgumentError,
            "Mlx.Training.run: expected batches, an Enumerable or a function of the epoch that returns one, " <>
              "got: #{Given.text(batches)}"
    end
  end

  # The arrays are copies, because steps donate them.
  defp begin(model, optimizer, settings) do
    check_trained!(model, model)

    CalledFunction.name("Mlx.Training.run", ["Mlx.NN.freeze", "Mlx.Optimizers.init"], fn ->
      {trained, _kept} = NN.freeze(model, settings.frozen)
      check_trained!(trained, model)
      seed = if settings.seed, do: Random.key(settings.seed), else: Random.bits({2})
      [random, order] = seed |> Random.split() |> Mlx.unstack()
      state = Optimizers.init(optimizer, trained)
      training = %__MODULE__{model: Tree.map(model, &Mlx.copy/1), optimizer_state: state, random: random, order: order}
      Mlx.eval({training.model, state, random, order})
      training
    end)
  end

  defp check_trained!(trained, model) do
    if Tree.arrays(trained) == [] do
      raise ArgumentError, "Mlx.Training.run: expected a model with arrays to train, got: #{Given.text(model)}"
    end
  end

  # Processes whose models or exchanges differ would wait for each other without end.
  defp agreed(training, %{group: nil}), do: training

  defp agreed(training, %{group: group} = settings) do
    forms = for {path, array} <- Tree.flatten(arrays_of(training)), do: {path, array.shape, array.type}
    Processes.same!(group, forms, "the arrays of the model and of the optimizer's state, but for their values,")
    options = Map.take(settings, @agreed)
    checkpoint? = settings.checkpoint != nil
    Processes.same!(group, {options, checkpoint?, names(settings)}, "the options of the steps and of the checkpoint")
    from_first(training, group)
  end

  defp arrays_of(training), do: Map.take(training, @array_fields)

  defp from_first(training, group) do
    training |> arrays_of() |> Processes.from_first(group) |> then(&struct!(training, &1))
  end

  # The first process reads the file, which the others may not have.
  defp resumed(training, optimizer, %{resume: true, checkpoint: path, group: group} = settings) do
    load = fn -> if File.exists?(path), do: loaded(path, training, optimizer, settings), else: training end

    case Processes.in_first(group, load, &(&1 |> Map.from_struct() |> Map.drop(@array_fields))) do
      {loaded, _others} when group == nil -> loaded
      {loaded, others} -> (loaded || training) |> struct!(others) |> from_first(group)
    end
  end

  defp resumed(training, _optimizer, _settings), do: training

  # A schedule goes on at the step of the file. A number is part of the state, so that another one would not count.
  defp loaded(path, training, optimizer, settings) do
    loaded = Checkpoint.load(path, training, names(settings))

    with %{learning_rate: rate} when is_number(rate) <- optimizer,
         [former, own] = for(one <- [loaded, training], do: Mlx.to_number(one.optimizer_state.learning_rate)),
         true <- former != own do
      raise ArgumentError,
            "Mlx.Training.run: expected the learning rate of #{path}, which the training goes on with, #{former}, " <>
              "got: #{rate}; give that one, or begin another training with the model"
    else
      _same -> loaded
    end
  end

  defp names(settings), do: [:loss | Keyword.keys(settings.metrics)]

  defp validate(_loss, %{validation: nil}), do: nil

  defp validate(loss, %{validation: batches} = settings) do
    functions = for {name, fun} <- [{:loss, loss} | settings.metrics], do: {name, Step.in_type(fun, settings.type)}
    compiled = Evaluation.compile(functions)

    fn training ->
      batches = Passes.of(batches, training.epoch)

      case Evaluation.means(compiled, names(settings), NN.eval(training.model), batches, settings.group) do
        {:ok, values} -> values
        :none -> Loop.no_batches!("the batches of :validation")
      end
    end
  end

  @doc """
  The means of functions over batches, each a function of a model and a batch that returns a scalar array.

  The model is that of `Mlx.NN.eval/1`. A batch counts by its rows, the first axis of its first array.

      iex> model = Mlx.NN.Linear.new(2, 1)
      iex> norm = fn model, _batch -> Mlx.sum(Mlx.zeros_like(model.weight)) end
      iex> rows = fn _model, batch -> Mlx.array(elem(batch.shape, 0)) end
      iex> Mlx.Training.evaluate(model, [norm: norm, rows: rows], [Mlx.zeros({3, 2}), Mlx.zeros({1, 2})])
      %{norm: 0.0, rows: 2.5}

  Raises `ArgumentError` when there are no batches. Python: none.
  """
  @spec evaluate(Tree.t(), keyword(), Enumerable.t()) :: %{atom() => number() | atom()}
  def evaluate(model, functions, batches) do
    check_functions!(functions)

    if is_function(batches, 1) or not Passes.valid?(batches) do
      raise ArgumentError, "Mlx.Training.evaluate: expected an Enumerable of batches, got: #{Given.text(batches)}"
    end

    model = CalledFunction.name("Mlx.Training.evaluate", ["Mlx.NN.eval"], fn -> NN.eval(model) end)

    case Evaluation.means(Evaluation.compile(functions), Keyword.keys(functions), model, batches) do
      {:ok, values} -> values
      :none -> raise ArgumentError, "Mlx.Training.evaluate: expected at least one batch, got none"
    end
  end

  defp check_functions!(functions) do
    if not (Keyword.keyword?(functions) and Enum.all?(functions, fn {_name, fun} -> is_function(fun, 2) end)) do
      raise ArgumentError,
            "Mlx.Training.evaluate: expected a keyword list of functions of a model and a batch, got: #{Given.text(functions)}"
    end
  end

  @doc """
  Batches of the rows of arrays: a stream of containers as the given one, each with `size` rows of all of its arrays.

  Options:

    * `:shuffle` - whether the rows come in a random order, another one at each pass, default false. The order comes from
      the sequence of the process, which in `run/5` is one of the epoch.
    * `:drop_last` - whether rows that are too few for a batch are left out, default false

  Examples:

      iex> batches = Mlx.Training.batches(%{x: Mlx.arange(5), y: Mlx.zeros({5, 2})}, 2)
      iex> for batch <- batches, do: {Mlx.to_list(batch.x), batch.y.shape}
      [{[0, 1], {2, 2}}, {[2, 3], {2, 2}}, {[4], {1, 2}}]

  Raises `ArgumentError` when the arrays have not the same number of rows. Python: none.
  """
  @spec batches(Tree.t(), pos_integer(), keyword()) :: Enumerable.t()
  def batches(container, size, options \\ [])

  def batches(container, size, options) when is_integer(size) do
    [shuffle, drop_last] = Options.without_stream(options, :"Training.batches", shuffle: false, drop_last: false)
    if size < 1, do: raise(ArgumentError, "Mlx.Training.batches: expected a size of at least 1, got: #{size}")

    for {name, value} <- [shuffle: shuffle, drop_last: drop_last], not is_boolean(value) do
      raise ArgumentError, "Mlx.Training.batches: expected :#{name} to be true or false, got: #{Given.text(value)}"
    end

    Batches.stream(container, Batches.rows!(container), size, shuffle, drop_last)
  end

  @doc """
  The curves of the loss, for `Mlx.Training.Curve`: of the reports, and of the validations if there are any.

      iex> loss = fn w, x -> Mlx.mean(Mlx.square(Mlx.subtract(w, x))) end
      iex> options = [epochs: 2, progress: nil, report_every: 1]
      iex> training =
      ...>   Mlx.Training.run(Mlx.array(0.0), loss, Mlx.Optimizers.SGD.new(0.5), [Mlx.array([2.0])], options)
      iex> Mlx.Training.curve(training)
      [training: [{1, 4.0}, {2, 0.0}]]

  Python: none.
  """
  @spec curve(t()) :: Mlx.Training.Curve.curves()
  def curve(%__MODULE__{losses: losses, validations: []}), do: [training: Enum.reverse(losses)]

  def curve(%__MODULE__{losses: losses, validations: validations}) do
    validation = for {step, values} <- validations, do: {step, values.loss}
    [training: Enum.reverse(losses), validation: Enum.reverse(validation)]
  end
end
