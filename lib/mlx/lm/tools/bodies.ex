defmodule Mlx.LM.Tools.Bodies do
  @moduledoc false
  # What stands between the marks of a call, by format: a function for each that takes the text and the types of the tools'
  # arguments, and gives the calls in it or `:error`.

  alias Mlx.LM.Tools.{PythonLiteral, Schema}

  @type call :: %{name: String.t(), arguments: %{String.t() => term()}, id: String.t() | nil}
  @type result :: {:ok, [call(), ...]} | :error

  @doc "Objects of JSON with a name and arguments, one or a list, of Hermes and Qwen."
  @spec json(String.t(), Schema.t()) :: result()
  def json(text, _schema) do
    case JSON.decode(String.trim(text)) do
      {:ok, list} when is_list(list) -> collect(list, &of_object/1)
      {:ok, object} -> collect([object], &of_object/1)
      {:error, _reason} -> :error
    end
  end

  @doc "Objects of JSON one after the other, with semicolons, commas or nothing between them, of Llama 3."
  @spec json_sequence(String.t(), Schema.t()) :: result()
  def json_sequence(text, schema) do
    text = String.trim(text)

    case objects(text, []) do
      {:ok, objects} -> collect(objects, &of_object/1)
      :error -> if String.starts_with?(text, ["{", "["]), do: json(text, schema), else: pythonic(text, schema)
    end
  end

  defp objects(text, objects) do
    case text |> String.trim_leading() |> next_json() do
      {:ok, value, rest} -> objects(rest |> String.trim_leading() |> after_separator(), [value | objects])
      :end when objects != [] -> {:ok, Enum.reverse(objects)}
      _other -> :error
    end
  end

  defp after_separator(<<c, rest::binary>>) when c in [?;, ?,], do: rest
  defp after_separator(rest), do: rest

  # One value of JSON at the start of a text, and what is behind it.
  defp next_json(""), do: :end

  defp next_json(text) do
    {value, _acc, rest} = JSON.decode(text, nil, [])
    {:ok, value, rest}
  rescue
    _error -> :error
  catch
    _kind, _reason -> :error
  end

  @spec of_object(term()) :: {:ok, call()} | :error
  defp of_object(%{"function" => %{} = function} = object), do: of_object(Map.merge(Map.take(object, ["id"]), function))

  defp of_object(%{"name" => name} = object) when is_binary(name) and name != "" do
    case decoded(Map.get(object, "arguments", Map.get(object, "parameters", %{}))) do
      %{} = arguments -> {:ok, %{name: name, arguments: arguments, id: text_or_nil(object["id"])}}
      _other -> :error
    end
  end

  defp of_object(_other), do: :error

  # Some templates write the arguments as a string of JSON.
  defp decoded(text) when is_binary(text) do
    case JSON.decode(text) do
      {:ok, value} -> value
      {:error, _reason} -> :error
    end
  end

  defp decoded(nil), do: %{}
  defp decoded(value), do: value

  defp text_or_nil(text) when is_binary(text), do: text
  defp text_or_nil(_other), do: nil

  @doc "Mistral's: a list of objects, or a name, `[ARGS]` and an object, several times."
  @spec mistral(String.t(), Schema.t()) :: result()
  def mistral(text, schema) do
    if String.starts_with?(String.trim(text), "["),
      do: json(text, schema),
      else: collect(String.split(text, "[TOOL_CALLS]"), &mistral_call/1)
  end

  defp mistral_call(text) do
    case Regex.run(~r/\A\s*([\w.-]+)\s*(?:\[CALL_ID\]\s*([^\s\[]+)\s*)?(?:\[ARGS\])?\s*(\{.*)\z/s, text) do
      [_all, name, id, arguments] ->
        with {:ok, %{} = arguments} <- JSON.decode(String.trim(arguments)),
             do: {:ok, call(name, arguments, if(id != "", do: id))}

      nil ->
        :error
    end
  end

  @doc "Qwen's coders: `<function=NAME>` with `<parameter=NAME>` around each value."
  @spec qwen(String.t(), Schema.t()) :: result()
  def qwen(text, schema) do
    each(~r/<function=\s*([^\s<>]+)\s*>?(.*?)<\/function>/s, text, fn [_all, name, body] ->
      arguments =
        for [_all, key, value] <- Regex.scan(~r/<parameter=\s*([^\s<>]+)\s*>(.*?)<\/parameter>/s, body), into: %{} do
          {key, qwen_value(without_lines(value), Schema.of(schema, name, key))}
        end

      {:ok, call(name, arguments)}
    end)
  end

  defp qwen_value(text, types) do
    cond do
      String.downcase(text) == "null" -> nil
      types == nil -> text
      types == [] -> structure_or_text(text)
      "string" in types -> text
      true -> with ^text <- Schema.read(text, types), do: if(structured?(types), do: Schema.guess(text), else: text)
    end
  end

  defp structured?(types), do: Enum.any?(types, &(&1 in ["object", "array"]))

  defp structure_or_text(text) do
    case JSON.decode(text) do
      {:ok, value} when is_map(value) or is_list(value) -> value
      _other -> text
    end
  end

  # A line break at either end belongs to the format.
  defp without_lines(text) do
    text = if String.starts_with?(text, "\n"), do: binary_part(text, 1, byte_size(text) - 1), else: text
    if String.ends_with?(text, "\n"), do: binary_part(text, 0, byte_size(text) - 1), else: text
  end

  @doc "MiniMax's: `<invoke name=\"NAME\">` with `<parameter name=\"NAME\">` around each value."
  @spec minimax(String.t(), Schema.t()) :: result()
  def minimax(text, schema) do
    each(~r/<(?:atem:)?invoke name=([^>]+)>(.*?)<\/(?:atem:)?invoke>/s, text, fn [_all, name, body] ->
      name = unquoted(name)
      pattern = ~r/<(?:atem:)?parameter name=([^>]+)>(.*?)<\/(?:atem:)?parameter>/s

      arguments =
        for [_all, key, value] <- Regex.scan(pattern, body), into: %{} do
          key = unquoted(key)
          {key, value |> String.trim() |> Schema.read(typed(Schema.of(schema, name, key)))}
        end

      {:ok, call(name, arguments)}
    end)
  end

  defp typed(types) when types in [nil, []], do: ["string"]
  defp typed(types), do: types

  defp unquoted(text) do
    case Regex.run(~r/\A\s*(["'])(.*)\1\s*\z/s, text) do
      [_all, _quote, name] -> name
      nil -> String.trim(text)
    end
  end

  @doc "GLM's: a name, and `<arg_key>` and `<arg_value>` around each argument. Some answers are JSON."
  @spec glm(String.t(), Schema.t()) :: result()
  def glm(text, schema) do
    trimmed = String.trim(text)

    case Regex.run(~r/\A(.*?)<(?:longcat_)?arg_key>/s, text) do
      [_all, name] -> glm_call(String.trim(name), text, schema)
      nil when trimmed == "" -> :error
      nil -> if String.starts_with?(trimmed, ["{", "["]), do: json(text, schema), else: bare_name(trimmed)
    end
  end

  # Without arguments there is nothing but the name.
  defp bare_name(text), do: if(text =~ ~r/\A[\w.-]+\z/, do: {:ok, [call(text, %{})]}, else: :error)

  defp glm_call("", _text, _schema), do: :error

  defp glm_call(name, text, schema) do
    pattern =
      ~r/<(?:longcat_)?arg_key>(.*?)<\/(?:longcat_)?arg_key>\s*<(?:longcat_)?arg_value>(.*?)<\/(?:longcat_)?arg_value>/s

    arguments =
      for [_all, key, value] <- Regex.scan(pattern, text), into: %{} do
        {key, value} = {String.trim(key), String.trim(value)}
        {key, if(Schema.of(schema, name, key) == ["string"], do: value, else: Schema.guess(value))}
      end

    {:ok, [call(name, arguments)]}
  end

  @doc "Kimi's: `functions.NAME:0`, a mark and an object, between marks of their own."
  @spec kimi(String.t(), Schema.t()) :: result()
  def kimi(text, _schema) do
    case Regex.scan(~r/<\|tool_call_begin\|>(.*?)<\|tool_call_end\|>/s, text) do
      [] -> collect([text], &kimi_call/1)
      found -> collect(Enum.map(found, &List.last/1), &kimi_call/1)
    end
  end

  defp kimi_call(text) do
    case Regex.run(~r/\A\s*((?:functions\.)?(.+?):\d+)\s*<\|tool_call_argument_begin\|>(.*)\z/s, text) do
      [_all, id, name, arguments] ->
        case arguments |> String.trim() |> Schema.guess() do
          %{} = arguments -> {:ok, call(name, arguments, id)}
          _other -> :error
        end

      nil ->
        :error
    end
  end

  @doc "Python's calls with named arguments, one or a list."
  @spec pythonic(String.t(), Schema.t()) :: result()
  def pythonic(text, _schema) do
    with {:ok, calls} <- PythonLiteral.calls(text) do
      {:ok, for({name, arguments} <- calls, do: call(name |> String.replace_suffix(".call", ""), arguments))}
    end
  end

  @doc "A call, with the identity that the model gave it or without one."
  @spec call(String.t(), map(), String.t() | nil) :: call()
  def call(name, arguments, id \\ nil), do: %{name: name, arguments: arguments, id: id}

  defp each(pattern, text, read) do
    case Regex.scan(pattern, text) do
      [] -> :error
      found -> collect(found, read)
    end
  end

  # All calls, or `:error` where one of them is none.
  defp collect([], _read), do: :error

  defp collect(items, read) do
    Enum.reduce_while(items, {:ok, []}, fn item, {:ok, calls} ->
      case read.(item) do
        {:ok, call} -> {:cont, {:ok, [call | calls]}}
        _error -> {:halt, :error}
      end
    end)
    |> case do
      {:ok, calls} -> {:ok, Enum.reverse(calls)}
      :error -> :error
    end
  end
end
