defmodule Mlx.LM.HTTP.Tooling do
  @moduledoc false
  # What the interfaces share beside sampling: the content of messages, tools and their calls, and variables of templates.

  alias Mlx.LM.HTTP.{Failure, Fields, Prompt}
  alias Mlx.LM.Response

  # Variables that chat templates of models know.
  @template [
    {"enable_thinking", :boolean, {:template, :enable_thinking}},
    {"thinking", :boolean, {:template, :thinking}},
    {"preserve_thinking", :boolean, {:template, :preserve_thinking}},
    {"reasoning_effort", :string, {:template, :reasoning_effort}},
    {"thinking_budget", {:integer, 0, nil}, {:template, :thinking_budget}},
    {"model_identity", :string, {:template, :model_identity}},
    {"date_string", :string, {:template, :date_string}},
    {"documents", {:list, :object}, {:template, :documents}}
  ]

  @function [
    {"name", {:required, :string}, :keep},
    {"description", :string, :keep},
    {"parameters", :object, :keep},
    {"strict", {:one_of, [false, true]}, :nothing}
  ]

  @call [
    {"id", :string, :keep},
    {"index", {:integer, 0, nil}, :nothing},
    {"type", {:one_of, ["function"]}, :nothing},
    {"function", {:required, {:fields, [{"name", {:required, :string}, :keep}, {"arguments", :string, :keep}]}}, :keep}
  ]

  @name ~r/\A[a-zA-Z0-9_.-]{1,128}\z/

  @doc "The rows of the variables, for a field with an object of them."
  @spec template_rows() :: [Fields.row()]
  def template_rows, do: for({name, type, _target} <- @template, do: {name, type, :keep})

  @doc "The variables that were read by `template_rows/0`."
  @spec template(map() | nil) :: keyword()
  def template(nil), do: []

  def template(kept),
    do: for({name, _type, {:template, key}} <- @template, is_map_key(kept, name), do: {key, kept[name]})

  @doc "Tools of OpenAI's chats, checked."
  @spec tools([map()], String.t()) :: [map()]
  def tools(list, place) do
    tools(list, place, &tool/2)
  end

  @doc "Tools that `read` makes, in the form of OpenAI's chats, of objects and their places."
  @spec tools([map()], String.t(), (map(), String.t() -> map())) :: [map()]
  def tools(list, place, read) do
    tools = for {tool, index} <- Enum.with_index(list), do: read.(tool, "#{place}[#{index}]")
    names = for tool <- tools, do: tool["function"]["name"]
    if names != Enum.uniq(names), do: Failure.fail!(:invalid, "two tools have the same name", place)
    tools
  end

  defp tool(tool, place) do
    rows = [
      {"type", {:required, {:one_of, ["function"]}}, :nothing},
      {"function", {:required, {:fields, @function}}, :keep}
    ]

    %{kept: %{"function" => function}} = Fields.read(tool, rows, place)
    named!(function, "#{place}.function")
  end

  # OpenAI's interface says that a function without parameters has none.
  @no_parameters %{"type" => "object", "properties" => %{}, "additionalProperties" => false}

  @doc "A tool of its name, description and parameters."
  @spec named!(map(), String.t()) :: map()
  def named!(%{"name" => name} = function, place) do
    if name not in [nil, ""] and name =~ @name,
      do: %{
        "type" => "function",
        "function" => Map.put_new(function, "parameters", @no_parameters)
      },
      else: Failure.fail!(:invalid, "#{place}.name must be of letters, digits, _ and -", "#{place}.name")
  end

  @doc "What `tool_choice` asks for."
  @spec choice(term(), [map()]) :: Prompt.choice()
  def choice(nil, _tools), do: :auto
  def choice(word, _tools) when word in ["auto", "none", "required"], do: String.to_existing_atom(word)

  def choice(%{"type" => "function", "function" => %{"name" => name}} = choice, _tools) when map_size(choice) == 2,
    do: {:tool, name}

  def choice(%{"type" => "function", "name" => name} = choice, _tools) when map_size(choice) == 2, do: {:tool, name}

  def choice(other, _tools) do
    text = "tool_choice must be auto, none, required or one function, and is #{Fields.shown(other)}"
    Failure.fail!(:unsupported, text, "tool_choice")
  end

  @doc "The text of the content of a message: a string, or parts that are text."
  @spec text(nil | String.t() | [map()], String.t()) :: String.t()
  def text(nil, _place), do: ""
  def text(text, _place) when is_binary(text), do: text

  def text(parts, place) do
    for({part, index} <- Enum.with_index(parts), do: part(part, "#{place}.content[#{index}]")) |> Enum.join()
  end

  @texts ~w(text input_text output_text refusal)

  defp part(%{"type" => type} = part, place) when type in @texts do
    rows = [
      {if(type == "refusal", do: "refusal", else: "text"), {:required, :string}, :keep},
      {"annotations", {:one_of, [[]]}, :nothing},
      {"logprobs", {:one_of, [[]]}, :nothing},
      {"cache_control", :object, :nothing}
    ]

    [text] = part |> Map.delete("type") |> Fields.read(rows, place) |> Map.fetch!(:kept) |> Map.values()
    text
  end

  defp part(part, place) do
    text = "#{place} must be text; a part of the type #{Fields.shown(part["type"])} is not supported by this server"
    Failure.fail!(:unsupported, text, "#{place}.type")
  end

  @doc "A message with the calls that it made."
  @spec put_calls(map(), [map()] | nil, String.t()) :: map()
  def put_calls(message, calls, _place) when calls in [nil, []], do: message

  def put_calls(message, calls, place) do
    calls =
      for {call, index} <- Enum.with_index(calls) do
        kept = Fields.read(call, @call, "#{place}[#{index}]").kept
        called(kept["id"], kept["function"]["name"], kept["function"]["arguments"], "#{place}[#{index}].function")
      end

    Map.put(message, "tool_calls", calls)
  end

  @doc "A call as templates have it: its arguments are an object."
  @spec called(String.t() | nil, String.t(), String.t() | map() | nil, String.t()) :: map()
  def called(id, name, arguments, place) do
    function = %{"name" => name, "arguments" => arguments(arguments, place)}
    %{"type" => "function", "id" => id || "", "function" => function}
  end

  defp arguments(nil, _place), do: %{}
  defp arguments("", _place), do: %{}
  defp arguments(%{} = arguments, _place), do: arguments

  defp arguments(text, place) do
    case JSON.decode(text) do
      {:ok, %{} = arguments} ->
        arguments

      _other ->
        Failure.fail!(:invalid, "#{place}.arguments must be an object of JSON as a string", "#{place}.arguments")
    end
  end

  @doc "A call of an answer, as OpenAI's chats have it."
  @spec call(map()) :: map()
  def call(call),
    do: %{id: call.id, type: "function", function: %{name: call.name, arguments: JSON.encode!(call.arguments)}}

  @doc "How many tokens of the prompt came from a cache, where the server tells."
  @spec cached(Response.t()) :: non_neg_integer()
  def cached(response), do: Map.get(response, :cached_tokens) || 0
end
