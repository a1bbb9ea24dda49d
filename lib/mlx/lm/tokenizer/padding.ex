defmodule Mlx.LM.Tokenizer.Padding do
  @moduledoc false
  # How encodings are filled up to a length: the object `padding` of a `tokenizer.json`, or an option.

  alias Mlx.Arguments.Given
  alias Mlx.LM.Tokenizer.Fields

  @directions %{"Left" => :left, "Right" => :right}

  # More tokens would fill the memory.
  @longest 16_777_216

  @type t :: %{
          length: :longest | non_neg_integer,
          multiple_of: pos_integer | nil,
          id: non_neg_integer,
          type: non_neg_integer,
          direction: :left | :right
        }

  @doc "Reads the object; nil is none."
  @spec read(term, String.t()) :: t | nil
  def read(nil, _place), do: nil

  def read(object, place) do
    object = Fields.check(object, :object, place)
    multiple = Fields.get(object, "pad_to_multiple_of", :count, place, 0)

    %{
      length: strategy(object["strategy"], "#{place}.strategy"),
      multiple_of: if(multiple > 0, do: multiple),
      id: Fields.get(object, "pad_id", :count, place, 0),
      type: Fields.get(object, "pad_type_id", :count, place, 0),
      direction: @directions[Fields.get(object, "direction", {:one_of, Map.keys(@directions)}, place, "Right")]
    }
  end

  defp strategy("BatchLongest", _place), do: :longest
  defp strategy(%{"Fixed" => length}, _place) when is_integer(length) and length in 0..@longest, do: length

  defp strategy(other, place) do
    Fields.fail(place, ~s(has to be "BatchLongest" or {"Fixed": N}, and is #{Given.text(other)}))
  end

  @doc "The option `:padding` of a function: `:file`, nil, or a keyword list. `id` is the padding token of the tokenizer."
  @spec option(term, t | nil, non_neg_integer | nil, String.t()) :: t | nil
  def option(:file, file, _id, _called), do: file
  def option(nil, _file, _id, _called), do: nil

  def option(options, file, id, called) do
    defaults = [length: :longest, multiple_of: nil, id: (file && file.id) || id || 0, type: 0, direction: :right]

    with true <- Keyword.keyword?(options),
         {:ok, options} <- Keyword.validate(options, defaults),
         settings = Map.new(options),
         true <- settings.length == :longest or count?(settings.length),
         true <- settings.multiple_of == nil or (count?(settings.multiple_of) and settings.multiple_of > 0),
         true <- count?(settings.id) and count?(settings.type) and settings.direction in [:left, :right] do
      settings
    else
      _wrong ->
        raise ArgumentError,
              "#{called}: expected :padding to be :file, nil, or a list of :length (:longest or a number of tokens), " <>
                ":multiple_of, :id, :type and :direction (:right or :left), got: #{Given.text(options)}"
    end
  end

  defp count?(value), do: is_integer(value) and value in 0..@longest

  @doc "The encodings, filled up to one length."
  @spec fill([map], t | nil) :: [map]
  def fill(encodings, nil), do: encodings
  def fill([], _settings), do: []

  def fill(encodings, settings) do
    length =
      if settings.length == :longest,
        do: encodings |> Enum.map(&length(&1.ids)) |> Enum.max(),
        else: settings.length

    length = multiple(length, settings.multiple_of)
    values = %{ids: settings.id, types: settings.type, special: 1, mask: 0, offsets: {0, 0}, byte_offsets: {0, 0}}
    for encoding <- encodings, do: filled(encoding, length - length(encoding.ids), values, settings.direction)
  end

  defp multiple(length, nil), do: length
  defp multiple(length, of), do: div(length + of - 1, of) * of

  defp filled(encoding, missing, _values, _direction) when missing <= 0, do: encoding

  defp filled(encoding, missing, values, direction) do
    Map.new(encoding, fn {key, list} ->
      more = List.duplicate(values[key], missing)
      {key, if(direction == :right, do: list ++ more, else: more ++ list)}
    end)
  end
end
