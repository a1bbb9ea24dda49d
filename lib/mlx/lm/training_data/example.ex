defmodule Mlx.LM.TrainingData.Example do
  @moduledoc false
  # The tokens of a line, of which a pair of answers has two texts. What is wrong with it is told with its number.

  alias Mlx.Arguments.Given
  alias Mlx.LM.{ChatTemplate, Tokenizer, TrainingData}
  alias Mlx.LM.ChatTemplate.Dict

  # No number of a text is longer, and the time to read one grows with the square of its length.
  @most_digits 1000

  @typedoc "Tokens, and the position from which on they count for the loss."
  @type text :: {[Tokenizer.id()], non_neg_integer()}

  @doc "The text of a line, or the chosen text and the rejected one."
  @spec of(TrainingData.t(), pos_integer(), binary()) :: [text(), ...]
  def of(data, number, line) do
    object = object!(line)
    pair? = Enum.any?(["chosen", "rejected"], &match?({:ok, _}, Dict.fetch(object, &1)))
    data |> texts(object, pair?) |> Enum.map(&long_enough!/1)
  rescue
    # A template's error begins with its own line.
    error in [Mlx.Error, ArgumentError] ->
      reraise Mlx.Error, [message: "#{data.path}, line #{number}: #{Exception.message(error)}"], __STACKTRACE__
  end

  defp long_enough!({[_, _ | _], _from} = text), do: text

  defp long_enough!({ids, _from}) do
    fail("is #{length(ids)} tokens long, expected at least two, because the first one is not foretold")
  end

  defp texts(data, object, false), do: [tokens(data, object)]

  defp texts(%{template: nil}, _object, true), do: fail("has a pair of answers, and the model has no chat template")

  defp texts(data, object, true) do
    before = before(object)
    tools = tools(object)
    from = data |> rendered(before, tools, true) |> length()

    if from >= data.max_length do
      fail("has a prompt of #{from} tokens, which leaves nothing of the answers within :max_length, #{data.max_length}")
    end

    for field <- ["chosen", "rejected"] do
      ids = rendered(data, before ++ answer(object, field), tools, false)
      if length(ids) <= from, do: fail("has a #{field} answer without tokens")
      {ids, from}
    end
  end

  defp before(object) do
    case {Dict.fetch(object, "messages"), Dict.fetch(object, "prompt")} do
      {{:ok, messages}, _prompt} -> messages!(messages)
      {:error, {:ok, prompt}} when is_binary(prompt) -> [message("user", prompt)]
      {:error, {:ok, messages}} -> messages!(messages)
      {:error, :error} -> fail(~s(has a pair of answers, expected "prompt" or "messages" beside them))
    end
  end

  defp answer(object, field) do
    case Dict.fetch(object, field) do
      {:ok, text} when is_binary(text) ->
        [message("assistant", text)]

      {:ok, [_ | _] = messages} ->
        messages!(messages)

      {:ok, other} ->
        fail(~s(expected "#{field}" to be a string or a list of messages, got: #{Given.text(plain(other))}))

      :error ->
        fail(~s(has one answer, expected "chosen" and "rejected"))
    end
  end

  defp tokens(data, object) do
    case for key <- ["prompt", "completion", "messages", "text"],
             {:ok, value} <- [Dict.fetch(object, key)],
             do: {key, value} do
      [{"prompt", prompt}, {"completion", completion} | _others] ->
        messages =
          for {role, text} <- [{"user", prompt}, {"assistant", completion}], do: message(role, text!(text, role))

        conversation(data, messages, tools(object))

      [{"messages", messages} | _others] ->
        conversation(data, messages!(messages), tools(object))

      [{"text", text}] ->
        if data.mask_prompt, do: fail("has a text, and no prompt that :mask_prompt could leave out")
        {with_end(data.tokenizer, Tokenizer.encode(data.tokenizer, text!(text, "text"))), 0}

      _other ->
        fail(
          ~s(has the fields #{fields(object)}, expected "text", "messages", "prompt" and "completion", or "chosen" and "rejected")
        )
    end
  end

  defp message(role, text), do: Dict.new([{"role", role}, {"content", text}])

  defp text!(text, _field) when is_binary(text), do: text
  defp text!(other, field), do: fail("expected the #{field} to be a string, got: #{Given.text(plain(other))}")

  defp messages!([_ | _] = messages) do
    for message <- messages do
      case is_struct(message, Dict) && Dict.fetch(message, "role") do
        {:ok, role} when is_binary(role) ->
          message

        _other ->
          fail(~s(expected each of the messages to be an object with a "role", got: #{Given.text(plain(message))}))
      end
    end
  end

  defp messages!(other), do: fail("expected messages to be a list that is not empty, got: #{Given.text(plain(other))}")

  defp tools(object) do
    case Dict.fetch(object, "tools") do
      {:ok, tools} when is_list(tools) or tools == nil -> tools
      {:ok, other} -> fail("expected tools to be a list, got: #{Given.text(plain(other))}")
      :error -> nil
    end
  end

  defp conversation(%{template: nil}, _messages, _tools) do
    fail(~s(is a conversation, and the model has no chat template; give lines with "text"))
  end

  defp conversation(data, messages, tools) do
    ids = rendered(data, messages, tools, false)

    if data.mask_prompt do
      {before, [last]} = Enum.split(messages, -1)
      {ids, data |> rendered(before, tools, Dict.fetch(last, "role") == {:ok, "assistant"}) |> length()}
    else
      {ids, 0}
    end
  end

  # The template writes what the tokenizer would add to a text.
  defp rendered(%{tokenizer: tokenizer, template: template}, messages, tools, prompt) do
    named = Keyword.merge([bos_token: "", eos_token: ""], Tokenizer.named_tokens(tokenizer))
    text = ChatTemplate.render(template, messages, [tools: tools, add_generation_prompt: prompt] ++ named)
    Tokenizer.encode(tokenizer, text, bos: false, eos: false)
  end

  defp with_end(tokenizer, ids) do
    last = List.last(ids)
    name = Tokenizer.named_tokens(tokenizer)[:eos_token]
    ending = name && Tokenizer.id(tokenizer, name)
    if ending == nil or last == ending, do: ids, else: ids ++ [ending]
  end

  # Templates see the fields of an object in their order.
  defp object!(line) do
    decoders = [
      object_push: fn key, value, pairs -> [{key, value} | pairs] end,
      object_finish: fn pairs, outer -> {pairs |> Enum.reverse() |> Dict.new(), outer} end,
      object_start: fn _outer -> [] end,
      integer: &String.to_integer(digits!(&1)),
      float: &String.to_float(digits!(&1))
    ]

    case JSON.decode(line, nil, decoders) do
      {%Dict{} = object, _outer, rest} ->
        if String.trim(rest) == "", do: object, else: fail("has something behind its object")

      {other, _outer, _rest} ->
        fail("expected an object of JSON, got: #{Given.text(plain(other))}")

      {:error, {:unexpected_end, _byte}} ->
        fail("is no JSON: it ends too early")

      {:error, {_reason, byte, _bytes}} ->
        fail("is no JSON: what is at byte #{byte} is not expected")

      {:error, {_reason, byte}} ->
        fail("is no JSON: what is at byte #{byte} is not expected")
    end
  end

  defp digits!(text) do
    if byte_size(text) > @most_digits,
      do: fail("has a number of #{byte_size(text)} bytes, expected at most #{@most_digits}")

    text
  end

  defp plain(%Dict{pairs: pairs}), do: Map.new(pairs, fn {key, value} -> {key, plain(value)} end)
  defp plain(list) when is_list(list), do: Enum.map(list, &plain/1)
  defp plain(other), do: other

  defp fields(object) do
    case Dict.keys(object) do
      [] -> "of an empty object"
      keys -> keys |> Enum.take(8) |> Enum.map_join(", ", &Given.text/1)
    end
  end

  defp fail(message), do: raise(Mlx.Error, message: message)
end
