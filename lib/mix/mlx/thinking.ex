defmodule Mix.Mlx.Thinking do
  @moduledoc false
  # Takes a stream of text apart: what a model thinks, between <think> and </think>, and what it answers. Text that may be
  # the beginning of a mark is held back until the rest is there.

  @marks %{answer: "<think>", thinking: "</think>"}

  defstruct part: :answer, held: ""

  @type part :: :answer | :thinking
  @type t :: %__MODULE__{part: part(), held: String.t()}

  @doc "The beginning. `part` is `:thinking` where the prompt ends with the mark."
  @spec new(part()) :: t()
  def new(part \\ :answer), do: %__MODULE__{part: part}

  @doc "The parts in which a prompt with this text goes on."
  @spec after_prompt(String.t()) :: t()
  def after_prompt(text),
    do: new(if(String.ends_with?(String.trim_trailing(text), @marks.answer), do: :thinking, else: :answer))

  @doc "The pieces of text with the part that each is of, and the state for the next text."
  @spec push(t(), String.t()) :: {[{part(), String.t()}], t()}
  def push(%__MODULE__{part: part, held: held}, text), do: pieces(held <> text, part, [])

  defp pieces(text, part, pieces) do
    case String.split(text, @marks[part], parts: 2) do
      [before, rest] ->
        pieces(rest, other(part), piece(part, before, pieces))

      [text] ->
        held = longest_beginning(text, @marks[part])
        shown = binary_part(text, 0, byte_size(text) - byte_size(held))
        {Enum.reverse(piece(part, shown, pieces)), %__MODULE__{part: part, held: held}}
    end
  end

  defp other(:answer), do: :thinking
  defp other(:thinking), do: :answer

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
