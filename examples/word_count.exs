# A language model that learns to answer in a given number of words, by rewards of its own answers (GRPO). It shows the mean
# reward and the divergence of its steps, the curve of the rewards, and answers before and after.
#
#   mix run examples/word_count.exs MODEL [--words 3] [--steps 60] [--batch 2] [--samples 6] [--tokens 24] [--layers 8]
#     [--rate 0.0001] [--seed 1] [--svg rewards.svg]
#
# MODEL is a folder, such as mix mlx.convert makes of SmolLM2-135M-Instruct. A reward is 0 for the wanted number of words, and
# less by 1 for each word more or less, down to -8. options.exs says how options are given.
Code.require_file("options.exs", __DIR__)

defmodule Examples.WordCount do
  @moduledoc false

  alias Examples.Options
  alias Mlx.LM.FineTuning
  alias Mlx.Optimizers.AdamW
  alias Mlx.Training.Curve

  @options [words: 3, steps: 60, batch: 2, samples: 6, tokens: 24, layers: 8, rate: 0.0001, seed: 1, svg: nil]
  @countries ~w(France Norway Italy Japan Egypt Spain Greece Peru)
  @least -8

  def main(arguments) do
    {options, [model]} = Options.parse!(arguments, @options)
    tuning = FineTuning.load(model, layers: options.layers, seed: options.seed)
    prompts = for country <- @countries, do: [%{role: "user", content: "What is the capital of #{country}?"}]
    reward = fn _prompt, text -> max(@least, -abs(length(String.split(text)) - options.words)) end
    show("before", tuning, hd(prompts), options)

    {tuned, curves} =
      FineTuning.reinforce(tuning, prompts, reward, AdamW.new(options.rate),
        steps: options.steps,
        batch_size: options.batch,
        samples: options.samples,
        max_tokens: options.tokens,
        seed: options.seed,
        report_every: 5
      )

    rewards = Keyword.take(curves, [:rewards])
    IO.puts(Curve.to_text(rewards))
    if options.svg, do: File.write!(options.svg, Curve.to_svg(rewards))
    show("after", tuned, hd(prompts), options)
    # The last line: the mean rewards of the first and the last tenth of the steps.
    values = for {_step, value} <- curves[:rewards], do: value
    [first, last] = for count <- [1, -1], do: values |> Enum.take(count * max(div(options.steps, 10), 1)) |> mean()
    IO.puts("reward: from #{first} to #{last}")
  end

  defp show(when_it_is, tuning, prompt, options) do
    text = Mlx.LM.generate(FineTuning.lm(tuning), prompt, max_tokens: options.tokens).text
    IO.puts("#{when_it_is}: #{text}")
  end

  defp mean(values), do: Float.round(Enum.sum(values) / length(values), 3)
end

Examples.WordCount.main(System.argv())
