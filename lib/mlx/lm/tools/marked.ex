defmodule Mlx.LM.Tools.Marked do
  @moduledoc false
  # Takes text apart by marks: what is said, what is thought, and calls. Text that may be the beginning of a mark is held back
  # until the rest is there, so that the result does not depend on how the text was cut.
  #
  # `part` is where the text stands: `:start` (nothing but blanks so far, where an answer may be bare calls), `:text`,
  # `:thinking`, `:bare`, or `{:call, start, stop}`. `body` is what a call has so far.

  alias Mlx.LM.Tools.{Format, Schema}

  @enforce_keys [:format, :thinking, :schema, :calls]
  defstruct @enforce_keys ++ [part: :start, held: "", body: "", trim: false]

  @type t :: %__MODULE__{}
  @type event ::
          {:text, String.t()} | {:thinking, String.t()} | {:tool_call, map()} | {:malformed, String.t()}

  @doc "Text of which nothing has come. `inside` says whether the prompt ended with the mark of thinking."
  @spec new(atom() | nil, {String.t(), String.t()} | nil, Schema.t(), boolean(), boolean()) :: t()
  def new(format, thinking, schema, calls, inside) do
    state = %__MODULE__{format: Format.of(format), thinking: thinking, schema: schema, calls: calls}
    if inside and thinking != nil, do: %{state | part: :thinking, trim: true}, else: state
  end

  @spec push(t(), String.t()) :: {[event()], t()}
  def push(state, text), do: run(%{state | held: state.held <> text}, [])

  defp run(%{part: :start, held: held} = state, events) do
    trimmed = String.trim_leading(held)

    cond do
      trimmed == "" ->
        {Enum.reverse(events), state}

      state.calls and String.starts_with?(trimmed, state.format.bare) ->
        bare(%{state | part: :bare, held: trimmed}, events)

      state.trim ->
        run(%{state | part: :text, held: trimmed, trim: false}, events)

      true ->
        run(%{state | part: :text}, events)
    end
  end

  defp run(%{part: :bare} = state, events), do: bare(state, events)

  defp run(%{part: :text} = state, events) do
    marks = for {start, stop} <- calls(state), do: {start, {:call, start, stop}}
    marks = if state.thinking, do: [{elem(state.thinking, 0), :thinking} | marks], else: marks
    seek(state, marks, :text, events)
  end

  defp run(%{part: :thinking, thinking: {_start, stop}} = state, events),
    do: seek(state, [{stop, :start}], :thinking, events)

  defp run(%{part: {:call, _start, nil}} = state, events), do: {Enum.reverse(events), collect(state, state.held)}

  defp run(%{part: {:call, start, stop}} = state, events) do
    case String.split(state.held, stop, parts: 2) do
      [before, rest] ->
        state = collect(state, before)

        if state.format.open?.(state.body) do
          run(%{collect(state, stop) | held: rest}, events)
        else
          called = read(state, start, stop)
          run(%{state | part: :start, body: "", held: rest, trim: true}, Enum.reverse(called, events))
        end

      [_none] ->
        held = beginning(state.held, [stop])
        {Enum.reverse(events), %{collect(state, free(state.held, held)) | held: held}}
    end
  end

  defp bare(state, events), do: {Enum.reverse(events), collect(state, state.held)}

  defp collect(state, text), do: %{state | body: state.body <> text, held: ""}

  defp calls(%{calls: true} = state), do: state.format.marks
  defp calls(_state), do: []

  # The text up to the first of the marks, and what follows it.
  defp seek(state, marks, kind, events) do
    texts = for {mark, _part} <- marks, do: mark
    state = trimmed(state)

    case texts != [] && :binary.match(state.held, texts) do
      {at, size} ->
        <<before::binary-size(at), mark::binary-size(size), rest::binary>> = state.held
        {^mark, part} = List.keyfind(marks, mark, 0)
        run(%{state | part: part, held: rest, trim: part in [:thinking, :start]}, event(kind, before, events))

      _none ->
        held = beginning(state.held, texts)
        {Enum.reverse(event(kind, free(state.held, held), events)), %{state | held: held}}
    end
  end

  # Blanks behind a mark of thinking belong to the format.
  defp trimmed(%{trim: false} = state), do: state

  defp trimmed(state) do
    held = String.trim_leading(state.held)
    %{state | held: held, trim: held == ""}
  end

  defp event(_kind, "", events), do: events
  defp event(kind, text, events), do: [{kind, text} | events]

  defp read(state, start, stop) do
    case state.format.read.(state.body, state.schema) do
      {:ok, calls} -> for call <- calls, do: {:tool_call, call}
      :error -> [{:malformed, start <> state.body <> (stop || "")}]
    end
  end

  @spec flush(t()) :: [event()]
  def flush(%{part: :start, trim: true}), do: []
  def flush(%{part: :start, held: held}), do: Enum.reverse(event(:text, held, []))
  def flush(%{part: kind, held: held}) when kind in [:text, :thinking], do: Enum.reverse(event(kind, held, []))

  # An answer that begins as a call does may be JSON that was asked for.
  def flush(%{part: :bare} = state) do
    case state.format.read.(state.body, state.schema) do
      {:ok, calls} -> for call <- calls, do: {:tool_call, call}
      :error -> [{:text, state.body}]
    end
  end

  # The end of a text is the end of a call, too: of some formats the end token.
  def flush(%{part: {:call, start, _stop}} = state), do: state |> collect(state.held) |> read(start, nil)

  # The longest end of the text with which one of the marks begins.
  defp beginning(_text, []), do: ""

  defp beginning(text, marks) do
    longest = marks |> Enum.map(&(byte_size(&1) - 1)) |> Enum.max() |> min(byte_size(text))

    Enum.find_value(longest..1//-1, "", fn size ->
      ending = binary_part(text, byte_size(text), -size)
      if Enum.any?(marks, &String.starts_with?(&1, ending)), do: ending
    end)
  end

  defp free(text, held), do: binary_part(text, 0, byte_size(text) - byte_size(held))
end
