defmodule Mlx.LM.ToolsTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.Tokenizer.StreamDecoder
  alias Mlx.LM.Tools
  alias Mlx.ToolTexts

  doctest Tools

  # What the chat templates of models have in them.
  @templates [
    hermes: "{{ '<tool_call>' }}{{ tool_call.name }}</tool_call>",
    qwen_coder: "<tool_call>\\n<function=",
    mistral: "[TOOL_CALLS]",
    llama3: ~s({"name": function name, "parameters": dictionary}),
    llama4: "<|python_start|>",
    gemma: "<|tool_call>call:<tool_call|>",
    function_gemma: "<start_function_call>",
    glm: "<tool_call>{{ name }}<arg_key>",
    longcat: "<longcat_tool_call>",
    kimi: "<|tool_calls_section_begin|>",
    minimax: "<minimax:tool_call>",
    muse_spark: "<atem:function_calls>",
    harmony: "<|start|>assistant<|channel|>final<|message|>",
    pythonic: "<|tool_call_start|>"
  ]

  for {format, template} <- @templates do
    test "#{format} is known by its template" do
      assert Tools.new(unquote(template)).format == unquote(format)
    end
  end

  test "a template without calls has none, and thinking is known by its mark" do
    assert %{format: nil, thinking: nil} = Tools.new("{{ messages }}")
    assert %{format: nil, thinking: {"<think>", "</think>"}} = Tools.new("a <think> b")
    assert Tools.parse(Tools.new(nil), "<tool_call>{}</tool_call>") == [text: "<tool_call>{}</tool_call>"]
  end

  defp parser(format, options \\ []), do: Tools.new(format, [tools: ToolTexts.tools()] ++ options)

  defp calls(events), do: for({:tool_call, call} <- events, do: %{"name" => call.name, "arguments" => call.arguments})

  # Pieces of what is said, whichever way it was cut.
  defp in_pieces(parser, pieces) do
    {events, parser} =
      Enum.flat_map_reduce(pieces, parser, fn piece, parser -> Tools.push(parser, piece) end)

    joined(events ++ Tools.flush(parser))
  end

  defp joined([{kind, a}, {kind, b} | rest]) when kind in [:text, :thinking], do: joined([{kind, a <> b} | rest])
  defp joined([event | rest]), do: [event | joined(rest)]
  defp joined([]), do: []

  defp cut(text, at), do: Tuple.to_list(String.split_at(text, at))

  @tag :oracle
  @tag :tmp_dir
  test "calls are those of mlx-lm", %{tmp_dir: folder} do
    cases = ToolTexts.all()
    input = Path.join(folder, "cases.jsonl")

    File.write!(
      input,
      for(
        %{parser: parser, body: body} <- cases,
        do: [JSON.encode!(%{parser: parser, body: body, tools: ToolTexts.tools()}), "\n"]
      )
    )

    {output, 0} = System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), ["test/oracle/tool_parsers.py", input])
    expected = output |> String.split("\n", trim: true) |> Enum.map(&JSON.decode!/1)

    for {case, expected} <- Enum.zip(cases, expected) do
      assert is_list(expected), "mlx-lm does not read #{inspect(case)}"
      assert {case, calls(Tools.parse(parser(case.format), case.text))} == {case, expected}
    end

    assert length(expected) == length(cases)
  end

  others = [
    {:llama3, ~s({"name": "a", "parameters": {"x": 1}}; {"name": "b", "parameters": {}})},
    {:llama3, ~s(<|python_tag|>{"name": "a", "parameters": {"x": "}"}})},
    {:llama3, ~s/<|python_tag|>brave_search.call(query="x y")/},
    {:llama3, ~s({"answer": 42})},
    {:llama4, ~s/[a(x=1), b(y="]")]/},
    {:harmony,
     "<|channel|>analysis<|message|>think<|end|><|start|>assistant<|channel|>commentary to=functions.a " <>
       ~s(<|constrain|>json<|message|>{"x": 1}<|call|><|start|>assistant<|channel|>final<|message|>done<|return|>)},
    {:hermes,
     ~s(<think>\nso</think>\n\nFirst <b> <tool_call>{"name": "a", "arguments": {"x": "</tool_call>"}}</tool_call>\n) <>
       ~s(<tool_call>{"name": "b", "arguments": {}}</tool_call> and <tool_call>oops</tool_call> end <tool)},
    {:gemma, ~s(<|channel>thought\nhm<channel|>Hi <|tool_call>call:a{x:<|"|><tool_call|><|"|>}<tool_call|>)},
    {:mistral, ~s([THINK]hm[/THINK]Hi [TOOL_CALLS]a[CALL_ID]abc123def[ARGS]{"x": 1})}
  ]

  @others others

  test "a text gives the same cut anywhere, and one character at a time" do
    for {format, text} <-
          @others ++ for(%{format: format, text: text} <- ToolTexts.all(), do: {format, "Hi <é> " <> text <> " bye"}) do
      parser = parser(format)
      whole = Tools.parse(parser, text)
      for at <- 0..String.length(text), do: assert({at, in_pieces(parser, cut(text, at))} == {at, whole})
      assert in_pieces(parser, String.graphemes(text)) == whole
    end
  end

  test "formats that mlx-lm has no parser of" do
    read = fn format, text -> Tools.parse(parser(format), text) end
    call = fn name, arguments, id -> {:tool_call, %{name: name, arguments: arguments, id: id}} end

    assert read.(:llama3, ~s({"name": "a", "parameters": {"x": 1}}; {"name": "b", "parameters": {}})) ==
             [call.("a", %{"x" => 1}, nil), call.("b", %{}, nil)]

    assert read.(:llama3, ~s/<|python_tag|>brave_search.call(query="x y")/) == [
             call.("brave_search", %{"query" => "x y"}, nil)
           ]

    assert read.(:llama3, ~s({"answer": 42})) == [text: ~s({"answer": 42})]
    assert read.(:llama3, "Hello {x}") == [text: "Hello {x}"]
    assert read.(:llama4, ~s/[a(x=1), b(y="]")]/) == [call.("a", %{"x" => 1}, nil), call.("b", %{"y" => "]"}, nil)]

    {:harmony, harmony} = List.keyfind(@others, :harmony, 0)
    assert read.(:harmony, harmony) == [{:thinking, "think"}, call.("a", %{"x" => 1}, nil), {:text, "done"}]
    assert read.(:harmony, "plain") == [text: "plain"]

    # The end token of a call is no part of the text of a generation.
    assert read.(:harmony, ~s(<|channel|>commentary to=functions.a <|constrain|>json<|message|>{"x": 1})) ==
             [call.("a", %{"x" => 1}, nil)]

    assert read.(:mistral, ~s(a[CALL_ID]x)) == [text: "a[CALL_ID]x"]
    assert read.(:mistral, ~s([TOOL_CALLS]a[CALL_ID]abc[ARGS]{"x": 1})) == [call.("a", %{"x" => 1}, "abc")]

    assert [{:tool_call, %{id: "functions.get_weather:0"}}] =
             read.(:kimi, hd(for %{format: :kimi, text: text} <- ToolTexts.all(), do: text))
  end

  test "thinking is split off, also where the prompt began it" do
    assert Tools.parse(parser(:hermes), "<think>\nso</think>\n\nHello") == [thinking: "so", text: "Hello"]
    assert Tools.parse(parser(:hermes, thinking: true), "so</think>\n\nHello") == [thinking: "so", text: "Hello"]
    assert Tools.parse(parser(:hermes, thinking: true), "so") == [thinking: "so"]
    assert Tools.parse(parser(:hermes), "a < b") == [text: "a < b"]
    assert Tools.parse(Tools.new("[TOOL_CALLS] [THINK]"), "[THINK]so[/THINK]Hello") == [thinking: "so", text: "Hello"]
    gemma = Tools.new("<|tool_call><tool_call|><|channel>")
    assert Tools.parse(gemma, "<|channel>thought\nso<channel|>Hello") == [thinking: "so", text: "Hello"]
  end

  test "without calls the marks of calls are text" do
    text = ~s(<tool_call>{"name": "a", "arguments": {}}</tool_call>)
    assert Tools.parse(parser(:hermes, calls: false), text) == [text: text]
    assert Tools.parse(parser(:llama3, calls: false), ~s({"name": "a"})) == [text: ~s({"name": "a"})]
  end

  test "what does not parse is an event with the whole of it" do
    for %{format: format, text: text, body: body} <- ToolTexts.all(), format not in [:glm] do
      broken = String.replace(text, body, "?! {" <> String.slice(body, 0, 3))
      assert [{:malformed, ^broken}] = Tools.parse(parser(format), broken)
    end

    assert Tools.parse(parser(:hermes), "<tool_call>{\"name\": \"a\"") == [malformed: "<tool_call>{\"name\": \"a\""]

    assert Tools.parse(parser(:hermes), ~s(<tool_call>{"name": 1}</tool_call>)) == [
             malformed: ~s(<tool_call>{"name": 1}</tool_call>)
           ]

    assert [malformed: _text] = Tools.parse(parser(:harmony), "<|channel|>commentary to=functions.a<|message|>{")
  end

  test "random changes of texts end in events" do
    :rand.seed(:exsss, {1, 2, 3})
    pieces = Enum.flat_map(@templates, fn {_format, text} -> String.split(text, ~r/(?<=>)|(?=<)/, trim: true) end)

    for %{format: format, text: text} <- ToolTexts.all(), _round <- 1..20 do
      graphemes = String.graphemes(text)
      {front, back} = Enum.split(graphemes, :rand.uniform(length(graphemes)))
      changed = Enum.join(front ++ [Enum.random(pieces)] ++ Enum.drop(back, :rand.uniform(4)))
      assert in_pieces(parser(format), String.graphemes(changed)) == Tools.parse(parser(format), changed)
    end
  end

  @tag :tokenizers
  test "marks that are special tokens stay in the text of a generation" do
    folder = System.fetch_env!("MLX_TEST_TOKENIZERS")
    tokenizer = Mlx.LM.Tokenizer.from_folder(Path.join(folder, "gptoss"))
    {:harmony, text} = List.keyfind(@others, :harmony, 0)
    ids = Mlx.LM.Tokenizer.encode(tokenizer, text, bos: false, eos: false)

    decoded = fn special ->
      decoder = StreamDecoder.new(tokenizer, special: special)
      {texts, decoder} = Enum.map_reduce(ids, decoder, &StreamDecoder.push(&2, &1))
      Enum.join(texts) <> StreamDecoder.flush(decoder)
    end

    assert decoded.(Tools.special(parser(:harmony))) == text
    refute decoded.(false) =~ "<|"
  end

  @tag :tokenizers
  test "the template of Qwen3 shows its format" do
    folder = Path.join(System.fetch_env!("MLX_TEST_TOKENIZERS"), "qwen3")
    template = Mlx.LM.ChatTemplate.from_folder(folder)
    tokenizer = Mlx.LM.Tokenizer.from_folder(folder)
    tools = Tools.new(template, tokenizer: tokenizer)
    assert %{format: :hermes, thinking: {"<think>", "</think>"}} = tools
    messages = [%{role: "user", content: "Hi"}]
    prompt = Mlx.LM.ChatTemplate.render(template, messages, add_generation_prompt: true)
    refute Tools.thinks_after?(tools, prompt)
    # A conversation with a call, as the template writes it, is read as the call that was made.
    call = %{"type" => "function", "function" => %{"name" => "look", "arguments" => %{"at" => "x"}}}
    made = %{role: "assistant", content: "", tool_calls: [call]}
    written = Mlx.LM.ChatTemplate.render(template, messages ++ [made])
    [_user, answer] = String.split(written, "<|im_start|>assistant\n")
    calls = for {:tool_call, call} <- Tools.parse(tools, String.trim_trailing(answer, "<|im_end|>\n")), do: call
    assert [%{name: "look", arguments: %{"at" => "x"}}] = calls
  end

  test "wrong options" do
    assert_raise ArgumentError, ~r/Mlx.LM.Tools.new: expected :tools to be a list of maps, got: 1/, fn ->
      Tools.new(nil, tools: 1)
    end

    assert_raise ArgumentError, ~r/Mlx.LM.Tools.new: unknown option :tool/, fn -> Tools.new(nil, tool: 1) end
  end
end
