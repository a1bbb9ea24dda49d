defmodule Mlx.IO.JSON do
  @moduledoc false
  # Reads the JSON of headers, by Elixir's reader.
  #
  # A file that nobody trusts bounds neither the depth nor the digits, and may give a key two values. All three are refused
  # here.

  @max_depth 32
  @max_digits 40
  @shown_bytes 8

  @type value :: nil | boolean() | number() | String.t() | [value()] | %{String.t() => value()}

  @doc """
  The value of a text.

  Raises `Mlx.Error`, whose message names no path, when the text is not JSON in UTF-8, when an object has a key twice, and
  when values are too deep within each other or numbers too long.
  """
  @spec decode!(binary()) :: value()
  def decode!(text) do
    case JSON.decode(text, {0, nil}, decoders()) do
      {value, _outermost, rest} -> check_end!(value, skip_blanks(rest), text)
      {:error, {:unexpected_end, byte}} -> raise Mlx.Error, "an end of the text at byte #{byte}"
      {:error, {_invalid, byte, _bytes}} -> unexpected!(text, byte)
    end
  end

  # A list or an object that is being read is its depth and its values so far.
  defp decoders do
    [
      array_start: fn {depth, _outer} -> {deeper!(depth), []} end,
      array_push: fn value, {depth, values} -> {depth, [value | values]} end,
      array_finish: fn {_depth, values}, outer -> {Enum.reverse(values), outer} end,
      object_start: fn {depth, _outer} -> {deeper!(depth), %{}} end,
      object_push: fn key, value, {depth, values} -> {depth, put_new!(values, key, value)} end,
      object_finish: fn {_depth, values}, outer -> {values, outer} end,
      # A part of the text would keep all of it.
      string: &:binary.copy/1,
      integer: &String.to_integer(short!(&1)),
      # Where this raises, the reader returns an error with the place of the number.
      float: &String.to_float(short!(&1))
    ]
  end

  defp deeper!(depth) when depth < @max_depth, do: depth + 1
  defp deeper!(_depth), do: raise(Mlx.Error, "more than #{@max_depth} lists and objects within each other")

  defp put_new!(values, key, _value) when is_map_key(values, key) do
    raise Mlx.Error, "the key #{inspect(key, printable_limit: 100)} for a second time"
  end

  defp put_new!(values, key, value), do: Map.put(values, key, value)

  defp short!(digits) when byte_size(digits) <= @max_digits, do: digits

  defp short!(digits) do
    raise Mlx.Error, "a number of #{byte_size(digits)} characters, and #{@max_digits} are the most"
  end

  defp check_end!(value, "", _text), do: value
  defp check_end!(_value, rest, text), do: unexpected!(text, byte_size(text) - byte_size(rest))

  defp skip_blanks(<<blank, rest::binary>>) when blank in ~c" \n\r\t", do: skip_blanks(rest)
  defp skip_blanks(rest), do: rest

  @spec unexpected!(binary(), non_neg_integer()) :: no_return()
  defp unexpected!(text, byte) do
    shown = binary_part(text, byte, min(byte_size(text) - byte, @shown_bytes))
    raise Mlx.Error, "an unexpected #{inspect(shown)} at byte #{byte}"
  end
end
