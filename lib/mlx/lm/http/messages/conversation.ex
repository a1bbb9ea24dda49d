defmodule Mlx.LM.HTTP.Messages.Conversation do
  @moduledoc false
  # The messages of Anthropic's interface, in the form of OpenAI's chats.

  alias Mlx.LM.HTTP.{Failure, Fields, Tooling}

  @doc "The messages of a conversation, behind the text of its system."
  @spec messages(nil | String.t() | [map()], [map()]) :: [map()]
  def messages(system, list), do: system(system) ++ messages(list)

  defp system(nil), do: []
  defp system(content), do: [%{"role" => "system", "content" => Tooling.text(content, "system")}]

  defp messages([]), do: Failure.fail!(:invalid, "messages is empty", "messages")

  defp messages(list) do
    for {message, index} <- Enum.with_index(list),
        place = "messages[#{index}]",
        made <- message(message, place),
        do: made
  end

  defp message(message, place) do
    rows = [
      {"role", {:required, {:one_of, ["user", "assistant"]}}, :keep},
      {"content", {:required, {:either, [:string, {:list, :object}]}}, :keep}
    ]

    %{"role" => role, "content" => content} = Fields.read(message, rows, place).kept
    blocks = if is_binary(content), do: [%{"type" => "text", "text" => content}], else: content
    parts = for {block, index} <- Enum.with_index(blocks), do: block(block, role, "#{place}.content[#{index}]")
    said(role, parts)
  end

  # Results of tools are messages of their own, before what the user says.
  defp said("user", parts) do
    results = for {:result, id, text} <- parts, do: %{"role" => "tool", "tool_call_id" => id, "content" => text}
    texts = for {:text, text} <- parts, do: text
    results ++ if(texts == [], do: [], else: [%{"role" => "user", "content" => Enum.join(texts, "\n")}])
  end

  defp said("assistant", parts) do
    text = Enum.join(for({:text, text} <- parts, do: text))
    thinking = Enum.join(for({:thinking, text} <- parts, do: text))
    calls = for {:call, call} <- parts, do: call
    message = %{"role" => "assistant", "content" => text}
    message = if thinking == "", do: message, else: Map.put(message, "reasoning_content", thinking)
    [if(calls == [], do: message, else: Map.put(message, "tool_calls", calls))]
  end

  @cache {"cache_control", :object, :nothing}
  @blocks %{
    {"user", "text"} => [{"text", {:required, :string}, :keep}, {"citations", {:one_of, [[]]}, :nothing}, @cache],
    {"assistant", "text"} => [{"text", {:required, :string}, :keep}, {"citations", {:one_of, [[]]}, :nothing}, @cache],
    {"assistant", "thinking"} => [{"thinking", {:required, :string}, :keep}, {"signature", :string, :nothing}],
    {"assistant", "tool_use"} => [
      {"id", {:required, :string}, :keep},
      {"name", {:required, :string}, :keep},
      {"input", {:required, :object}, :keep},
      {"caller", {:one_of, [%{"type" => "direct"}]}, :nothing},
      @cache
    ],
    {"user", "tool_result"} => [
      {"tool_use_id", {:required, :string}, :keep},
      {"content", {:either, [:string, {:list, :object}]}, :keep},
      {"is_error", :boolean, :keep},
      @cache
    ]
  }

  defp block(%{"type" => type} = block, role, place) when is_map_key(@blocks, {role, type}) do
    kept = block |> Map.delete("type") |> Fields.read(@blocks[{role, type}], place) |> Map.fetch!(:kept)

    case type do
      "text" -> {:text, kept["text"]}
      "thinking" -> {:thinking, kept["thinking"]}
      "tool_use" -> {:call, Tooling.called(kept["id"], kept["name"], kept["input"], place)}
      "tool_result" -> {:result, kept["tool_use_id"], result(kept, place)}
    end
  end

  defp block(block, role, place) do
    text = "#{place}: a block of the type #{Fields.shown(block["type"])} of the #{role} is not supported by this server"
    Failure.fail!(:unsupported, text)
  end

  defp result(%{"is_error" => true} = kept, place), do: "Error: " <> Tooling.text(kept["content"], place)
  defp result(kept, place), do: Tooling.text(kept["content"], place)
end
