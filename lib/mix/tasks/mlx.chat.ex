defmodule Mix.Tasks.Mlx.Chat do
  @shortdoc "Holds a conversation with a language model"

  @moduledoc """
  Holds a conversation with a language model.

      mix mlx.chat
      mix mlx.chat --model path/to/model.gguf --temp 0.7 --system "Answer in one sentence."

  Each line that is entered is a message. `/reset` starts a new conversation; `/exit` or the end of the input ends it.
  What the model has read and written stays in its caches, so that each turn only costs what is new.

  The options are those of `mix mlx.generate`, without `--prompt` and `--raw`. `--max-tokens` counts for each answer.
  """

  use Mix.Task

  alias Mix.Mlx.CommandLine

  @usage """
  Usage: mix mlx.chat [--model FILE] [--system TEXT] [--max-tokens N] [--temp T] [--top-p P] [--top-k K] [--min-p P]
         [--repetition-penalty R] [--seed N]\
  """

  @requirements ["app.start"]

  @impl true
  def run(arguments) do
    options = parse(arguments)

    CommandLine.or_exit(fn ->
      lm = CommandLine.load(options)
      start = {CommandLine.system_messages(options), nil}
      IO.puts("#{lm.name}: /reset starts a new conversation, /exit ends it.")
      converse(lm, CommandLine.generation_options(options), start, start)
    end)
  end

  defp parse(arguments) do
    case CommandLine.parse(arguments) do
      {:ok, options, []} -> options
      {:ok, _options, [other | _]} -> CommandLine.exit_with("unexpected argument: #{other}\n\n#{@usage}")
      {:error, problem} -> CommandLine.exit_with("#{problem}\n\n#{@usage}")
    end
  end

  # `state` is the conversation so far: its messages, and the context of the last answer.
  defp converse(lm, options, state, start) do
    case read() do
      :exit -> :ok
      "/reset" -> converse(lm, options, start, start)
      "" -> converse(lm, options, state, start)
      text -> converse(lm, options, answer(lm, options, state, text), start)
    end
  end

  defp read do
    case IO.gets("> ") do
      line when is_binary(line) -> with "/exit" <- String.trim(line), do: :exit
      _end_or_error -> :exit
    end
  end

  defp answer(lm, options, {messages, context}, text) do
    messages = messages ++ [%{role: "user", content: text}]
    response = lm |> Mlx.LM.events(messages, [{:context, context} | options]) |> Enum.reduce(nil, &write/2)
    {messages ++ [%{role: "assistant", content: response.text}], response.context}
  end

  defp write({:text, text}, _response) do
    IO.write(text)
    nil
  end

  defp write({:done, response}, _response) do
    IO.puts("\n")
    response
  end
end
