defmodule Mix.Tasks.Mlx.Chat do
  @shortdoc "Holds a conversation with a language model"

  @moduledoc """
  Holds a conversation with a language model.

      mix mlx.chat
      mix mlx.chat --model mlx-community/Qwen3-0.6B-4bit --temp 0.7 --system "Answer in one sentence."

  Each line that is entered is a message. What the model has read and written stays in its caches, so that each turn only
  costs what is new. What a model thinks before it answers, between `<think>` and `</think>` or in the channel of gpt-oss for
  that, is shown apart, and is no part of the conversation afterwards.

  | line | |
  | --- | --- |
  | `/help` | lists the commands |
  | `/clear`, `/reset` | starts a new conversation |
  | `/undo` | takes the last message and its answer back |
  | `/system TEXT` | sets the system message; without a text it shows it |
  | `/save FILE`, `/load FILE` | writes the conversation into a file of JSON, and goes on with that of one |
  | `/stats` | shows the figures of the last answer |
  | `/exit` | ends it, as the end of the input does |
  | `\"""` | begins a message of several lines, and ends it |
  | `//...` | is a message that begins with `/` |

  The options are those of `mix mlx.generate`, without `--prompt`, `--raw` and `--json`. `--max-tokens` counts for each answer.
  A message that the model cannot take is left out of the conversation, which goes on.
  """

  use Mix.Task

  alias Mix.Mlx.{CommandLine, Conversation, Locale, Switches}
  alias Mlx.LM.{Tokenizer, Tools}

  @head "mix mlx.chat [OPTIONS]"

  # So many tokens at the end of a prompt hold what begins an answer.
  @ending 16

  @requirements ["app.start"]

  @impl true
  def run(arguments) do
    with options when is_list(options) <-
           Switches.options(arguments, @head, Switches.group(:model) ++ Switches.group(:generation)),
         do: chat(options, CommandLine.generation_options(options, @head))
  end

  defp chat(options, generation) do
    CommandLine.or_exit(fn ->
      lm = CommandLine.load(options)
      # Wrong options end it now and not at the first message.
      Mlx.LM.events(lm, [%{role: "user", content: "Hello"}], generation)
      IO.puts("#{lm.name}: /help lists the commands, /exit ends it.")
      converse(lm, generation, Conversation.new(CommandLine.system_messages(options)))
    end)
  end

  defp converse(lm, options, conversation) do
    case "> " |> IO.gets() |> read() do
      :exit ->
        :ok

      :nothing ->
        converse(lm, options, conversation)

      :lines ->
        converse(lm, options, answer(lm, options, conversation, lines([])))

      {:message, text} ->
        converse(lm, options, answer(lm, options, conversation, text))

      {:command, name, argument} ->
        {conversation, said} = Conversation.run(conversation, name, argument)
        IO.puts(said)
        converse(lm, options, conversation)
    end
  end

  defp read(line) when is_binary(line), do: line |> Locale.input() |> Conversation.read()
  defp read(_end_or_error), do: :exit

  defp lines(lines) do
    case IO.gets(". ") do
      line when is_binary(line) ->
        if String.trim(line) == ~s("""), do: joined(lines), else: lines([Locale.input(line) | lines])

      _end_or_error ->
        joined(lines)
    end
  end

  defp joined(lines), do: lines |> Enum.reverse() |> Enum.join() |> String.trim_trailing("\n")

  defp answer(lm, options, conversation, text) do
    messages = conversation.messages ++ [%{role: "user", content: text}]
    template = Keyword.take(options, [:template])
    ending = lm |> Mlx.LM.encode(messages, template) |> Enum.take(-@ending)
    tools = tools(lm, Tokenizer.decode(lm.tokenizer, ending))
    # The marks of thinking may be special tokens.
    own = [context: conversation.context, special: Tools.special(tools)]
    events = Mlx.LM.events(lm, messages, own ++ options)
    {response, answer} = Enum.reduce(events, {tools, :answer, []}, &show/2)
    messages = messages ++ [%{role: "assistant", content: answer}]
    %{conversation | messages: messages, context: response.context, response: response}
  rescue
    error in [Mlx.Error, ArgumentError] ->
      Mix.shell().error(Exception.message(error))
      %{conversation | context: nil}
  end

  # What takes the answer apart that follows a prompt with this ending. There are no tools, so calls are text.
  defp tools(lm, ending) do
    options = [calls: false, tokenizer: lm.tokenizer]
    tools = Tools.new(lm.template, options)
    if Tools.thinks_after?(tools, ending), do: Tools.new(lm.template, [thinking: true] ++ options), else: tools
  end

  # `shown` is the part of the text that was written last.
  defp show({:text, text}, {tools, shown, answer}) do
    {events, tools} = Tools.push(tools, text)
    {shown, answer} = Enum.reduce(events, {shown, answer}, &write/2)
    {tools, shown, answer}
  end

  defp show({:done, response}, {tools, shown, answer}) do
    {shown, answer} = tools |> Tools.flush() |> Enum.reduce({shown, answer}, &write/2)
    if shown == :thinking, do: IO.write(IO.ANSI.format([:reset, ""]))
    IO.puts(["\n", cut_off(response)])
    text = answer |> Enum.reverse() |> Enum.join()
    # What follows the thinking begins with empty lines.
    {response, if(text == response.text, do: text, else: String.trim_leading(text))}
  end

  defp cut_off(%{finish_reason: :length, generated_tokens: tokens}), do: "[cut off after #{tokens} tokens]\n"
  defp cut_off(_response), do: ""

  defp write({:thinking, text}, {shown, answer}) do
    if shown != :thinking, do: IO.write("[thinking]\n")
    IO.write(IO.ANSI.format([:faint, text]))
    {:thinking, answer}
  end

  # What gpt-oss says to a tool is a call, whether there are tools or not.
  defp write({:tool_call, call}, parts), do: write({:text, "#{call.name}(#{JSON.encode!(call.arguments)})"}, parts)

  defp write({kind, text}, {shown, answer}) when kind in [:text, :malformed] do
    if shown == :thinking, do: IO.write("\n[answer]")
    IO.write(text)
    {:answer, [text | answer]}
  end
end
