defmodule Mlx.LM.Tokenizer.Pattern do
  @moduledoc false
  # The regular expressions of tokenizers, as Oniguruma reads them, and strings that are looked for as they are.
  #
  # Erlang's own regular expressions have the classes of another Unicode version, other white space, no intersections of
  # classes, and a limit that long texts reach. These take any text, and a number of steps that grows with the text.

  alias Mlx.LM.Tokenizer.Pattern.{Choice, Matcher, Parser}

  @typedoc "What is looked for."
  @opaque t :: {:string, binary} | {:nodes, [tuple], binary, String.t()}

  # The steps of a search: a number, and a number for each byte of the text.
  @steps 1_000_000
  @steps_per_byte 300

  @doc "A string that is looked for as it is."
  @spec string(String.t()) :: t
  def string(text), do: {:string, text}

  @doc "A regular expression, or what is wrong with it."
  @spec regex(String.t()) :: {:ok, t} | {:error, String.t()}
  def regex(source) do
    nodes = Parser.parse(source)
    beginnings = for byte <- 0..127, into: <<>>, do: if(Choice.begins(nodes, byte) == :no, do: <<0>>, else: <<1>>)
    {:ok, {:nodes, nodes, beginnings, source}}
  catch
    {:wrong, problem} -> {:error, problem}
  end

  @doc """
  The whole text in pieces, each its place, its size and whether it is a match. Only a match, or the one piece of an empty
  text, is empty.

      iex> {:ok, digits} = Mlx.LM.Tokenizer.Pattern.regex("\\\\d+")
      iex> Mlx.LM.Tokenizer.Pattern.tiles(digits, "a12b")
      [{0, 1, false}, {1, 2, true}, {3, 1, false}]
  """
  @spec tiles(t, String.t()) :: [{non_neg_integer, non_neg_integer, boolean}]
  def tiles(_pattern, ""), do: [{0, 0, false}]
  def tiles(pattern, text), do: pattern |> matches(text) |> tiles(byte_size(text), 0, [])

  defp tiles([{at, size} | matches], end_at, from, tiles) do
    tiles = if at > from, do: [{from, at - from, false} | tiles], else: tiles
    tiles(matches, end_at, at + size, [{at, size, true} | tiles])
  end

  defp tiles([], end_at, end_at, tiles), do: Enum.reverse(tiles)
  defp tiles([], end_at, from, tiles), do: Enum.reverse([{from, end_at - from, false} | tiles])

  @doc "Replaces every match."
  @spec replace(t, String.t(), String.t()) :: String.t()
  def replace({:string, ""}, text, _content), do: text
  def replace({:string, string}, text, content), do: :binary.replace(text, string, content, [:global])

  def replace(pattern, text, content) do
    for {at, size, match} <- tiles(pattern, text),
        into: "",
        do: if(match, do: content, else: binary_part(text, at, size))
  end

  defp matches({:string, ""}, _text), do: []
  defp matches({:string, string}, text), do: :binary.matches(text, string)

  defp matches({:nodes, nodes, beginnings, source}, text) do
    steps = :counters.new(1, [])
    :counters.put(steps, 1, @steps + @steps_per_byte * byte_size(text))

    try do
      search(nodes, beginnings, text, 0, nil, steps, [])
    catch
      :too_many_steps ->
        raise Mlx.Error,
              "the pattern #{inspect(String.slice(source, 0, 200))} takes too many steps on a text of " <>
                "#{byte_size(text)} bytes; give shorter texts"
    end
  end

  # An empty match right behind the last one is none.
  defp search(nodes, beginnings, text, at, last, steps, matches) do
    case find(nodes, beginnings, text, at, steps) do
      nil ->
        Enum.reverse(matches)

      {^at, ^at} when at == last ->
        further(nodes, beginnings, text, at, last, steps, matches)

      {from, from} ->
        further(nodes, beginnings, text, from, from, steps, [{from, 0} | matches])

      {from, to} ->
        search(nodes, beginnings, text, to, to, steps, [{from, to - from} | matches])
    end
  end

  defp further(nodes, beginnings, text, at, last, steps, matches) do
    case Matcher.next(text, at) do
      nil -> Enum.reverse(matches)
      {_code, size} -> search(nodes, beginnings, text, at + size, last, steps, matches)
    end
  end

  # The first match from a place on.
  defp find(nodes, beginnings, text, at, steps) do
    at = skip(text, at, beginnings)

    case Matcher.match(nodes, text, at, steps) do
      nil ->
        case Matcher.next(text, at) do
          nil -> nil
          {_code, size} -> find(nodes, beginnings, text, at + size, steps)
        end

      to ->
        {at, to}
    end
  end

  # The next place where a match can begin.
  defp skip(text, at, beginnings) do
    <<_before::binary-size(at), rest::binary>> = text
    skip_bytes(rest, at, beginnings)
  end

  defp skip_bytes(<<byte, rest::binary>> = text, at, beginnings) when byte < 128 and text != "" do
    if :binary.at(beginnings, byte) == 1, do: at, else: skip_bytes(rest, at + 1, beginnings)
  end

  defp skip_bytes(_rest, at, _beginnings), do: at
end
