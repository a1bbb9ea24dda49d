defmodule Mix.Tasks.Mlx.Generate do
  @shortdoc "Answers a prompt with a language model"

  @moduledoc """
  Answers a prompt with a language model.

      mix mlx.generate --prompt "What is the capital of France?"
      mix mlx.generate "Tell me a story." --model path/to/model.gguf --temp 0.7 --top-p 0.9 --seed 1

  The text is written as it is generated, followed by the speeds and the peak memory.

    * `--prompt`, `-p` - the prompt; it may also stand alone
    * `--model`, `-m` - a GGUF file; by default the one of the environment variable `MLX_TEST_MODEL`, or else the one that
      `bin/setup` brought
    * `--system` - a system message in front of the prompt
    * `--raw` - continue the prompt as it is, without the model's chat template
    * `--max-tokens` - the most tokens to generate, default 256
    * `--temp`, `--top-p`, `--top-k`, `--min-p`, `--repetition-penalty`, `--seed` - see `Mlx.LM.Sampler`; the default
      temperature of 0 always takes the most probable token

  Wrong options end it with exit status 1.
  """

  use Mix.Task

  alias Mix.Mlx.CommandLine

  @usage """
  Usage: mix mlx.generate --prompt TEXT [--model FILE] [--system TEXT] [--raw] [--max-tokens N] [--temp T] [--top-p P]
         [--top-k K] [--min-p P] [--repetition-penalty R] [--seed N]\
  """

  @requirements ["app.start"]

  @impl true
  def run(arguments) do
    {options, prompt} = parse(arguments)

    CommandLine.or_exit(fn ->
      lm = CommandLine.load(options)
      {raw, options} = Keyword.pop(options, :raw, false)
      input = if raw or lm.template == nil, do: prompt, else: messages(options, prompt)
      lm |> Mlx.LM.events(input, CommandLine.generation_options(options)) |> Enum.each(&write/1)
    end)
  end

  defp parse(arguments) do
    with {:ok, options, rest} <- CommandLine.parse(arguments, prompt: :string, raw: :boolean),
         {:ok, prompt} <- prompt(options[:prompt], rest) do
      {options, prompt}
    else
      {:error, problem} -> CommandLine.exit_with("#{problem}\n\n#{@usage}")
    end
  end

  defp prompt(nil, [prompt]), do: {:ok, prompt}
  defp prompt(nil, []), do: {:error, "there is no prompt"}
  defp prompt(nil, _several), do: {:error, "there are several prompts; put the prompt in quotes"}
  defp prompt(prompt, []), do: {:ok, prompt}
  defp prompt(_prompt, [other | _]), do: {:error, "unexpected argument: #{other}"}

  defp messages(options, prompt), do: CommandLine.system_messages(options) ++ [%{role: "user", content: prompt}]

  defp write({:text, text}), do: IO.write(text)
  defp write({:done, response}), do: IO.puts("\n\n" <> CommandLine.figures(response))
end
