defmodule Mix.Mlx.Thinking do
  @moduledoc false
  # Takes a stream of text apart: what a model thinks, and what it answers. Marks stand between these, such as <think> and
  # </think>, or those of the channels of gpt-oss. Text that may be the beginning of a mark is held back until the rest is
  # there.

  # The marks in each part, and the part that follows each.
  @styles %{
    think: %{answer: %{"<think>" => :thinking}, thinking: %{"</think>" => :answer}},
    channels: %{
      answer: %{
        "<|start|>assistant" => :answer,
        "<|channel|>analysis<|message|>" => :thinking,
        "<|channel|>commentary<|message|>" => :answer,
        "<|channel|>final<|message|>" => :answer,
        "<|end|>" => :answer
      },
      thinking: %{"<|end|>" => :answer}
    }
  }

  defstruct part: :answer, style: :think, held: ""

  @type part :: :answer | :thinking
  @type style :: :think | :channels
  @type t :: %__MODULE__{part: part(), style: style(), held: String.t()}

  @doc "The beginning. `part` is `:thinking` where the prompt ends with the mark."
  @spec new(part(), style()) :: t()
  def new(part \\ :answer, style \\ :think), do: %__MODULE__{part: part, style: style}

  @doc "The parts in which a prompt with this text goes on."
  @spec after_prompt(String.t(), style()) :: t()
  def after_prompt(text, style \\ :think) do
    text = String.trim_trailing(text)
    new(if(Enum.any?(beginnings(style), &String.ends_with?(text, &1)), do: :thinking, else: :answer), style)
  end

  defp beginnings(style), do: for({mark, :thinking} <- @styles[style].answer, do: mark)

  @doc "The pieces of text with the part that each is of, and the state for the next text."
  @spec push(t(), String.t()) :: {[{part(), String.t()}], t()}
  def push(%__MODULE__{held: held} = state, text), do: pieces(held <> text, state, [])

  defp pieces(text, %__MODULE__{part: part, style: style} = state, pieces) do
    marks = @styles[style][part]

    case :binary.match(text, Map.keys(marks)) do
      {at, size} ->
        <<before::binary-size(at), mark::binary-size(size), rest::binary>> = text
        pieces(rest, %{state | part: marks[mark]}, piece(part, before, pieces))

      :nomatch ->
        held = marks |> Map.keys() |> Enum.map(&longest_beginning(text, &1)) |> Enum.max_by(&byte_size/1)
        shown = binary_part(text, 0, byte_size(text) - byte_size(held))
        {Enum.reverse(piece(part, shown, pieces)), %{state | held: held}}
    end
  end

  defp piece(_part, "", pieces), do: pieces
  defp piece(part, text, pieces), do: [{part, text} | pieces]

  defp longest_beginning(text, mark) do
    Enum.find_value((byte_size(mark) - 1)..1//-1, "", fn size ->
      beginning = binary_part(mark, 0, size)
      if String.ends_with?(text, beginning), do: beginning
    end)
  end

  @doc "What is held back at the end."
  @spec flush(t()) :: [{part(), String.t()}]
  def flush(%__MODULE__{held: held, part: part}), do: piece(part, held, [])
end
