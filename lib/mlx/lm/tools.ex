defmodule Mlx.LM.Tools do
  @moduledoc """
  Takes what a model writes apart: the text of its answer, what it thinks before, and the tools that it calls.

  Models write calls in formats of their own, and the chat template of a model shows which one it was trained on. A parser is
  given the text in pieces, as `Mlx.LM.stream/3` gives it, and gives events. How the text was cut makes no difference.

      iex> template = "{% if tools %}<tool_call>...</tool_call>{% endif %}"
      iex> tools = Mlx.LM.Tools.new(template)
      iex> {events, tools} = Mlx.LM.Tools.push(tools, "Let me look. <tool_ca")
      iex> events
      [{:text, "Let me look. "}]
      iex> {events, tools} = Mlx.LM.Tools.push(tools, ~s(ll>{"name": "weather", "arguments": {"city": "Paris"}}</tool_call>))
      iex> events
      [{:tool_call, %{name: "weather", arguments: %{"city" => "Paris"}, id: nil}}]
      iex> Mlx.LM.Tools.flush(tools)
      []

  The events are

    * `{:text, text}` - a piece of the answer
    * `{:thinking, text}` - a piece of what the model thinks, in `<think>`, `[THINK]` or the channel `analysis`
    * `{:tool_call, %{name: name, arguments: map, id: id}}` - a call; `id` is nil where the format has none
    * `{:malformed, text}` - what begins as a call and is none, with its marks; nothing raises

  The formats are `:hermes` (JSON between `<tool_call>`), `:qwen_coder`, `:mistral`, `:llama3`, `:llama4`, `:gemma`,
  `:function_gemma`, `:glm`, `:longcat`, `:kimi`, `:minimax`, `:muse_spark`, `:harmony` (gpt-oss) and `:pythonic` (LFM2).

  The marks of some formats are special tokens, which a generation leaves out of its text. Its option `:special` with
  `special/1` has them stay.

  Python: `mlx_lm.tool_parsers`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Arguments.{ArgumentType, Given, Options}
  alias Mlx.LM.{ChatTemplate, Tokenizer}
  alias Mlx.LM.Tools.{Format, Harmony, Marked, Schema}

  @enforce_keys [:format, :thinking, :machine]
  defstruct @enforce_keys

  @typep machine :: Marked.t() | Harmony.t()

  @type t :: %__MODULE__{format: atom() | nil, thinking: {String.t(), String.t()} | nil, machine: machine}

  @type call :: %{name: String.t(), arguments: %{String.t() => term()}, id: String.t() | nil}

  @type event ::
          {:text, String.t()} | {:thinking, String.t()} | {:tool_call, call()} | {:malformed, String.t()}

  @formats Format.names()

  @doc """
  A parser for the answers of a model, by its chat template or the text of that, by the name of a format, or `nil` for a
  model without a template.

  Options:

    * `:tools` - the tools that the model may call, in OpenAI's form; their schemas give the types of arguments that a format
      writes as bare text. Default `[]`
    * `:calls` - whether calls are looked for, default true. Without, they are text
    * `:thinking` - whether the prompt ends where the model thinks already, default false (see `thinks_after?/2`)
    * `:tokenizer` - the model's, of which the vocabulary says what the template may not: the marks of thinking
  """
  @spec new(ChatTemplate.t() | String.t() | atom(), keyword()) :: t()
  def new(template, options \\ [])

  def new(format, options) when format in @formats do
    [tools, calls, thinking, _tokenizer] = options!(options)
    marks = if format != :harmony, do: {"<think>", "</think>"}
    made(format, marks, tools, calls, thinking)
  end

  def new(template, options) when is_binary(template) or is_struct(template, ChatTemplate) or template == nil do
    [tools, calls, thinking, tokenizer] = options!(options)
    {format, marks} = Format.detect(template, tokenizer)
    made(format, marks, tools, calls, thinking)
  end

  defp made(:harmony, marks, _tools, _calls, thinking),
    do: %__MODULE__{format: :harmony, thinking: marks, machine: Harmony.new(thinking)}

  defp made(format, marks, tools, calls, thinking) do
    machine = Marked.new(format, marks, Schema.new(tools), calls, thinking)
    %__MODULE__{format: format, thinking: marks, machine: machine}
  end

  defp options!(options) do
    defaults = [tools: [], calls: true, thinking: false, tokenizer: nil]
    [tools, calls, thinking, tokenizer] = values = Options.without_stream(options, :"LM.Tools.new", defaults)

    check!(:tools, "a list of maps", tools, ArgumentType.list?(tools) and Enum.all?(tools, &is_map/1))
    check!(:calls, "true or false", calls, is_boolean(calls))
    check!(:thinking, "true or false", thinking, is_boolean(thinking))
    check!(:tokenizer, "a Mlx.LM.Tokenizer or nil", tokenizer, tokenizer == nil or is_struct(tokenizer, Tokenizer))
    values
  end

  defp check!(_name, _expected, _value, true), do: :ok

  defp check!(name, expected, value, false) do
    raise ArgumentError, "Mlx.LM.Tools.new: expected #{inspect(name)} to be #{expected}, got: #{Given.text(value)}"
  end

  @doc "Takes the next piece of text. Gives the events that are now complete, and the parser that goes on."
  @spec push(t(), String.t()) :: {[event()], t()}
  def push(tools, text)

  def push(%__MODULE__{machine: %module{} = machine} = tools, text) when is_binary(text) do
    {events, machine} = module.push(machine, text)
    {events, %{tools | machine: machine}}
  end

  @doc "The events of what is held back, when no text follows."
  @spec flush(t()) :: [event()]
  def flush(tools)
  def flush(%__MODULE__{machine: %module{} = machine}), do: module.flush(machine)

  @doc """
  The events of a whole text, with neighbouring pieces of text joined.

      iex> Mlx.LM.Tools.parse(Mlx.LM.Tools.new(:mistral), ~s([TOOL_CALLS]add[ARGS]{"a": 1}))
      [tool_call: %{name: "add", arguments: %{"a" => 1}, id: nil}]
  """
  @spec parse(t(), String.t()) :: [event()]
  def parse(tools, text)

  def parse(%__MODULE__{} = tools, text) when is_binary(text) do
    {events, tools} = push(tools, text)
    join(events ++ flush(tools))
  end

  defp join([{kind, a}, {kind, b} | rest]) when kind in [:text, :thinking], do: join([{kind, a <> b} | rest])
  defp join([event | rest]), do: [event | join(rest)]
  defp join([]), do: []

  @doc """
  The texts of the marks that a parser looks for. Those that are special tokens must stay in the text of a generation.

      iex> Mlx.LM.Tools.special(Mlx.LM.Tools.new(:hermes))
      ["<tool_call>", "</tool_call>", "<think>", "</think>"]
  """
  @spec special(t()) :: [String.t()]
  def special(tools)
  def special(%__MODULE__{format: format, thinking: thinking}), do: Format.special(format, thinking)

  @doc """
  Whether an answer to a prompt of this text begins with thinking, since the prompt ends with the mark of it.

      iex> Mlx.LM.Tools.thinks_after?(Mlx.LM.Tools.new(:hermes), "<|im_start|>assistant\\n<think>\\n")
      true
  """
  @spec thinks_after?(t(), String.t()) :: boolean()
  def thinks_after?(tools, text)
  def thinks_after?(%__MODULE__{thinking: nil}, text) when is_binary(text), do: false

  def thinks_after?(%__MODULE__{thinking: {start, _stop}}, text) when is_binary(text),
    do: text |> String.trim_trailing() |> String.ends_with?(start)
end
