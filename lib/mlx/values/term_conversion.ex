defmodule Mlx.Values.TermConversion do
  @moduledoc false
  # Elixir terms as the bytes of an array, and back.
  #
  # A term is a number, a boolean, `:nan`, `:infinity`, `:neg_infinity`, a complex number `{real, imaginary}`, or a
  # list of terms of one shape. Bytes are row-major and native-endian.

  import Bitwise

  alias Mlx.Type

  # What the elements seen so far need, from least to most.
  @kinds [empty: 0, bool: 1, s32: 2, s64: 3, u64: 4, real: 5, complex: 6]
  for {kind, rank} <- @kinds, do: Module.put_attribute(__MODULE__, kind, rank)

  # Bits, quiet NaN, infinity, and the greatest number that is not rounded to infinity.
  @floats [
    {:f32, 32, 0x7FC00000, 0x7F800000, 3.4028235677973362e38},
    {:f64, 64, 0x7FF8000000000000, 0x7FF0000000000000, 1.7976931348623157e308}
  ]

  defguardp is_special(term) when term in [:nan, :infinity, :neg_infinity]
  defguardp is_real(term) when is_number(term) or is_boolean(term) or is_special(term)

  @doc """
  The bytes, shape and type of a term. The type is the smallest of `:bool`, `:s32`, `:s64`, `:u64`, `:f32` and `:c64`
  that holds every element; if `wanted` is a type with fractions, one of `:f32`, `:f64` and `:c64`. Fractions that become
  integers or booleans are in `:f64`, which holds every integer that a float of Elixir holds.
  """
  @spec encode(term(), Type.t() | nil) :: {binary(), [non_neg_integer()], Type.t()}
  def encode(term, wanted) do
    {sizes, kind} = scan(term, [])
    type = stored_type(kind, wanted)
    {put(term, length(sizes), type, <<>>), sizes, type}
  end

  defp stored_type(@complex, _wanted), do: :c64
  defp stored_type(_kind, :f64), do: :f64
  defp stored_type(@real, wanted) when wanted not in [nil, :f16, :bf16, :f32, :c64], do: :f64
  defp stored_type(kind, wanted) when kind in [@empty, @real] or wanted in [:f16, :bf16, :f32, :c64], do: :f32
  defp stored_type(@bool, _wanted), do: :bool
  defp stored_type(@s32, _wanted), do: :s32
  defp stored_type(@s64, _wanted), do: :s64
  defp stored_type(@u64, _wanted), do: :u64

  # Sizes and kind. `path` is the position of the term, innermost index first.

  defp scan([first | rest], path) when is_list(first) do
    {sizes, kind} = scan(first, [0 | path])
    {count, kind} = scan_rows(rest, 1, sizes, kind, path)
    {[count | sizes], kind}
  end

  defp scan(list, path) when is_list(list) do
    {count, kind} = scan_elements(list, 0, @empty, path)
    {[count], kind}
  end

  defp scan(element, path), do: {[], element_kind(element, path)}

  defp scan_rows([], count, _sizes, kind, _path), do: {count, kind}

  defp scan_rows([row | rest], index, sizes, kind, path) when is_list(row) do
    case scan(row, [index | path]) do
      {^sizes, row_kind} -> scan_rows(rest, index + 1, sizes, max(kind, row_kind), path)
      {other, _kind} -> ragged([index | path], "has the shape #{shape_text(other)}", "have #{shape_text(sizes)}")
    end
  end

  defp scan_rows([_element | _rest], index, sizes, _kind, path) do
    ragged([index | path], "is no list", "have the shape #{shape_text(sizes)}")
  end

  defp scan_rows(_tail, _index, _sizes, _kind, path), do: improper(path)

  defp scan_elements([], count, kind, _path), do: {count, kind}

  defp scan_elements([element | rest], index, kind, path) when is_float(element) do
    scan_elements(rest, index + 1, max(kind, @real), path)
  end

  defp scan_elements([element | rest], index, kind, path)
       when is_integer(element) and element in -0x80000000..0x7FFFFFFF do
    scan_elements(rest, index + 1, max(kind, @s32), path)
  end

  defp scan_elements([element | _rest], index, _kind, path) when is_list(element) do
    ragged([index | path], "is a list", "are none")
  end

  defp scan_elements([element | rest], index, kind, path) do
    scan_elements(rest, index + 1, max(kind, element_kind(element, [index | path])), path)
  end

  defp scan_elements(_tail, _index, _kind, path), do: improper(path)

  defp element_kind(element, _path) when is_boolean(element), do: @bool
  defp element_kind(element, _path) when is_integer(element) and element in -0x80000000..0x7FFFFFFF, do: @s32
  defp element_kind(element, _path) when is_integer(element) and element < 1 <<< 63, do: @s64
  defp element_kind(element, _path) when is_integer(element), do: @u64
  defp element_kind(element, _path) when is_float(element), do: @real
  defp element_kind(element, _path) when is_special(element), do: @real
  defp element_kind({real, imaginary}, _path) when is_real(real) and is_real(imaginary), do: @complex

  defp element_kind(element, path) do
    raise ArgumentError,
          "Mlx.array: expected numbers, booleans, :nan, :infinity, :neg_infinity, {real, imaginary} or lists of them, " <>
            "got #{inspect(element)}#{position(path)}"
  end

  defp ragged(path, what, expected) do
    raise ArgumentError, "Mlx.array: the element#{position(path)} #{what}, those before it #{expected}"
  end

  defp improper(path), do: raise(ArgumentError, "Mlx.array: the list#{position(path)} is improper")

  defp position([]), do: ""
  defp position(path), do: " at " <> (path |> Enum.reverse() |> Enum.map_join(&"[#{&1}]"))

  defp shape_text(sizes), do: sizes |> List.to_tuple() |> inspect()

  # Bytes, appended to `bytes`.

  defp put(element, 0, type, bytes), do: put_elements([element], type, bytes)
  defp put(list, 1, type, bytes), do: put_elements(list, type, bytes)
  defp put(list, rank, type, bytes), do: Enum.reduce(list, bytes, &put(&1, rank - 1, type, &2))

  defp put_elements(list, :f32, bytes), do: put_f32(list, bytes)
  defp put_elements(list, :f64, bytes), do: put_f64(list, bytes)
  defp put_elements(list, :c64, bytes), do: list |> Enum.flat_map(&parts/1) |> put_f32(bytes)
  defp put_elements(list, :bool, bytes), do: for(x <- list, into: bytes, do: <<if(x, do: 1, else: 0)>>)
  defp put_elements(list, type, bytes), do: put_integers(list, type, bytes)

  defp parts({real, imaginary}), do: [real, imaginary]
  defp parts(real), do: [real, 0]

  defp put_integers([], _type, bytes), do: bytes
  defp put_integers([true | rest], type, bytes), do: put_integers([1 | rest], type, bytes)
  defp put_integers([false | rest], type, bytes), do: put_integers([0 | rest], type, bytes)
  defp put_integers([x | rest], :s32, bytes), do: put_integers(rest, :s32, <<bytes::binary, x::native-32>>)

  defp put_integers([x | rest], :s64, bytes) when x >= -(1 <<< 63) do
    put_integers(rest, :s64, <<bytes::binary, x::native-64>>)
  end

  defp put_integers([x | rest], :u64, bytes) when x >= 0 and x < 1 <<< 64 do
    put_integers(rest, :u64, <<bytes::binary, x::native-64>>)
  end

  defp put_integers([x | _rest], type, _bytes) do
    raise ArgumentError, "Mlx.array: the integer #{x} does not fit in #{inspect(type)}"
  end

  for {type, bits, nan, infinity, limit} <- @floats, put = :"put_#{type}" do
    defp unquote(put)([x | rest], bytes) when is_float(x) and x >= -unquote(limit) and x <= unquote(limit) do
      unquote(put)(rest, <<bytes::binary, x::float-native-unquote(bits)>>)
    end

    defp unquote(put)([], bytes), do: bytes

    defp unquote(put)([x | rest], bytes) when is_special(x) do
      unquote(put)(rest, <<bytes::binary, word(x, unquote(bits))::native-unquote(bits)>>)
    end

    defp unquote(put)([x | rest], bytes), do: unquote(put)([to_float(x) | rest], bytes)

    defp word(:nan, unquote(bits)), do: unquote(nan)
    defp word(:infinity, unquote(bits)), do: unquote(infinity)
    defp word(:neg_infinity, unquote(bits)), do: unquote(infinity ||| 1 <<< (bits - 1))
  end

  # Only a float beyond the limit of `:f32` comes here.
  defp to_float(x) when is_float(x), do: if(x > 0, do: :infinity, else: :neg_infinity)
  defp to_float(x) when is_boolean(x), do: if(x, do: 1.0, else: 0.0)
  defp to_float(x) when x >= 1 <<< 1023, do: :infinity
  defp to_float(x) when x <= -(1 <<< 1023), do: :neg_infinity
  defp to_float(x), do: x * 1.0

  # Elements, from bytes.

  @doc "The elements of an array as nested lists, or alone when `sizes` is empty."
  @spec decode(binary(), [non_neg_integer()], Type.t()) :: term()
  def decode(bytes, [], type), do: bytes |> elements(type) |> hd()
  def decode(bytes, [_size], type), do: elements(bytes, type)

  def decode(bytes, [size | sizes], type) do
    stride = Type.bytes(type) * Enum.product(sizes)
    for index <- 0..(size - 1)//1, do: bytes |> binary_part(index * stride, stride) |> decode(sizes, type)
  end

  defp elements(bytes, :bool), do: for(<<x <- bytes>>, do: x != 0)
  defp elements(<<>>, _type), do: []

  for {type, bits} <- [u8: 8, u16: 16, u32: 32, u64: 64] do
    defp elements(bytes, unquote(type)), do: for(<<x::native-unquote(bits) <- bytes>>, do: x)
  end

  for {type, bits} <- [s8: 8, s16: 16, s32: 32, s64: 64] do
    defp elements(bytes, unquote(type)), do: for(<<x::signed-native-unquote(bits) <- bytes>>, do: x)
  end

  # A pattern for floats does not match infinities and NaN.
  for {type, bits, fraction_bits} <- [{:f16, 16, 10}, {:f32, 32, 23}, {:f64, 64, 52}] do
    defp elements(<<x::float-native-unquote(bits), rest::binary>>, unquote(type)) do
      [x | elements(rest, unquote(type))]
    end

    defp elements(<<word::native-unquote(bits), rest::binary>>, unquote(type)) do
      [special(<<word::unquote(bits)>>, unquote(fraction_bits)) | elements(rest, unquote(type))]
    end
  end

  # The upper half of the bits of an `:f32`.
  defp elements(<<word::native-16, rest::binary>>, :bf16) do
    element =
      case <<word::16, 0::16>> do
        <<x::float-32>> -> x
        bits -> special(bits, 23)
      end

    [element | elements(rest, :bf16)]
  end

  defp elements(bytes, :c64), do: bytes |> elements(:f32) |> pairs()

  defp special(bits, fraction_bits) do
    exponent_bits = bit_size(bits) - 1 - fraction_bits

    case bits do
      <<0::1, _exponent::size(exponent_bits), 0::size(fraction_bits)>> -> :infinity
      <<1::1, _exponent::size(exponent_bits), 0::size(fraction_bits)>> -> :neg_infinity
      _nan -> :nan
    end
  end

  defp pairs([real, imaginary | rest]), do: [{real, imaginary} | pairs(rest)]
  defp pairs([]), do: []
end
