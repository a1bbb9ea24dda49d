defmodule Mlx.LM.FineTuning.Reinforcement do
  @moduledoc false
  # The steps of GRPO: answers are made, rewarded, and the model is changed by how much better each is than its group.
  #
  # The gradients of one prompt's answers are computed at a time, and added.

  alias Mlx.{NN, Optimizers, Random, Training, Tree}
  alias Mlx.Arguments.{Given, OptionKinds}
  alias Mlx.LM.FineTuning
  alias Mlx.LM.FineTuning.{GroupPolicy, LogProbabilities, Samples, Split}
  alias Mlx.Training.{Settings, Step}

  # Lengths are rounded up, so that a compiled step meets few of them.
  @multiple 32

  @callback_kind {&__MODULE__.callback?/1, "a function of figures and the training"}

  @options [
    steps: {100, :at_least_one},
    batch_size: {4, :at_least_one},
    samples: {8, {&__MODULE__.samples?/1, "an integer of at least 2"}},
    max_tokens: {128, :at_least_one},
    temperature: {1.0, :positive},
    iterations: {1, :at_least_one},
    clip: {0.2, :positive},
    beta: {0.04, :not_negative},
    reference: {nil, {:optional, {&FineTuning.tuning?/1, "an Mlx.LM.FineTuning"}}},
    clip_norm: {nil, {:optional, :not_negative}},
    gradient_checkpoint: {false, :boolean},
    seed: {nil, {:optional, :seed}},
    callback: {nil, {:optional, @callback_kind}},
    report_every: {10, :at_least_one},
    progress: {:stdio, {:optional, :io_device}}
  ]

  @enforce_keys [:tuning, :around, :prompts, :reward, :settings, :logs, :step]
  defstruct @enforce_keys

  @doc "The options, their defaults and kinds."
  @spec options() :: OptionKinds.t()
  def options, do: @options

  @doc """
  The training after all steps, and the curves. `reference` is a decoder, and `prompts` are pairs of a prompt and its tokens.
  """
  @spec run(FineTuning.t(), map(), [{term(), [non_neg_integer()]}, ...], function(), Optimizers.t(), keyword()) ::
          {Training.t(), FineTuning.curves()}
  def run(tuning, reference, prompts, reward, optimizer, options) do
    settings = Map.new(options)
    settings = %{settings | seed: settings.seed || Mlx.to_number(Random.bits({}))}
    # Answers are made without dropout, and so their probabilities are those without it.
    trained = tuning.decoder |> Split.trained(tuning.kind, tuning.first) |> NN.eval() |> Tree.map(&Mlx.copy/1)
    around = tuning.decoder |> NN.eval() |> Split.around(trained, nil) |> Mlx.eval()
    run = new(%{tuning: tuning, around: around, reference: reference}, prompts, reward, optimizer, settings)

    training = %Training{
      model: trained,
      optimizer_state: Optimizers.init(optimizer, trained),
      random: Random.key(settings.seed),
      order: Random.key(settings.seed)
    }

    {training, curves} = steps(run, training, %{rewards: [], divergences: [], losses: []})
    curves = for name <- [:rewards, :divergences, :losses], do: {name, Enum.reverse(curves[name])}
    {%{training | model: NN.train(training.model)}, curves}
  end

  defp new(%{tuning: tuning, around: around, reference: reference}, prompts, reward, optimizer, settings) do
    temperature = settings.temperature
    checkpoint = settings.gradient_checkpoint

    logs = fn trained, batch ->
      for decoder <- [Split.merged(around, trained), reference],
          do: LogProbabilities.of(decoder, batch.ids, false, temperature)
    end

    loss = fn trained, batch ->
      logs = around |> Split.merged(trained) |> LogProbabilities.of(batch.ids, checkpoint, temperature)
      GroupPolicy.loss(logs, batch.mask, batch, settings.clip, settings.beta)
    end

    stepping = Settings.new!(accumulate: settings.batch_size, clip_norm: settings.clip_norm, progress: nil)

    %__MODULE__{
      tuning: tuning,
      around: around,
      prompts: List.to_tuple(prompts),
      reward: reward,
      settings: settings,
      logs: Mlx.compile(logs),
      step: Step.new(loss, optimizer, stepping)
    }
  end

  defp steps(%{settings: %{steps: steps}}, %{step: steps} = training, curves), do: {training, curves}

  defp steps(run, training, curves) do
    {training, figures} = step(run, training)
    curves = for {name, points} <- curves, into: %{}, do: {name, [{training.step, figures[name]} | points]}
    report(run.settings, training.step, curves)

    if run.settings.callback && run.settings.callback.(Map.put(figures, :step, training.step), training) == :halt,
      do: {training, curves},
      else: steps(run, training, curves)
  end

  defp step(%{settings: settings} = run, training) do
    chosen = chosen(run.prompts, training.step, settings)
    lm = FineTuning.lm(%{run.tuning | decoder: Split.merged(run.around, training.model)})
    seed = fn number -> :erlang.phash2({settings.seed, training.step, number}, 0x100000000) end
    given = Keyword.new(Map.take(settings, [:max_tokens, :temperature]))
    samples = Samples.of(lm, Enum.map(chosen, &elem(&1, 1)), settings.samples, seed, given)

    {groups, rewards} =
      for {{prompt, ids}, answers} <- Enum.zip(chosen, samples) do
        rewards = for {_tokens, text} <- answers, do: reward!(run.reward, prompt, text)
        {group(run, training.model, ids, answers, GroupPolicy.advantages(rewards)), rewards}
      end
      |> Enum.unzip()

    divergences = for group <- groups, do: Mlx.to_number(group.divergence)
    parts = for group <- groups, do: {Map.delete(group, :divergence), nil}

    {losses, training} =
      Enum.map_reduce(1..settings.iterations, training, fn _iteration, training ->
        {loss, training} = run.step.(training, parts)
        {Mlx.to_number(loss), training}
      end)

    figures = %{rewards: mean(List.flatten(rewards)), divergences: mean(divergences), losses: hd(losses)}
    {%{training | step: training.step + 1}, figures}
  end

  # The prompts of a step. All are taken once before one is taken again, each time in another order.
  defp chosen(prompts, step, %{batch_size: size, seed: seed}) do
    count = tuple_size(prompts)

    for place <- (step * size)..(step * size + size - 1) do
      pass = div(place, count)
      order = Enum.sort_by(0..(count - 1), &:erlang.phash2({seed, pass, &1}, 0x100000000))
      elem(prompts, Enum.at(order, rem(place, count)))
    end
  end

  defp reward!(reward, prompt, text) do
    case reward.(prompt, text) do
      number when is_number(number) ->
        number

      other ->
        raise ArgumentError,
              "Mlx.LM.FineTuning.reinforce: expected the reward of a text to be a number, got: #{Given.text(other)}"
    end
  end

  # The arrays of a prompt's answers, with the log-probabilities before they change the model.
  defp group(run, trained, prompt, answers, advantages) do
    texts = for {ids, _text} <- answers, do: prompt ++ ids
    longest = texts |> Enum.map(&length/1) |> Enum.max()
    length = 1 + @multiple * div(longest + @multiple - 2, @multiple)
    ids = Mlx.array(for(ids <- texts, do: ids ++ List.duplicate(0, length - length(ids))), type: :s32)
    from = Mlx.array(List.duplicate(length(prompt), length(texts)), type: :s32)
    mask = LogProbabilities.mask(from, Mlx.array(Enum.map(texts, &length/1), type: :s32), length)
    batch = %{ids: ids, mask: mask, advantages: Mlx.array(advantages, type: :f32)}
    [old, reference] = run.logs.(trained, %{ids: ids})
    divergence = old |> GroupPolicy.divergence(reference, mask) |> GroupPolicy.mean(mask)
    Mlx.eval(Map.merge(batch, %{old: old, reference: reference, divergence: divergence}))
  end

  defp mean(numbers), do: Enum.sum(numbers) / length(numbers)

  defp report(%{progress: nil}, _step, _curves), do: :ok

  defp report(%{progress: progress, report_every: every, steps: steps}, step, curves) do
    if rem(step, every) == 0 or step == steps do
      figures =
        for {name, word} <- [rewards: "reward", divergences: "divergence"] do
          last = curves[name] |> Enum.take(every) |> Enum.map(&elem(&1, 1)) |> mean()
          "  #{word} #{:erlang.float_to_binary(last / 1, decimals: 4)}"
        end

      IO.puts(progress, ["step #{step}/#{steps}", figures])
    end
  end

  @doc false
  def samples?(value), do: is_integer(value) and value >= 2

  @doc false
  def callback?(value), do: is_function(value, 2)
end
