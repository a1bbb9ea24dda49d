defmodule Mlx.LM.Tools.Gemma do
  @moduledoc false
  # The calls of Gemma: `call:NAME{key:value}`. Strings stand between marks, `<|"|>` in Gemma 4 and `<escape>` in FunctionGemma,
  # and keys without any. Other values are those of JSON, and a bare word that is none is a string.

  alias Mlx.LM.Tools.{Bodies, Schema}

  @marks [~s(<|"|>), "<escape>"]
  @name ~r/\A\s*[,;]?\s*call:([\w.-]+)\s*\{/

  @doc "The calls of a text, or `:error`."
  @spec calls(String.t(), Schema.t()) :: Bodies.result()
  def calls(text, _schema) do
    {:ok, read(text, [])}
  catch
    :error -> :error
  end

  defp read(text, calls) do
    case Regex.run(@name, text) do
      [all, name] ->
        {pairs, rest} = pairs(skip(text, byte_size(all)), [])
        read(rest, [Bodies.call(name, Map.new(pairs)) | calls])

      nil ->
        if String.trim(text) == "" and calls != [], do: Enum.reverse(calls), else: throw(:error)
    end
  end

  defp pairs(text, pairs) do
    case blank(text) do
      "}" <> rest -> {Enum.reverse(pairs), rest}
      text -> text |> pair() |> more(pairs, "}", &pairs/2)
    end
  end

  defp elements(text, elements) do
    case blank(text) do
      "]" <> rest -> {Enum.reverse(elements), rest}
      text -> text |> value() |> more(elements, "]", &elements/2)
    end
  end

  defp more({item, rest}, items, stop, go_on) do
    case blank(rest) do
      "," <> rest -> go_on.(rest, [item | items])
      <<^stop::binary-size(1), rest::binary>> -> {Enum.reverse([item | items]), rest}
      _other -> throw(:error)
    end
  end

  defp pair(text) do
    {key, rest} = key(text)

    case blank(rest) do
      ":" <> rest ->
        {value, rest} = rest |> blank() |> value()
        {{key, value}, rest}

      _other ->
        throw(:error)
    end
  end

  defp key(text) do
    if mark(text) || String.starts_with?(text, "\"") do
      value(text)
    else
      case Regex.run(~r/\A[^\s:{}\[\],<]+/u, text) do
        [key] -> {key, skip(text, byte_size(key))}
        nil -> throw(:error)
      end
    end
  end

  defp value("{" <> rest) do
    {pairs, rest} = pairs(rest, [])
    {Map.new(pairs), rest}
  end

  defp value("[" <> rest), do: elements(rest, [])

  defp value(text) do
    case mark(text) do
      nil -> plain(text)
      mark -> text |> skip(byte_size(mark)) |> String.split(mark, parts: 2) |> string()
    end
  end

  defp string([string, rest]), do: {string, rest}
  defp string(_no_end), do: throw(:error)

  defp plain(text) do
    case Regex.run(~r/\A(?:"(?:[^"\\]|\\.)*"|[^,{}\[\]]+)/su, text) do
      [found] -> {decoded(String.trim(found)), skip(text, byte_size(found))}
      nil -> throw(:error)
    end
  end

  defp decoded(text) do
    case JSON.decode(text) do
      {:ok, value} -> value
      {:error, _reason} -> text
    end
  end

  @doc "Whether a text ends inside a string."
  @spec open?(String.t()) :: boolean()
  def open?(text), do: Enum.any?(@marks, &(rem(length(:binary.matches(text, &1)), 2) == 1))

  defp mark(text), do: Enum.find(@marks, &String.starts_with?(text, &1))
  defp skip(text, size), do: binary_part(text, size, byte_size(text) - size)
  defp blank(text), do: String.trim_leading(text)
end
