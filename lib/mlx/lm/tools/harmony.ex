defmodule Mlx.LM.Tools.Harmony do
  @moduledoc false
  # Takes apart the messages of gpt-oss: a head with the channel and perhaps the name of a tool, `<|message|>`, and what is said.
  # What is said in the channel `analysis` is thinking, what is said to a tool is a call, and all else is text.

  alias Mlx.LM.Tools.{Bodies, Schema}
  alias Mlx.LM.Tools.Marked

  @ends ~w(<|end|> <|call|> <|return|> <|start|> <|channel|>)
  @head_marks ["<|message|>"]
  @longest 16

  # `part` is `:head`, `:text`, `:thinking` or `{:call, name}`. `text` is that of the head, or of the call so far.
  defstruct part: :head, held: "", text: "", said: false

  @type t :: %__MODULE__{}

  @spec new(boolean()) :: t()
  def new(inside), do: %__MODULE__{part: if(inside, do: :thinking, else: :head)}

  @spec push(t(), String.t()) :: {[Marked.event()], t()}
  def push(state, text), do: run(%{state | held: state.held <> text}, [])

  defp run(%{part: :head} = state, events) do
    case seek(state.held, @head_marks) do
      {before, _mark, rest} ->
        run(%{state | part: part(state.text <> before), held: rest, text: "", said: true}, events)

      {free, held} ->
        {Enum.reverse(events), %{state | text: state.text <> free, held: held}}
    end
  end

  defp run(state, events) do
    case seek(state.held, @ends) do
      {before, mark, rest} ->
        {said, state} = say(state, before)
        next = if mark == "<|channel|>", do: mark, else: ""
        run(%{state | part: :head, held: rest, text: next}, Enum.reverse(said ++ ended(state), events))

      {free, held} ->
        {said, state} = say(state, free)
        {Enum.reverse(Enum.reverse(said, events)), %{state | held: held}}
    end
  end

  defp part(head) do
    case {Regex.run(~r/to=([^\s<]+)/, head), Regex.run(~r/<\|channel\|>\s*(\w+)/, head)} do
      {[_all, name], _channel} -> {:call, String.replace_prefix(name, "functions.", "")}
      {nil, [_all, "analysis"]} -> :thinking
      _other -> :text
    end
  end

  defp say(%{part: {:call, _name}} = state, text), do: {[], %{state | text: state.text <> text}}
  defp say(state, ""), do: {[], state}
  defp say(%{part: kind} = state, text), do: {[{kind, text}], state}

  defp ended(%{part: {:call, name}, text: text}) do
    case Bodies.json(JSON.encode!(%{"name" => name, "arguments" => text}), Schema.new([])) do
      {:ok, [call]} -> [{:tool_call, call}]
      :error -> [{:malformed, "to=#{name}<|message|>#{text}"}]
    end
  end

  defp ended(_state), do: []

  @spec flush(t()) :: [Marked.event()]
  # Text without a message is what a model says that knows nothing of messages.
  def flush(%{part: :head, said: false} = state), do: plain(state.text <> state.held)

  def flush(%{part: :head} = state) do
    text = state.text <> state.held
    if text =~ ~r/\A\s*(?:<\|channel\|>)?\w*\s*\z/, do: [], else: [{:malformed, text}]
  end

  def flush(state) do
    {said, state} = say(state, state.held)
    said ++ ended(state)
  end

  defp plain(""), do: []
  defp plain(text), do: [if(String.contains?(text, "<|channel|>"), do: {:malformed, text}, else: {:text, text})]

  defp seek(text, marks) do
    case :binary.match(text, marks) do
      {at, size} ->
        <<before::binary-size(at), mark::binary-size(size), rest::binary>> = text
        {before, mark, rest}

      :nomatch ->
        size =
          Enum.find(
            min(@longest, byte_size(text))..1//-1,
            0,
            &beginning?(binary_part(text, byte_size(text), -&1), marks)
          )

        {binary_part(text, 0, byte_size(text) - size), binary_part(text, byte_size(text), -size)}
    end
  end

  defp beginning?(ending, marks), do: Enum.any?(marks, &String.starts_with?(&1, ending))
end
