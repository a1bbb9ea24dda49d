defmodule Mlx.Values.Printing do
  @moduledoc false
  # How `inspect/1` shows an array, its type and shape, and as many of its elements as `:limit` allows; and how
  # `to_string/1` does, the elements alone.
  #
  # What an element looks like depends on its `format`, the type and the number of decimals, which is nil for as many
  # digits as tell the number from others.

  import Inspect.Algebra

  alias Mlx.{Array, Native, PrintOptions}
  alias Mlx.Arguments.Presence
  alias Mlx.Values.{Reading, TermConversion}

  @indentation 2

  # Fraction bits, and the exponent of the smallest normal number.
  @precision %{f16: {10, -14}, bf16: {7, -126}, f32: {23, -126}, c64: {23, -126}}

  @spec inspect(Array.t(), Inspect.Opts.t()) :: Inspect.Algebra.t()
  def inspect(%Array{} = array, opts) do
    body = nest(concat([line(), header(array), line(), elements_or_reason(array, opts)]), 2)
    force_unfit(concat(["#Mlx.Array<", body, line(), ">"]))
  end

  @spec text(Array.t()) :: String.t()
  def text(%Array{} = array),
    do: array |> elements(%Inspect.Opts{width: :infinity}) |> format(:infinity) |> IO.iodata_to_binary()

  @doc "The type and the shape, as in `f32[2][3]`."
  @spec header(Array.t()) :: String.t()
  def header(%Array{type: type, shape: shape}) do
    Enum.map_join([type | Tuple.to_list(shape)], fn
      size when is_integer(size) -> "[#{size}]"
      type -> Atom.to_string(type)
    end)
  end

  # An array that cannot be read is inspected all the same: in error messages, in a debugger, in the shell.
  defp elements_or_reason(array, opts) do
    elements(array, opts)
  rescue
    error in [Mlx.Error, ArgumentError] -> Presence.reason(array, error)
  end

  defp elements(array, opts) do
    sizes = Tuple.to_list(array.shape)
    {shown, _rows} = shown_sizes(sizes, opts.limit)
    format = {array.type, PrintOptions.resolve(opts).precision}
    width = if opts.width == :infinity, do: :infinity, else: opts.width - @indentation

    {document, _limit} =
      array
      |> first_elements(sizes, shown)
      |> Reading.to_binary()
      |> TermConversion.decode(shown, array.type)
      |> render(sizes, {format, width}, opts.limit)

    document
  end

  # The sizes of the smallest box from the first corner that has the first `limit` elements.
  defp shown_sizes([], limit), do: {[], limit}
  defp shown_sizes(sizes, :infinity), do: {sizes, :infinity}

  defp shown_sizes([size | rest], limit) do
    {shown, rows} = shown_sizes(rest, limit)
    {[min(size, rows) | shown], ceil_div(rows, max(size, 1))}
  end

  defp ceil_div(a, b), do: div(a + b - 1, b)

  defp first_elements(array, same, same), do: array

  defp first_elements(array, sizes, shown) do
    Native.slice(array, List.duplicate(0, length(sizes)), shown, List.duplicate(1, length(sizes)), nil)
  end

  # The document of nested lists, and how many more elements may be shown. A layout is the format and the width.

  defp render(element, [], {format, _width}, limit), do: {element_text(element, format), decrement(limit)}

  defp render(list, [size], {format, width}, limit) do
    shown = if limit == :infinity, do: list, else: Enum.take(list, limit)
    texts = Enum.map(shown, &element_text(&1, format)) ++ if(length(shown) < size, do: ["..."], else: [])
    {row(texts, width), if(limit == :infinity, do: limit, else: limit - length(shown))}
  end

  defp render(rows, [size | sizes], {format, width}, limit) do
    layout = {format, narrower(width)}

    {documents, {shown, limit}} =
      Enum.flat_map_reduce(rows, {0, limit}, fn
        _row, {shown, 0} ->
          {[], {shown, 0}}

        row, {shown, limit} ->
          {document, limit} = render(row, sizes, layout, limit)
          {[document], {shown + 1, limit}}
      end)

    documents = documents ++ if(shown < size, do: ["..."], else: [])
    {bracket(documents), limit}
  end

  # As many elements in a line as the width allows, which `inspect/2` itself heeds only where it is pretty.
  defp row(texts, width) do
    rows = texts |> lines(width) |> Enum.intersperse(concat(",", line()))
    concat(["[", nest(concat(rows), 1), "]"])
  end

  # Texts, joined as long as they fit beside the bracket and a comma.
  defp lines([], _width), do: []

  defp lines([first | rest], width) do
    rest
    |> Enum.reduce([first], fn text, [line | above] ->
      longer = line <> ", " <> text
      if width == :infinity or String.length(longer) + 2 <= width, do: [longer | above], else: [text, line | above]
    end)
    |> Enum.reverse()
  end

  defp bracket([]), do: "[]"

  defp bracket(documents) do
    rows = documents |> Enum.intersperse(concat(",", line())) |> concat()
    concat(["[", nest(concat(line(), rows), 2), line(), "]"])
  end

  defp narrower(:infinity), do: :infinity
  defp narrower(width), do: width - @indentation

  defp decrement(:infinity), do: :infinity
  defp decrement(limit), do: limit - 1

  defp element_text({real, imaginary}, format) do
    sign = if negative?(imaginary), do: "", else: "+"
    element_text(real, format) <> sign <> element_text(imaginary, format) <> "i"
  end

  defp element_text(:nan, _format), do: "NaN"
  defp element_text(:infinity, _format), do: "Inf"
  defp element_text(:neg_infinity, _format), do: "-Inf"
  defp element_text(x, {:f64, nil}) when is_float(x), do: Float.to_string(x)
  defp element_text(x, {type, nil}) when is_float(x), do: Float.to_string(shortest(x, type, 1))
  defp element_text(x, {_type, 0}) when is_float(x), do: x |> round() |> Integer.to_string()
  defp element_text(x, {_type, decimals}) when is_float(x), do: to_string(:io_lib.format("~.*f", [decimals, x]))
  defp element_text(x, _format), do: to_string(x)

  defp negative?(:neg_infinity), do: true
  defp negative?(:nan), do: false
  defp negative?(:infinity), do: false
  defp negative?(x), do: x < 0 or <<x::float>> == <<-0.0::float>>

  # The number with the fewest decimal digits that is `x` in the precision of the type: 0.1 for 0.10000000149011612.
  defp shortest(x, type, digits) do
    {candidate, ""} = x |> :erlang.float_to_binary(scientific: digits - 1) |> Float.parse()
    if abs(candidate - x) < tolerance(x, type), do: candidate, else: shortest(x, type, digits + 1)
  end

  # Half of the distance to the next number of the type. Below a power of two it is half of that above, but for the
  # smallest numbers, which are all at one distance.
  defp tolerance(x, type) do
    <<_sign::1, exponent::11, fraction::52>> = <<x::float>>
    {fraction_bits, least} = Map.fetch!(@precision, type)
    half = 2.0 ** (max(exponent - 1023, least) - fraction_bits - 1)
    if fraction == 0 and exponent - 1023 > least, do: half / 2, else: half
  end
end
