defmodule Mix.Tasks.Mlx.Perplexity do
  @shortdoc "Says how well a language model foretells a text"

  @moduledoc """
  Says how well a language model foretells a text: less is better, and 1 would be perfect.

      mix mlx.perplexity --model mlx-community/Qwen3-0.6B-4bit text.txt
      mix mlx.perplexity --model SmolLM2-4bit --window 256 --json < text.txt

  Without the name of a file the text comes from the standard input.

    * `--model`, `-m`, `--form`, `--type` - as for `mix mlx.generate`
    * `--window` - the number of tokens that are read as one text, default 512
    * `--windows` - the most windows to read, default all
    * `--batch-size` - how many windows are read at once, default 1
    * `--json` - write an object of JSON
    * `--help`, `-h` - list the options

  See `Mlx.LM.perplexity/3`. Wrong options, and a model or a text that can't be read, end it with exit status 1.

  Python: `mlx_lm.perplexity`.
  """

  use Mix.Task

  alias Mix.Mlx.{CommandLine, Locale, Switches}

  @head "mix mlx.perplexity [OPTIONS] [FILE]"

  @own [
    window: {:integer, "N", "the number of tokens that are read as one text, default 512"},
    windows: {:integer, "N", "the most windows to read, default all"},
    batch_size: {:integer, "N", "how many windows are read at once, default 1"}
  ]

  @requirements ["app.start"]

  @impl true
  def run(arguments) do
    case Switches.parse(arguments, @head, Switches.group(:model) ++ @own ++ Switches.group(:json)) do
      :help -> :ok
      {options, files} when length(files) <= 1 -> CommandLine.or_exit(fn -> measure(options, text(files)) end)
      {_options, [_file, other | _]} -> Switches.refuse("unexpected argument: #{other}", @head)
    end
  end

  defp text([]) do
    case IO.read(:eof) do
      text when is_binary(text) -> Locale.input(text)
      _end_or_error -> ""
    end
  end

  defp text([file]), do: CommandLine.text(file)

  defp measure(options, text) do
    own = Keyword.take(options, Keyword.keys(@own))
    lm = CommandLine.load(options)
    figures = Mlx.LM.perplexity(lm, text, [progress: CommandLine.progress("Windows")] ++ own)
    if options[:json], do: IO.puts(JSON.encode!(figures)), else: IO.puts(line(figures))
  end

  defp line(figures) do
    "Perplexity: #{number(figures.perplexity)} ± #{number(figures.standard_error)}\n" <>
      "Loss: #{number(figures.loss)} for each of #{figures.tokens} tokens, in windows: #{figures.windows}"
  end

  defp number(number) when is_float(number), do: Float.round(number, 4)
  defp number(nil), do: "unknown"
  defp number(:infinity), do: "infinity"
end
