defmodule Mlx.LM.HTTP.Prompt do
  @moduledoc false
  # What a model is asked: messages, tools, and how its answer is read. The interfaces bring what they have into the form of
  # OpenAI's chats, with strings as keys, and this makes a prompt of it.

  alias Mlx.LM.HTTP.{Failure, Models, Structured}
  alias Mlx.LM.{Tokenizer, Tools}
  alias Mlx.LM.Server.{About, Error}

  @enforce_keys [:prompt, :parser, :template]
  defstruct @enforce_keys ++ [most_calls: nil, grammar: [], closing: ""]

  @typedoc """
  What to submit, how to read the answer, the variables of the template, the most calls, the option `:grammar` that the prompt
  asks for, and what closes the call with which it ends.
  """
  @type t :: %__MODULE__{
          prompt: Mlx.LM.prompt(),
          parser: Tools.t(),
          template: keyword(),
          most_calls: pos_integer() | nil,
          grammar: keyword(),
          closing: String.t()
        }

  @typedoc "`:none`, `:auto`, `:required`, or a tool that must be called."
  @type choice :: :none | :auto | :required | {:tool, String.t()}

  @doc "The prompt of messages for a model. Tools are those of OpenAI's chats."
  @spec new(Models.model(), [map()], [map()], choice(), boolean(), keyword()) :: t()
  def new(model, messages, tools, choice, parallel, template) do
    if model.template == nil,
      do:
        Failure.fail!(
          :unsupported,
          "the model #{inspect(model.name)} has no chat template; ask /v1/completions",
          "messages"
        )

    check_choice!(tools, choice)
    tools = if choice == :none, do: [], else: tools
    plain = Tools.new(model.template, tokenizer: model.tokenizer)
    {format, messages, template} = with_tools(plain.format, model, messages, tools, template)
    options = [tools: tools, calls: tools != [], tokenizer: model.tokenizer]
    parser = parser(format, plain, options, thinks?(model, plain, template))
    most = if not parallel or match?({:tool, _name}, choice), do: 1

    forced(
      %__MODULE__{prompt: messages, parser: parser, template: template, most_calls: most},
      model,
      format,
      choice,
      options
    )
  end

  # Read by the template, or, for a model that knows no tools, in the form that it is told to write.
  defp parser(_format, %Tools{format: format}, options, thinking) when format == nil,
    do: Tools.new(:hermes, Keyword.delete(options, :tokenizer) ++ [thinking: thinking])

  defp parser(_format, %Tools{format: :harmony}, options, _thinking), do: Tools.new(:harmony, options)

  defp parser(format, plain, options, thinking) do
    %{Tools.new(format, options ++ [thinking: thinking]) | thinking: plain.thinking}
  end

  defp check_choice!([], choice) when choice not in [:none, :auto],
    do: Failure.fail!(:invalid, "tool_choice asks for a call, and there are no tools", "tool_choice")

  defp check_choice!(tools, {:tool, name}) do
    names = for %{"function" => %{"name" => name}} <- tools, do: name

    if name not in names,
      do: Failure.fail!(:invalid, "tool_choice names #{inspect(name)}, which is none of the tools", "tool_choice")
  end

  defp check_choice!(_tools, _choice), do: :ok

  # ---- tools

  defp with_tools(format, model, messages, tools, template) do
    cond do
      format == nil and (tools != [] or Enum.any?(messages, &calls?/1)) -> {:hermes, told(messages, tools), template}
      tools == [] -> {format, messages, template}
      knows_tools?(model) -> {format, messages, [tools: Enum.map(tools, &ordered/1)] ++ template}
      true -> {format, told(messages, tools), template}
    end
  end

  defp knows_tools?(model), do: model.template.source =~ ~r/\btools\b/

  defp calls?(message), do: message["role"] == "tool" or message["tool_calls"] not in [nil, []]

  # In the order in which models have seen tools.
  defp ordered(%{"function" => function} = tool) do
    known =
      for {name, key} <- [name: "name", description: "description", parameters: "parameters"], do: {name, function[key]}

    [type: tool["type"] || "function", function: Enum.reject(known, fn {_name, value} -> value == nil end)]
  end

  # A template without tools: they are told in words, and calls and results are text.
  defp told(messages, tools) do
    messages = Enum.map(messages, &as_text/1)

    case {tools, messages} do
      {[], messages} -> messages
      {tools, [%{"role" => "system", "content" => text} | rest]} -> [system(text <> "\n\n" <> words(tools)) | rest]
      {tools, messages} -> [system(words(tools)) | messages]
    end
  end

  defp system(text), do: %{"role" => "system", "content" => text}

  defp words(tools) do
    list = Enum.map_join(tools, "\n", &(&1["function"] |> JSON.encode!()))

    """
    You can call tools. The tools, each as JSON with a JSON Schema of its arguments:
    #{list}
    To call a tool, write nothing but:
    <tool_call>
    {"name": "NAME", "arguments": {"ARGUMENT": VALUE}}
    </tool_call>\
    """
  end

  defp as_text(%{"role" => "tool"} = message),
    do: %{"role" => "user", "content" => "<tool_response>\n#{message["content"]}\n</tool_response>"}

  defp as_text(%{"tool_calls" => [_ | _] = calls} = message) do
    calls = for %{"function" => call} <- calls, do: written(call)
    %{"role" => message["role"], "content" => Enum.join(List.wrap(text_or_nil(message["content"])) ++ calls, "\n")}
  end

  defp as_text(message), do: message

  defp written(%{"name" => name, "arguments" => arguments}) do
    ~s(<tool_call>\n{"name": #{JSON.encode!(name)}, "arguments": #{JSON.encode!(arguments)}}\n</tool_call>)
  end

  defp text_or_nil(""), do: nil
  defp text_or_nil(text), do: text

  # ---- thinking

  # Whether the prompt ends inside of thinking, which does not depend on what the messages say.
  defp thinks?(_model, %Tools{thinking: nil}, _template), do: false

  defp thinks?(model, parser, template) do
    ids = encode!(model, [%{"role" => "user", "content" => "?"}], Keyword.drop(template, [:tools]))
    text = Tokenizer.decode(model.tokenizer, Enum.take(ids, -16))
    Tools.thinks_after?(parser, text)
  rescue
    # A template may want other messages.
    _error in [Mlx.Error, Error] -> false
  end

  @doc "The tokens of what a model is asked. Raises `Mlx.LM.Server.Error` for what the template refuses."
  @spec encode!(Models.model(), Mlx.LM.prompt(), keyword()) :: [Tokenizer.id()]
  def encode!(model, prompt, template) do
    About.encode(model, prompt, template: template)
  rescue
    error in [ArgumentError, Mlx.Error] -> reraise Error.new(:invalid, Exception.message(error)), __STACKTRACE__
  end

  # ---- calls that must be

  # How an answer begins that calls a tool: what stands before its name, and what behind it. Where the arguments are an object
  # of JSON, the third is what stands behind that.
  @beginnings %{
    hermes: {~s(<tool_call>\n{"name": "), ~s(", "arguments": ), "}\n</tool_call>"},
    qwen_coder: {"<tool_call>\n<function=", ">\n", nil},
    llama3: {~s({"name": "), ~s(", "parameters": ), "}"},
    mistral: {~s([TOOL_CALLS][{"name": "), ~s(", "arguments": ), "}]"},
    gemma: {"<|tool_call>call:", "{", nil},
    glm: {"<tool_call>", "\n", nil},
    kimi:
      {"<|tool_calls_section_begin|><|tool_call_begin|>functions.", ":0<|tool_call_argument_begin|>",
       "<|tool_call_end|><|tool_calls_section_end|>"},
    minimax: {~s(<minimax:tool_call>\n<invoke name="), ~s(">\n), nil},
    harmony: {"<|channel|>commentary to=functions.", " <|constrain|>json<|message|>", ""},
    pythonic: {"<|tool_call_start|>[", "(", nil}
  }

  # Formats in which a whole call is an object of JSON: what stands before it, the name of its arguments, and what stands
  # behind.
  @objects %{
    hermes: {"<tool_call>\n", "arguments", "\n</tool_call>"},
    llama3: {"", "parameters", ""},
    mistral: {"[TOOL_CALLS][", "arguments", "]"}
  }

  # The prompt goes on with the beginning of a call, which the parser has seen then, too.
  defp forced(prompt, _model, _format, choice, _options) when choice in [:none, :auto], do: prompt

  defp forced(prompt, model, format, choice, options) do
    case @beginnings[format] do
      nil ->
        Failure.fail!(:unsupported, "tool_choice must be auto or none for the format #{format}", "tool_choice")

      {before, behind, closing} ->
        tool = only(choice, options[:tools])

        cond do
          tool -> prompt |> begun(before <> tool["name"] <> behind, model, format, options) |> of_schema(tool, closing)
          any = any(format, options[:tools]) -> of_any(prompt, any, model, format, options)
          true -> begun(prompt, before, model, format, options)
        end
    end
  end

  defp begun(prompt, beginning, model, format, options) do
    {thought, parser} = thought(prompt.parser, format, options)
    tail = Tokenizer.encode(model.tokenizer, thought <> beginning, bos: false, eos: false)
    {_events, parser} = Tools.push(parser, beginning)
    %{prompt | prompt: encode!(model, prompt.prompt, prompt.template) ++ tail, parser: parser}
  end

  # The schema of a call of any of several tools, with what stands around it; nil where there is none. References are to
  # places in the schema of a tool, which is another one then.
  defp any(format, tools) do
    with {before, key, closing} <- @objects[format],
         false <- Enum.any?(tools, &refers?/1) do
      {before, %{"anyOf" => for(%{"function" => tool} <- tools, do: call_schema(tool, key))}, closing}
    else
      _none -> nil
    end
  end

  defp refers?(%{"$ref" => _place}), do: true
  defp refers?(%{} = schema), do: Enum.any?(schema, fn {_key, value} -> refers?(value) end)
  defp refers?(list) when is_list(list), do: Enum.any?(list, &refers?/1)
  defp refers?(_value), do: false

  defp call_schema(%{"name" => name, "parameters" => parameters}, key) do
    %{
      "type" => "object",
      "properties" => [{"name", %{"const" => name}}, {key, parameters}],
      "required" => ["name", key],
      "additionalProperties" => false
    }
  end

  defp of_any(prompt, {before, schema, closing}, model, format, options) do
    prompt = begun(prompt, before, model, format, options)
    %{prompt | grammar: Structured.options({:json_schema, schema}, "tools"), closing: closing}
  end

  # With one tool there is no other choice.
  defp only(:required, [%{"function" => tool}]), do: tool
  defp only(:required, _several), do: nil

  defp only({:tool, wanted}, tools),
    do: Enum.find_value(tools, fn %{"function" => tool} -> if tool["name"] == wanted, do: tool end)

  # Arguments of JSON are held to their schema. The answer ends with them, and what closes the call is added.
  defp of_schema(prompt, _tool, nil), do: prompt

  defp of_schema(prompt, tool, closing) do
    %{prompt | grammar: Structured.options({:json_schema, tool["parameters"]}, "tools"), closing: closing}
  end

  # What is thought ends before it has begun.
  defp thought(%Tools{machine: %{part: :thinking}, thinking: {_start, stop}} = parser, format, options),
    do: {"\n#{stop}\n\n", %{Tools.new(format, options) | thinking: parser.thinking}}

  defp thought(parser, _format, _options), do: {"", parser}
end
