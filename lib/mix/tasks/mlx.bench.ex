defmodule Mix.Tasks.Mlx.Bench do
  @shortdoc "Measures how fast a language model reads and writes"

  @moduledoc """
  Measures how fast a language model reads a prompt and writes an answer, in tokens per second.

      mix mlx.bench --model mlx-community/Qwen3-0.6B-4bit
      mix mlx.bench -m SmolLM2-4bit --prompt-tokens 1024 --generation-tokens 256 --rounds 3 --json

  The prompt is of random tokens, and the answer goes on after end tokens. One round that does not count goes before.

    * `--model`, `-m`, `--form`, `--type` - as for `mix mlx.generate`
    * `--prompt-tokens` - the length of the prompt, default 512
    * `--generation-tokens` - the length of the answer, at least 2, default 128
    * `--rounds` - how often to measure, default 5
    * `--prefill-step` - how many tokens of the prompt are read at once, default 2048
    * `--seed` - the prompt is the same for the same seed, default 0
    * `--json` - write an object of JSON with all rounds, and their mean
    * `--help`, `-h` - list the options

  Wrong options, and a model that can't be loaded, end it with exit status 1.

  Python: `mlx_lm.benchmark`.
  """

  use Mix.Task

  alias Mix.Mlx.{CommandLine, Switches}
  alias Mlx.LM.Tokenizer

  @head "mix mlx.bench [OPTIONS]"

  @own [
    prompt_tokens: {:integer, "N", "the length of the prompt, default 512"},
    generation_tokens: {:integer, "N", "the length of the answer, at least 2, default 128"},
    rounds: {:integer, "N", "how often to measure, default 5"},
    prefill_step: {:integer, "N", "how many tokens of the prompt are read at once, default 2048"},
    seed: {:integer, "N", "the prompt is the same for the same seed, default 0"}
  ]

  # The defaults and the least values.
  @numbers [prompt_tokens: {512, 1}, generation_tokens: {128, 2}, rounds: {5, 1}, prefill_step: {2048, 1}, seed: {0, 0}]

  @requirements ["app.start"]

  @impl true
  def run(arguments) do
    with options when is_list(options) <-
           Switches.options(arguments, @head, Switches.group(:model) ++ @own ++ Switches.group(:json)),
         do: measure(options, Map.new(@numbers, &number(&1, options)))
  end

  defp number({name, {default, least}}, options) do
    case Keyword.get(options, name, default) do
      number when number >= least -> {name, number}
      number -> Switches.refuse("expected #{Switches.flag(name)} to be at least #{least}, got: #{number}", @head)
    end
  end

  defp measure(options, numbers) do
    CommandLine.or_exit(fn ->
      lm = CommandLine.load(options)
      %{config: %{context_length: most}} = lm.model

      if numbers.prompt_tokens + numbers.generation_tokens > most do
        raise ArgumentError,
              "the model's context length is #{most}, less than #{numbers.prompt_tokens} + #{numbers.generation_tokens} tokens"
      end

      prompt = prompt(lm, numbers)
      _warm = round(lm, prompt, numbers)

      rounds =
        for number <- 1..numbers.rounds do
          figures = round(lm, prompt, numbers)
          if !options[:json], do: IO.puts("Round #{number}: " <> line(figures))
          figures
        end

      write(lm, numbers, rounds, options[:json])
    end)
  end

  # The numbers of a vocabulary may have gaps.
  defp prompt(lm, numbers) do
    ids = for id <- 0..(Tokenizer.size(lm.tokenizer) - 1), Tokenizer.token(lm.tokenizer, id), do: id
    known = List.to_tuple(ids)

    {prompt, _state} =
      Enum.map_reduce(1..numbers.prompt_tokens, :rand.seed_s(:exsss, numbers.seed), fn _position, state ->
        {index, state} = :rand.uniform_s(tuple_size(known), state)
        {elem(known, index - 1), state}
      end)

    prompt
  end

  defp round(lm, prompt, numbers) do
    :erlang.garbage_collect()
    Mlx.Memory.reset_peak()
    options = [max_tokens: numbers.generation_tokens, ignore_eos: true, prefill_step: numbers.prefill_step]
    response = Mlx.LM.generate(lm, prompt, options)
    Map.take(response, [:prompt_tokens_per_second, :generation_tokens_per_second, :peak_memory])
  end

  defp write(lm, numbers, rounds, json?) do
    mean = for {key, _value} <- hd(rounds), into: %{}, do: {key, Enum.sum_by(rounds, & &1[key]) / length(rounds)}
    values = Map.merge(numbers, %{model: lm.name, rounds: rounds, mean: mean})
    if json?, do: IO.puts(JSON.encode!(values)), else: IO.puts("Mean: " <> line(mean))
  end

  defp line(figures) do
    "prompt #{Float.round(figures.prompt_tokens_per_second, 1)}, generation " <>
      "#{Float.round(figures.generation_tokens_per_second, 1)} tokens per second, " <>
      "peak memory #{Float.round(figures.peak_memory / 1.0e6, 1)} MB"
  end
end
