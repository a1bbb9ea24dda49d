defmodule Mlx.LM.Tokenizer.Sequence do
  @moduledoc false
  # A part of a `tokenizer.json` that may be a sequence of such parts, also of sequences.

  alias Mlx.LM.Tokenizer.Fields

  @deepest 20

  @doc """
  The parts of an object in their order, each with its type, which is one of `kinds`, and its place. `field` is where a
  sequence has its parts. No object has no parts.
  """
  @spec parts(term, String.t(), [String.t()], String.t()) :: [{String.t(), map, String.t()}]
  def parts(nil, _place, _kinds, _field), do: []
  def parts(object, place, kinds, field), do: parts(object, place, kinds, field, 0)

  defp parts(_object, place, _kinds, _field, depth) when depth > @deepest,
    do: Fields.fail(place, "is in more than #{@deepest} sequences")

  defp parts(object, place, kinds, field, depth) do
    object = Fields.check(object, :object, place)

    case Fields.get(object, "type", {:one_of, kinds}, place) do
      "Sequence" ->
        object
        |> Fields.get(field, :list, place)
        |> Fields.each("#{place}.#{field}", &parts(&1, &2, kinds, field, depth + 1))
        |> Enum.concat()

      type ->
        [{type, object, place}]
    end
  end
end
