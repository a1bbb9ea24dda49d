defmodule Mlx.IO.JSON do
  @moduledoc false
  # Reads the JSON of headers, which Erlang does only from version 27 on.
  #
  # A file that nobody trusts bounds neither the depth nor the digits, so these are bounded here.

  @max_depth 32
  @max_digits 40

  @type value :: nil | boolean() | integer() | {:number, String.t()} | String.t() | [value()] | %{String.t() => value()}

  @doc """
  The value of a text. A number with a fraction or an exponent is `{:number, text}`: no header has a use for one.

  Raises `Mlx.Error`, whose message names no path, when the text is not JSON, or when an object has a key twice.
  """
  @spec decode!(binary()) :: value()
  def decode!(text) do
    {value, rest} = text |> skip() |> value(0)
    if skip(rest) == "", do: value, else: unexpected(skip(rest))
  catch
    {:stopped, what, rest} -> raise Mlx.Error, "#{what} at byte #{byte_size(text) - byte_size(rest)}"
  end

  defp value(rest, @max_depth), do: stop("more than #{@max_depth} values within each other", rest)
  defp value(<<?{, rest::binary>>, depth), do: object(skip(rest), depth + 1)
  defp value(<<?[, rest::binary>>, depth), do: list(skip(rest), depth + 1)
  defp value(<<?", rest::binary>>, _depth), do: string(rest, rest, 0, [])
  defp value(<<"true", rest::binary>>, _depth), do: {true, rest}
  defp value(<<"false", rest::binary>>, _depth), do: {false, rest}
  defp value(<<"null", rest::binary>>, _depth), do: {nil, rest}
  defp value(rest, _depth), do: number(rest)

  defp skip(<<blank, rest::binary>>) when blank in ~c" \n\r\t", do: skip(rest)
  defp skip(rest), do: rest

  # Objects and lists

  defp object(<<?}, rest::binary>>, _depth), do: {%{}, rest}
  defp object(rest, depth), do: pairs(rest, %{}, depth)

  defp pairs(<<?", rest::binary>> = at, pairs, depth) do
    {key, rest} = string(rest, rest, 0, [])
    if is_map_key(pairs, key), do: stop("the key #{inspect(key)} for a second time", at)
    {value, rest} = rest |> skip() |> expect(?:) |> skip() |> value(depth)
    pairs = Map.put(pairs, key, value)

    case skip(rest) do
      <<?,, rest::binary>> -> pairs(skip(rest), pairs, depth)
      rest -> {pairs, expect(rest, ?})}
    end
  end

  defp pairs(rest, _pairs, _depth), do: unexpected(rest)

  defp list(<<?], rest::binary>>, _depth), do: {[], rest}
  defp list(rest, depth), do: elements(rest, [], depth)

  defp elements(rest, elements, depth) do
    {value, rest} = value(rest, depth)

    case skip(rest) do
      <<?,, rest::binary>> -> elements(skip(rest), [value | elements], depth)
      rest -> {Enum.reverse(elements, [value]), expect(rest, ?])}
    end
  end

  # Strings

  # `text` begins where `parts` end, and its first `size` bytes are as they will be.
  defp string(<<?", rest::binary>>, text, size, parts) do
    string = IO.iodata_to_binary([parts | binary_part(text, 0, size)])
    if String.valid?(string), do: {string, rest}, else: stop("a string that is not UTF-8", rest)
  end

  defp string(<<?\\, rest::binary>>, text, size, parts) do
    {character, rest} = escaped(rest)
    string(rest, rest, 0, [parts, binary_part(text, 0, size) | <<character::utf8>>])
  end

  defp string(<<byte, rest::binary>>, text, size, parts) when byte >= 0x20, do: string(rest, text, size + 1, parts)
  defp string(rest, _text, _size, _parts), do: unexpected(rest)

  for {letter, character} <- [{?", ?"}, {?\\, ?\\}, {?/, ?/}, {?b, ?\b}, {?f, ?\f}, {?n, ?\n}, {?r, ?\r}, {?t, ?\t}] do
    defp escaped(<<unquote(letter), rest::binary>>), do: {unquote(character), rest}
  end

  # A character beyond 16 bits is two escapes, each with 10 of its bits.
  defp escaped(<<?u, digits::binary-4, rest::binary>> = at) do
    case {hex(digits, at), rest} do
      {high, <<"\\u", digits::binary-4, rest::binary>>} when high in 0xD800..0xDBFF ->
        {0x10000 + (high - 0xD800) * 0x400 + low(hex(digits, rest), rest), rest}

      {unit, rest} when unit not in 0xD800..0xDFFF ->
        {unit, rest}

      _half ->
        unexpected(at)
    end
  end

  defp escaped(rest), do: unexpected(rest)

  defp low(unit, _rest) when unit in 0xDC00..0xDFFF, do: unit - 0xDC00
  defp low(_unit, rest), do: unexpected(rest)

  defp hex(digits, at) do
    case Base.decode16(digits, case: :mixed) do
      {:ok, <<unit::16>>} -> unit
      :error -> unexpected(at)
    end
  end

  # Numbers

  defp number(<<?-, rest::binary>> = at), do: integer(rest, at, -1)
  defp number(rest), do: integer(rest, rest, 1)

  defp integer(<<?0, rest::binary>>, at, _sign), do: after_digits(rest, at, 0)
  defp integer(<<digit, _rest::binary>> = rest, at, sign) when digit in ?1..?9, do: digits(rest, at, sign, 0, 0)
  defp integer(_rest, at, _sign), do: unexpected(at)

  defp digits(<<digit, rest::binary>>, at, sign, number, count) when digit in ?0..?9 and count < @max_digits do
    digits(rest, at, sign, 10 * number + digit - ?0, count + 1)
  end

  defp digits(rest, at, sign, number, _count), do: after_digits(rest, at, sign * number)

  defp after_digits(<<byte, _rest::binary>>, at, _number) when byte in ~c".eE", do: no_integer(at)
  defp after_digits(<<digit, _rest::binary>>, at, _number) when digit in ?0..?9, do: unexpected(at)
  defp after_digits(rest, _at, number), do: {number, rest}

  defp no_integer(at) do
    start = binary_part(at, 0, min(byte_size(at), @max_digits))

    case Regex.run(~r/\A-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![0-9.eE])/, start) do
      [text] -> {{:number, text}, binary_part(at, byte_size(text), byte_size(at) - byte_size(text))}
      nil -> unexpected(at)
    end
  end

  # All

  defp expect(<<byte, rest::binary>>, byte), do: rest
  defp expect(rest, _byte), do: unexpected(rest)

  @spec unexpected(binary()) :: no_return()
  defp unexpected(""), do: stop("an end of the text", "")
  defp unexpected(rest), do: stop("an unexpected #{inspect(binary_part(rest, 0, min(byte_size(rest), 8)))}", rest)

  @spec stop(String.t(), binary()) :: no_return()
  defp stop(what, rest), do: throw({:stopped, what, rest})
end
