defmodule Mlx.LM.Tools.PythonLiteral do
  @moduledoc false
  # Reads the literals of Python and calls with named arguments, as models write them: `[look(city="Paris", days=[1, 2])]`.
  # The words of JSON, `true`, `false` and `null`, are read beside Python's.

  @words %{"True" => true, "False" => false, "None" => nil, "true" => true, "false" => false, "null" => nil}
  @escapes %{?n => "\n", ?t => "\t", ?r => "\r", ?\\ => "\\", ?' => "'", ?" => "\"", ?\n => "", ?0 => <<0>>}

  @type call :: {name :: String.t(), arguments :: %{String.t() => term()}}

  @doc "The value of a text that is one literal."
  @spec value(String.t()) :: {:ok, term()} | :error
  def value(text), do: whole(text, &literal/1)

  @doc "The calls of a text that is a list of calls, or one call."
  @spec calls(String.t()) :: {:ok, [call(), ...]} | :error
  def calls(text) do
    whole(text, fn
      "[" <> rest -> items(blank(rest), "]", [], &call/1)
      rest -> rest |> call() |> listed()
    end)
    |> case do
      {:ok, []} -> :error
      other -> other
    end
  end

  defp listed({call, rest}), do: {[call], rest}

  # The parts throw :error, which ends the reading.
  defp whole(text, read) do
    {value, rest} = text |> blank() |> read.()
    if blank(rest) == "", do: {:ok, value}, else: :error
  catch
    :error -> :error
  end

  defp call(text) do
    {name, rest} = name(text, "")

    case blank(rest) do
      "(" <> rest ->
        {pairs, rest} = items(blank(rest), ")", [], &argument/1)
        {{name, Map.new(pairs)}, rest}

      _other ->
        throw(:error)
    end
  end

  defp argument(text) do
    {name, rest} = name(text, "")

    with "=" <> rest <- blank(rest) do
      {value, rest} = rest |> blank() |> literal()
      {{name, value}, rest}
    else
      _other -> throw(:error)
    end
  end

  # A name may have points in it.
  defp name(<<c, rest::binary>>, name) when c in ?a..?z or c in ?A..?Z or c in ?0..?9 or c in [?_, ?., ?-],
    do: name(rest, <<name::binary, c>>)

  defp name(_rest, ""), do: throw(:error)
  defp name(rest, name), do: {name, rest}

  # What stands between commas, up to the end.
  defp items(text, stop, items, read) do
    if String.starts_with?(text, stop) do
      {Enum.reverse(items), binary_part(text, 1, byte_size(text) - 1)}
    else
      {item, rest} = read.(text)

      case blank(rest) do
        "," <> rest -> items(blank(rest), stop, [item | items], read)
        <<^stop::binary-size(1), rest::binary>> -> {Enum.reverse([item | items]), rest}
        _other -> throw(:error)
      end
    end
  end

  defp literal(<<quote, rest::binary>>) when quote in [?", ?'], do: string(rest, quote, [])
  defp literal("[" <> rest), do: items(blank(rest), "]", [], &literal/1)
  defp literal("(" <> rest), do: items(blank(rest), ")", [], &literal/1)

  defp literal("{" <> rest) do
    {pairs, rest} = items(blank(rest), "}", [], &pair/1)
    {Map.new(pairs), rest}
  end

  defp literal(text) do
    case Regex.run(~r/\A[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|\A[A-Za-z]+/, text) do
      [found] -> {plain(found), binary_part(text, byte_size(found), byte_size(text) - byte_size(found))}
      nil -> throw(:error)
    end
  end

  defp pair(text) do
    {key, rest} = literal(text)

    with ":" <> rest <- blank(rest) do
      {value, rest} = rest |> blank() |> literal()
      {{if(is_binary(key), do: key, else: JSON.encode!(key)), value}, rest}
    else
      _other -> throw(:error)
    end
  end

  defp plain(text) do
    case @words do
      %{^text => value} -> value
      _other -> number(String.replace(text, "_", ""))
    end
  end

  @doc "The number of a text that is one, or throws `:error`."
  @spec number(String.t()) :: number()
  def number(text) do
    case {Integer.parse(text), Float.parse(with_zeros(text))} do
      {{integer, ""}, _float} -> integer
      {_integer, {float, ""}} -> float
      _other -> throw(:error)
    end
  end

  # Python reads `1.` and `.5`.
  defp with_zeros(text), do: text |> String.replace(~r/\.(?!\d)/, ".0") |> String.replace(~r/(?<!\d)\./, "0.")

  defp string(<<?\\, code, rest::binary>>, quote, read) when is_map_key(@escapes, code),
    do: string(rest, quote, [read, @escapes[code]])

  defp string(<<"\\x", hex::binary-size(2), rest::binary>>, quote, read), do: code(hex, "\\x", rest, quote, read)
  defp string(<<"\\u", hex::binary-size(4), rest::binary>>, quote, read), do: code(hex, "\\u", rest, quote, read)
  defp string(<<"\\U", hex::binary-size(8), rest::binary>>, quote, read), do: code(hex, "\\U", rest, quote, read)
  defp string(<<quote, rest::binary>>, quote, read), do: {IO.iodata_to_binary(read), rest}
  defp string(<<c, rest::binary>>, quote, read), do: string(rest, quote, [read, c])
  defp string("", _quote, _read), do: throw(:error)

  defp code(hex, _sign, rest, quote, read) do
    with {code, ""} <- Integer.parse(hex, 16), true <- code in 0..0xD7FF or code in 0xE000..0x10FFFF do
      string(rest, quote, [read, <<code::utf8>>])
    else
      _other -> throw(:error)
    end
  end

  defp blank(text), do: String.trim_leading(text)
end
