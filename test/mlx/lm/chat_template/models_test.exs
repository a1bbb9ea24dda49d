defmodule Mlx.LM.ChatTemplate.ModelsTest do
  # The chat templates of models' folders.
  use ExUnit.Case, async: true

  alias Mlx.LM.{ChatTemplate, Tokenizer}

  @script Path.expand("../../../oracle/chat_template.py", __DIR__)

  @weather [
    type: "function",
    function: [
      name: "get_weather",
      description: "The weather of a <place> & \"time\".",
      parameters: [
        type: "object",
        properties: [city: [type: "string", description: "é"], days: [type: "integer"]],
        required: ["city"]
      ]
    ]
  ]
  @call [type: "function", function: [name: "get_weather", arguments: [city: "Zürich", days: 2]]]

  @user [role: "user", content: " What's the weather in <Zürich>?\n"]
  @system [role: "system", content: "Be terse. "]
  @answer [role: "assistant", content: "Sunny."]
  @thought [role: "assistant", content: "<think>\nHm.\n</think>\n\nSunny, I think."]
  @reasoned [role: "assistant", content: "Rain.", reasoning_content: "\nLook outside.\n"]
  @calling [role: "assistant", content: "", tool_calls: [@call]]
  @result [role: "tool", content: "{\"sky\": \"blue\"}"]
  @parts [role: "user", content: [[type: "text", text: " one "], [type: "image"], [type: "text", text: "two"]]]

  @conversations [
    [@user],
    [@system, @user],
    [@user, @answer, @user],
    [@system, @user, @answer, @user, @thought, @user],
    [@user, @reasoned],
    [@user, @calling, @result, @answer, @user],
    [@user, @calling, @result, @result],
    [@system, @parts],
    [@user, @user],
    [@answer],
    [@system]
  ]

  @options [
    [],
    [add_generation_prompt: true],
    [add_generation_prompt: true, enable_thinking: false],
    [add_generation_prompt: true, enable_thinking: true],
    [tools: [@weather]],
    [tools: [@weather, @weather], add_generation_prompt: true, enable_thinking: false],
    [documents: [[title: "T", text: "x"]], add_generation_prompt: true]
  ]

  defp folder(name), do: Path.join(System.fetch_env!("MLX_TEST_TOKENIZERS"), name)

  # JSON in the order of keyword lists.
  defp json(value) do
    cond do
      Keyword.keyword?(value) and value != [] ->
        "{" <> Enum.map_join(value, ",", fn {name, value} -> "#{JSON.encode!(name)}:#{json(value)}" end) <> "}"

      is_list(value) ->
        "[" <> Enum.map_join(value, ",", &json/1) <> "]"

      true ->
        JSON.encode!(value)
    end
  end

  defp jinja(cases) do
    input = Path.join(System.tmp_dir!(), "mlx-templates-#{System.unique_integer([:positive])}.txt")
    lines = for {source, variables} <- cases, do: Base.encode64(source) <> " " <> Base.encode64(json(variables))
    File.write!(input, Enum.join(lines, "\n"))

    try do
      {output, 0} = System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), [@script, input])

      for line <- String.split(output, "\n", trim: true) do
        [outcome | text] = String.split(line, " ")
        {outcome, text |> Enum.join() |> Base.decode64!()}
      end
    after
      File.rm(input)
    end
  end

  @tag :tokenizers
  @tag :oracle
  test "give the text of jinja2" do
    names = for name <- ~w(qwen3 llama3_1 gemma3), do: {name, ChatTemplate.from_folder(folder(name))}
    assert Enum.all?(names, fn {_name, template} -> template != nil end)

    cases =
      for {name, template} <- names,
          named = name |> folder() |> Tokenizer.from_folder() |> Tokenizer.named_tokens(),
          messages <- @conversations,
          options <- @options do
        {name, template, [messages: messages] ++ Keyword.merge([add_generation_prompt: false], options) ++ named}
      end

    sources = Map.new(names, fn {name, _template} -> {name, config(name)["chat_template"]} end)
    expected = jinja(for {name, _template, variables} <- cases, do: {sources[name], variables})
    assert Enum.count(expected, &match?({"ok", _text}, &1)) > 100

    for {{name, template, variables}, {outcome, text}} <- Enum.zip(cases, expected) do
      {messages, options} = Keyword.pop!(variables, :messages)
      ours = fn -> ChatTemplate.render(template, messages, options) end

      case outcome do
        "ok" -> assert {name, variables, ours.()} == {name, variables, text}
        "error" -> assert_raise Mlx.Error, ours
      end
    end
  end

  defp config(name), do: name |> folder() |> Path.join("tokenizer_config.json") |> File.read!() |> JSON.decode!()

  describe "a folder" do
    @describetag :tmp_dir

    test "has its template in one of several files", %{tmp_dir: folder} do
      assert ChatTemplate.from_folder(folder) == nil
      write = fn name, content -> File.write!(Path.join(folder, name), content) end
      text = fn name -> folder |> ChatTemplate.from_folder(name) |> ChatTemplate.render([]) end

      write.("tokenizer_config.json", ~s({"chat_template": "config"}))
      assert text.("default") == "config"
      list = [%{name: "default", template: "list"}, %{name: "tool_use", template: "{{ tools }}"}]
      write.("tokenizer_config.json", JSON.encode!(%{chat_template: list}))
      assert {text.("default"), text.("tool_use")} == {"list", "None"}
      write.("chat_template.json", ~s({"chat_template": "json"}))
      assert {text.("default"), text.("tool_use")} == {"json", "None"}
      File.mkdir_p!(Path.join(folder, "additional_chat_templates"))
      write.("additional_chat_templates/rag.jinja", "rag")
      write.("chat_template.jinja", "jinja")
      assert {text.("default"), text.("rag")} == {"jinja", "rag"}
      error = assert_raise Mlx.Error, fn -> text.("none") end

      assert error.message =~
               ~s(Mlx.LM.ChatTemplate.from_folder: #{folder} has no chat template "none"; it has "default", "rag", "tool_use")
    end

    test "with a template that is wrong says so", %{tmp_dir: folder} do
      for {content, message} <- [
            {~s({"chat_template": "{% if x %}"}), "line 1: the if block does not end"},
            {~s({"chat_template": [1]}), "tokenizer_config.json, chat_template[0] has to be an object"},
            {~s({"chat_template": [{"name": "default"}]}), "has no \"template\""},
            {"{", "is not JSON"}
          ] do
        File.write!(Path.join(folder, "tokenizer_config.json"), content)
        error = assert_raise Mlx.Error, fn -> ChatTemplate.from_folder(folder) end
        assert error.message =~ message
      end
    end
  end
end
