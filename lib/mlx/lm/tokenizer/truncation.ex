defmodule Mlx.LM.Tokenizer.Truncation do
  @moduledoc false
  # How tokens are cut to a length: the object `truncation` of a `tokenizer.json`, or an option.
  #
  # What is cut off is lost, so that `stride`, by which parts would overlap, changes nothing.

  alias Mlx.Arguments.Given
  alias Mlx.LM.Tokenizer.Fields

  @strategies %{"LongestFirst" => :longest_first, "OnlyFirst" => :only_first, "OnlySecond" => :only_second}
  @directions %{"Left" => :left, "Right" => :right}

  @defaults [max_length: nil, strategy: :longest_first, direction: :right]

  @type t :: %{
          max_length: non_neg_integer,
          strategy: :longest_first | :only_first | :only_second,
          direction: :left | :right
        }

  @doc "Reads the object; nil is none."
  @spec read(term, String.t()) :: t | nil
  def read(nil, _place), do: nil

  def read(object, place) do
    object = Fields.check(object, :object, place)

    %{
      max_length: Fields.get(object, "max_length", :count, place),
      strategy: @strategies[Fields.get(object, "strategy", {:one_of, Map.keys(@strategies)}, place, "LongestFirst")],
      direction: @directions[Fields.get(object, "direction", {:one_of, Map.keys(@directions)}, place, "Right")]
    }
  end

  @doc "The option `:truncation` of a function: `:file`, nil or a keyword list."
  @spec option(term, t | nil, String.t()) :: t | nil
  def option(:file, file, _called), do: file
  def option(nil, _file, _called), do: nil

  def option(options, _file, called) do
    with true <- Keyword.keyword?(options),
         {:ok, options} <- Keyword.validate(options, @defaults),
         settings = Map.new(options),
         true <- is_integer(settings.max_length) and settings.max_length >= 0,
         true <- settings.strategy in Map.values(@strategies) and settings.direction in [:left, :right] do
      settings
    else
      _wrong ->
        raise ArgumentError,
              "#{called}: expected :truncation to be :file, nil, or a list of :max_length, :strategy (:longest_first, " <>
                ":only_first or :only_second) and :direction (:right or :left), got: #{Given.text(options)}"
    end
  end

  @doc "The texts of a single one or of a pair, cut. `added` is the number of tokens that are put around them."
  @spec cut(t | nil, texts, non_neg_integer, String.t()) :: texts when texts: {[term]} | {[term], [term]}
  def cut(nil, texts, _added, _called), do: texts

  def cut(%{max_length: most} = settings, texts, added, called) do
    lengths = texts |> Tuple.to_list() |> Enum.map(&length/1)

    cond do
      most < added ->
        refuse(called, "a length of at least #{added}, the tokens that are put around texts, to cut to", most)

      Enum.sum(lengths) <= most - added ->
        texts

      true ->
        lengths = lengths(settings.strategy, lengths, most - added, called)
        texts |> Tuple.to_list() |> Enum.zip_with(lengths, &taken(&1, &2, settings.direction)) |> List.to_tuple()
    end
  end

  defp taken(ids, count, :right), do: Enum.take(ids, count)
  defp taken(_ids, 0, :left), do: []
  defp taken(ids, count, :left), do: Enum.take(ids, -count)

  defp lengths(_strategy, lengths, 0, _called), do: Enum.map(lengths, fn _length -> 0 end)
  defp lengths(:longest_first, [_length], room, _called), do: [room]

  defp lengths(:longest_first, [a, b], room, _called) when a > b,
    do: Enum.reverse(longest_first(b, room))

  defp lengths(:longest_first, [a, _b], room, _called), do: longest_first(a, room)
  defp lengths(:only_first, [a | rest], room, called), do: [left(a, Enum.sum(rest), room, called) | rest]
  defp lengths(:only_second, [a, b], room, called), do: [a, left(b, a, room, called)]

  defp lengths(:only_second, [_a], _room, called),
    do: refuse(called, "a pair of texts, of which the strategy :only_second cuts the second", "one text")

  # The shorter text keeps its tokens while it has not more than half.
  defp longest_first(shorter, room) do
    shorter = min(shorter, div(room, 2))
    [shorter, room - shorter]
  end

  defp left(length, other, room, called) do
    if length + other - room < length do
      room - other
    else
      refuse(called, "a text that is long enough to be cut alone, by #{length + other - room} tokens", length)
    end
  end

  @spec refuse(String.t(), String.t(), term) :: no_return
  defp refuse(called, expected, given),
    do: raise(ArgumentError, "#{called}: expected #{expected}, got: #{given}")
end
