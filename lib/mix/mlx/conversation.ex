defmodule Mix.Mlx.Conversation do
  @moduledoc false
  # What `mix mlx.chat` holds, and what its commands do with it.

  alias Mix.Mlx.CommandLine

  @commands [
    {"/help", "lists the commands"},
    {"/clear", "starts a new conversation; /reset does the same"},
    {"/undo", "takes the last message and its answer back"},
    {"/system TEXT", "sets the system message; without a text it shows it"},
    {"/save FILE", "writes the conversation into a file of JSON"},
    {"/load FILE", "goes on with the conversation of such a file"},
    {"/stats", "shows the figures of the last answer"},
    {"/exit", "ends it, as the end of the input does"},
    {~s("""), "begins a message of several lines, and ends it"},
    {"//...", "is a message that begins with /"}
  ]

  @most_bytes 64 * 1024 * 1024

  defstruct messages: [], start: [], context: nil, response: nil

  @type t :: %__MODULE__{
          messages: [Mlx.LM.message()],
          start: [Mlx.LM.message()],
          context: Mlx.LM.Context.t() | nil,
          response: Mlx.LM.Response.t() | nil
        }

  @doc "A conversation that begins with these messages."
  @spec new([Mlx.LM.message()]) :: t()
  def new(start), do: %__MODULE__{messages: start, start: start}

  @doc "What a line is: a message, the beginning of one of several lines, nothing, a command, or the end."
  @spec read(String.t()) :: {:message, String.t()} | {:command, String.t(), String.t()} | :lines | :nothing | :exit
  def read(line) do
    case String.trim(line) do
      "" -> :nothing
      ~s(""") -> :lines
      "/exit" -> :exit
      "//" <> rest -> {:message, "/" <> rest}
      "/" <> rest -> command(String.split(rest, ~r/\s+/, parts: 2))
      text -> {:message, text}
    end
  end

  defp command([name]), do: {:command, name, ""}
  defp command([name, argument]), do: {:command, name, argument}

  @doc "The conversation after a command, and what to write."
  @spec run(t(), String.t(), String.t()) :: {t(), iodata()}
  def run(conversation, "help", _argument), do: {conversation, help()}

  def run(conversation, name, _argument) when name in ["clear", "reset"],
    do: {new(conversation.start), "A new conversation."}

  def run(conversation, "undo", _argument) do
    case Enum.split(conversation.messages, -2) do
      {messages, [%{role: "user"}, %{role: "assistant"}]} ->
        {%{conversation | messages: messages, response: nil}, "The last message and its answer are taken back."}

      _shorter ->
        {conversation, "There is nothing to take back."}
    end
  end

  def run(conversation, "system", ""),
    do: {conversation, system(conversation.messages) || "There is no system message."}

  def run(conversation, "system", text) do
    message = %{role: "system", content: text}
    messages = [message | Enum.reject(conversation.messages, &(&1.role == "system"))]
    {%{conversation | messages: messages, start: [message]}, "The system message is set."}
  end

  def run(conversation, name, "") when name in ["save", "load"],
    do: {conversation, "expected the name of a file: /#{name} FILE"}

  def run(conversation, "save", path) do
    case File.write(path, JSON.encode!(%{messages: conversation.messages})) do
      :ok -> {conversation, "Saved #{count(conversation.messages)} in #{path}."}
      {:error, reason} -> {conversation, "cannot write #{path}: #{:file.format_error(reason)}"}
    end
  end

  def run(conversation, "load", path) do
    case messages(path) do
      {:ok, messages} ->
        {%{conversation | messages: messages, response: nil}, "Loaded #{count(messages)} from #{path}."}

      {:error, problem} ->
        {conversation, problem}
    end
  end

  def run(%__MODULE__{response: nil} = conversation, "stats", _argument), do: {conversation, "There is no answer yet."}

  def run(conversation, "stats", _argument) do
    read = length(conversation.response.context.ids)

    {conversation,
     [CommandLine.figures(conversation.response), "\nConversation: #{count(conversation.messages)}, #{read} tokens"]}
  end

  def run(conversation, name, _argument), do: {conversation, "there is no command /#{name}; /help lists the commands"}

  defp system(messages), do: Enum.find_value(messages, &(&1.role == "system" && &1.content))

  defp help do
    width = @commands |> Enum.map(fn {command, _text} -> String.length(command) end) |> Enum.max()
    Enum.map_intersperse(@commands, "\n", fn {command, text} -> [String.pad_trailing(command, width), "  ", text] end)
  end

  defp count([_message]), do: "1 message"
  defp count(messages), do: "#{length(messages)} messages"

  defp messages(path) do
    with {:ok, %File.Stat{type: :regular, size: size}} when size <= @most_bytes <- File.stat(path),
         {:ok, text} <- File.read(path),
         {:ok, %{"messages" => [_ | _] = messages}} <- JSON.decode(text),
         true <- Enum.all?(messages, &message?/1) do
      {:ok, for(message <- messages, do: %{role: message["role"], content: message["content"]})}
    else
      {:error, reason} when is_atom(reason) -> {:error, "cannot read #{path}: #{:file.format_error(reason)}"}
      _other -> {:error, ~s(#{path} is no conversation: expected {"messages": [{"role": "user", "content": "Hello"}]})}
    end
  end

  defp message?(%{"role" => role, "content" => content}), do: role in ~w(system user assistant) and is_binary(content)
  defp message?(_other), do: false
end
