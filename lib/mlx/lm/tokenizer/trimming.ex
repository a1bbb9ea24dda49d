defmodule Mlx.LM.Tokenizer.Trimming do
  @moduledoc false
  # White space that does not count among what tokens stand for: the fields `trim_offsets` of the object `post_processor` of a
  # `tokenizer.json`.

  alias Mlx.LM.Tokenizer.Fields
  alias Mlx.LM.Tokenizer.Normalizer.Composition

  @typedoc """
  A step: whether a space may have been put in front of the first token, and the texts of a pair that have a token in front by
  then, where tokens are put around texts.
  """
  @type step :: %{prefix: boolean, behind: [0 | 1]}

  @type range :: {non_neg_integer, non_neg_integer}

  @behind %{"BertProcessing" => [0], "RobertaProcessing" => [0, 1]}
  @trimming ["ByteLevel", "RobertaProcessing"]

  @doc "Reads the steps of a post-processor, which is known to be one."
  @spec read(term, String.t()) :: [step]
  def read(object, place) do
    {steps, _behind} = object |> parts(place) |> Enum.flat_map_reduce([], &step/2)
    steps
  end

  defp parts(nil, _place), do: []

  defp parts(%{"type" => "Sequence", "processors" => parts}, place),
    do: parts |> Fields.each("#{place}.processors", &parts/2) |> Enum.concat()

  defp parts(object, place), do: [{object, place}]

  defp step({%{"type" => type} = object, place}, behind) do
    trims = type in @trimming and Fields.get(object, "trim_offsets", :boolean, place, true)
    step = %{prefix: trims and Fields.get(object, "add_prefix_space", :boolean, place, true), behind: behind}
    {if(trims, do: [step], else: []), Map.get(@behind, type, behind)}
  end

  @doc """
  The ranges of a token without white space at their ends. `written` is the token, `index` its number among those of the text,
  which is the first or second of a pair, and `added` says whether tokens are put around texts.
  """
  @spec trim([range], [step], String.t(), {non_neg_integer, 0 | 1}, boolean) :: [range]
  def trim(ranges, steps, written, {index, text}, added) do
    case {leading(written), trailing(written)} do
      {0, 0} ->
        ranges

      {leading, trailing} ->
        for range <- ranges do
          Enum.reduce(steps, range, fn %{prefix: prefix, behind: behind}, range ->
            first = index == 0 and not (added and text in behind)
            range |> trim_left(leading, prefix, first) |> trim_right(trailing)
          end)
        end
    end
  end

  # One space in front of the first token is one that was put there.
  defp trim_left({from, to}, 1, true, first) when first or from == 0, do: {from, to}
  defp trim_left({from, to}, leading, _prefix, _first), do: {min(from + leading, to), to}

  defp trim_right({from, to}, trailing) when trailing > 0 and to >= trailing, do: {from, max(to - trailing, from)}
  defp trim_right(range, _trailing), do: range

  defp leading(<<code::utf8, rest::binary>>), do: if(space?(code), do: 1 + leading(rest), else: 0)
  defp leading(_end), do: 0

  defp trailing(written),
    do: written |> String.to_charlist() |> Enum.reverse() |> Enum.take_while(&space?/1) |> length()

  # The alphabet of bytes has a character for the space.
  defp space?(?Ġ), do: true
  defp space?(code), do: Composition.white?(code)
end
