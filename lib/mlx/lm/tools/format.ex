defmodule Mlx.LM.Tools.Format do
  @moduledoc false
  # The formats of calls and of thinking: their marks, and how a chat template is known to have them.

  alias Mlx.LM.ChatTemplate
  alias Mlx.LM.Tokenizer
  alias Mlx.LM.Tools.{Bodies, Gemma, Schema}

  @typedoc """
  What takes the calls of a format out of a text: `marks` around calls, where the end is nil for the end of the text; `bare`,
  the characters that begin an answer that is nothing but calls; `open?`, whether a text ends inside a string, in which an end
  is none; and `read`, which reads what stands between the marks.
  """
  @type t :: %{
          marks: [{String.t(), String.t() | nil}],
          bare: [String.t()],
          open?: (String.t() -> boolean()),
          read: (String.t(), Schema.t() -> Bodies.result())
        }

  # name, marks, beginnings of bare calls, what reads the body, and, for the choice: texts of which one must be in the
  # template. The first row that fits is taken. A list among the texts wants all of its texts.
  @rows [
    {:harmony, [], [], nil, [["<|channel|>", "<|message|>"]]},
    {:minimax, [{"<minimax:tool_call>", "</minimax:tool_call>"}], [], :minimax, ["<minimax:tool_call>"]},
    {:gemma, [{"<|tool_call>", "<tool_call|>"}], [], :gemma, [["<|tool_call>", "<tool_call|>"]]},
    {:function_gemma, [{"<start_function_call>", "<end_function_call>"}], [], :gemma, ["<start_function_call>"]},
    {:longcat, [{"<longcat_tool_call>", "</longcat_tool_call>"}], [], :glm, ["<longcat_tool_call>"]},
    {:glm, [{"<tool_call>", "</tool_call>"}], [], :glm, ["<arg_key>"]},
    {:pythonic, [{"<|tool_call_start|>", "<|tool_call_end|>"}], [], :pythonic,
     ["<|tool_list_start|>", "<|tool_call_start|>"]},
    {:qwen_coder, [{"<tool_call>", "</tool_call>"}], [], :qwen,
     ["<tool_call>\\n<function=", "<tool_call>\n<function="]},
    {:kimi, [{"<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"}], [], :kimi,
     ["<|tool_calls_section_begin|>"]},
    {:mistral, [{"[TOOL_CALLS]", nil}], [], :mistral, ["[TOOL_CALLS]"]},
    {:muse_spark, [{"<atem:function_calls>", "</atem:function_calls>"}], [], :minimax, ["<atem:function_calls>"]},
    {:hermes, [{"<tool_call>", "</tool_call>"}], [], :json, ["<tool_call>"]},
    {:llama3, [{"<|python_tag|>", nil}], ["{"], :json_sequence,
     ["<|python_tag|>", ~s({"name": function name, "parameters":), "<|eom_id|>"]},
    {:llama4, [{"<|python_start|>", "<|python_end|>"}], ["["], :pythonic, ["<|python_start|>"]}
  ]

  # How thinking is marked. Each pair is taken where the template, or the vocabulary, has its first text.
  @thinking [
    {"<think>", "</think>"},
    {"<longcat_think>", "</longcat_think>"},
    {"<|think:start|>", "<|think:end|>"},
    {"<seed:think>", "</seed:think>"},
    {"<|channel>thought", "<channel|>"},
    {"[THINK]", "[/THINK]"}
  ]

  # Marks of harmony, and those inside of others' calls, which are special tokens, too.
  @inner %{
    harmony: ~w(<|start|> <|channel|> <|message|> <|constrain|> <|end|> <|call|> <|return|>),
    kimi: ~w(<|tool_call_begin|> <|tool_call_argument_begin|> <|tool_call_end|>),
    mistral: ~w([ARGS] [CALL_ID]),
    gemma: [~s(<|"|>), "<|channel>", "<channel|>"],
    function_gemma: ["<escape>"],
    glm: ~w(<arg_key> </arg_key> <arg_value> </arg_value>),
    longcat: ~w(<longcat_arg_key> </longcat_arg_key> <longcat_arg_value> </longcat_arg_value>)
  }

  @names for {name, _marks, _bare, _read, _texts} <- @rows, do: name

  @doc "The names of the formats."
  @spec names() :: [atom()]
  def names, do: @names

  @doc "What takes the calls of the format out of a text."
  @spec of(atom() | nil) :: t()
  def of(nil), do: %{marks: [], bare: [], open?: &never/1, read: &none/2}

  for {name, marks, bare, read, _texts} <- @rows, read != nil do
    def of(unquote(name)),
      do: %{marks: unquote(marks), bare: unquote(bare), open?: open(unquote(read)), read: reader(unquote(read))}
  end

  def of(:harmony), do: of(nil)

  defp reader(:gemma), do: &Gemma.calls/2
  defp reader(name), do: Function.capture(Bodies, name, 2)

  defp open(:gemma), do: &Gemma.open?/1
  defp open(:json), do: &open_string?/1
  defp open(_other), do: &never/1

  defp never(_text), do: false
  defp none(_text, _schema), do: :error

  # An end of a call inside a string of JSON is no end.
  defp open_string?(text) do
    String.starts_with?(String.trim_leading(text), ["{", "["]) and
      rem(length(Regex.scan(~r/\\.|(")/s, text, capture: :all_but_first) |> Enum.reject(&(&1 == []))), 2) == 1
  end

  @doc "The names of the format of calls and the marks of thinking of a template, nil where there are none."
  @spec detect(ChatTemplate.t() | String.t() | nil, Tokenizer.t() | nil) ::
          {atom() | nil, {String.t(), String.t()} | nil}
  def detect(template, tokenizer) do
    text = text(template)
    calls = Enum.find_value(@rows, fn {name, _marks, _bare, _read, texts} -> if any?(texts, text), do: name end)
    thinking = if calls != :harmony, do: Enum.find(@thinking, fn {start, _stop} -> thinks?(start, text, tokenizer) end)
    {calls || of_vocabulary(tokenizer), thinking}
  end

  # LFM2's conversions have the tokens and do not name them in the template.
  defp of_vocabulary(tokenizer), do: if(token?(tokenizer, "<|tool_call_start|>"), do: :pythonic)

  defp any?(texts, text),
    do: Enum.any?(texts, fn part -> part |> List.wrap() |> Enum.all?(&String.contains?(text, &1)) end)

  # Gemma writes the mark as a token and a word.
  defp thinks?("<|channel>thought", text, tokenizer),
    do: String.contains?(text, "<|channel>") or token?(tokenizer, "<|channel>")

  defp thinks?(start, text, tokenizer), do: String.contains?(text, start) or token?(tokenizer, start)

  defp token?(nil, _token), do: false
  defp token?(tokenizer, token), do: Tokenizer.id(tokenizer, token) != nil

  defp text(nil), do: ""
  defp text(text) when is_binary(text), do: text
  defp text(%ChatTemplate{} = template), do: template.source

  @doc "All texts that must be seen, even where they are special tokens."
  @spec special(atom() | nil, {String.t(), String.t()} | nil) :: [String.t()]
  def special(calls, thinking) do
    marks = for {start, stop} <- of(calls).marks, mark <- [start, stop], mark != nil, do: mark
    Enum.uniq(marks ++ Map.get(@inner, calls, []) ++ if(thinking, do: Tuple.to_list(thinking), else: []))
  end
end
