defmodule Mix.Tasks.Mlx.Generate do
  @shortdoc "Answers a prompt with a language model"

  @moduledoc """
  Answers a prompt with a language model.

      mix mlx.generate --prompt "What is the capital of France?"
      mix mlx.generate "Tell me a story." --model mlx-community/Qwen3-0.6B-4bit --temp 0.7 --top-p 0.9 --seed 1
      mix mlx.generate "What is 2 + 2?" --template enable_thinking=false --json

  The text is written as it is generated, followed by the speeds and the peak memory.

    * `--prompt`, `-p` - the prompt; it may also stand alone
    * `--model`, `-m` - a folder, a GGUF file, or a name on the Hugging Face Hub (`Mlx.LM.load/2`); by default the one of the
      environment variable `MLX_TEST_MODEL`, or else the one that `bin/setup` brought
    * `--form`, `--type` - those of `Mlx.LM.load/2`
    * `--system` - a system message in front of the prompt
    * `--raw` - continue the prompt as it is, without the model's chat template
    * `--template NAME=VALUE` - a variable of the chat template; a value that is JSON is what it means there
    * `--max-tokens` - the most tokens to generate, default 256
    * `--temp`, `--top-p`, `--top-k`, `--min-p`, `--min-tokens-to-keep`, `--xtc-probability`, `--xtc-threshold`, `--seed`, and
      `--repetition-penalty`, `--presence-penalty`, `--frequency-penalty` with their `--repetition-context` and so on - see
      `Mlx.LM.Sampler`; the default temperature of 0 always takes the most probable token
    * `--logit-bias TOKEN=NUMBER`, `--stop TEXT` - may come several times
    * `--ignore-eos` - go on after the model's end tokens
    * `--prefill-step` - how many tokens of the prompt are read at once
    * `--draft MODEL` - a smaller model that drafts tokens, or `prompt` for drafts from the prompt, and `--draft-tokens`, how
      many at most - see "Drafts" of `Mlx.LM.events/3`
    * `--json` - write an object of JSON with the text, the tokens and the figures, when all is generated
    * `--help`, `-h` - list the options

  Wrong options end it with exit status 1.
  """

  use Mix.Task

  alias Mix.Mlx.{CommandLine, Switches}

  @head "mix mlx.generate [OPTIONS] PROMPT"

  @own [
    prompt: {:string, "TEXT", "the prompt; it may also stand alone"},
    raw: {:boolean, nil, "continue the prompt as it is, without the chat template"},
    draft: {:string, "MODEL", "a smaller model that drafts tokens, or prompt for drafts from the prompt"},
    draft_tokens: {:integer, "N", "how many tokens are drafted at most"}
  ]

  @requirements ["app.start"]

  @impl true
  def run(arguments) do
    rows = @own ++ Switches.group(:model) ++ Switches.group(:generation) ++ Switches.group(:json)

    with {options, rest} <- Switches.parse(arguments, @head, rows),
         do: generate(options, prompt(options[:prompt], rest))
  end

  defp generate(options, prompt) do
    generation = CommandLine.generation_options(options, @head)

    CommandLine.or_exit(fn ->
      lm = CommandLine.load(options)
      generation = CommandLine.draft(options) ++ generation
      input = if options[:raw] || lm.template == nil, do: prompt, else: messages(options, prompt)

      if options[:json],
        do: lm |> Mlx.LM.generate(input, generation) |> CommandLine.values() |> JSON.encode!() |> IO.puts(),
        else: lm |> Mlx.LM.events(input, generation) |> Enum.each(&write/1)
    end)
  end

  defp prompt(nil, [prompt]), do: prompt
  defp prompt(nil, []), do: Switches.refuse("there is no prompt", @head)
  defp prompt(nil, _several), do: Switches.refuse("there are several prompts; put the prompt in quotes", @head)
  defp prompt(prompt, []), do: prompt
  defp prompt(_prompt, [other | _]), do: Switches.refuse("unexpected argument: #{other}", @head)

  defp messages(options, prompt), do: CommandLine.system_messages(options) ++ [%{role: "user", content: prompt}]

  defp write({:text, text}), do: IO.write(text)
  defp write({:done, response}), do: IO.puts("\n\n" <> CommandLine.figures(response))
end
