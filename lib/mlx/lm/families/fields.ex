defmodule Mlx.LM.Families.Fields do
  @moduledoc """
  The fields of a `config.json`, read with the types that they must have.

  A key that is missing, or `null`, has the default; without one, and with a value of another type, it raises `Mlx.Error`
  with the key, the value and what was expected.

      iex> fields = Mlx.LM.Families.Fields.new(%{"hidden_size" => 64})
      iex> {Mlx.LM.Families.Fields.size(fields, "hidden_size"), Mlx.LM.Families.Fields.flag(fields, "bias", false)}
      {64, false}
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Arguments.Given

  @most 0x7FFFFFFF
  @most_layers 4096

  @enforce_keys [:map, :source]
  defstruct [:map, :source, under: []]

  @type t :: %__MODULE__{map: %{String.t() => term()}, source: String.t(), under: [String.t()]}

  @doc "The fields of a map. Errors name `source`, by default `config.json`."
  @spec new(%{String.t() => term()}, String.t()) :: t()
  def new(map, source \\ "config.json")

  def new(map, source) when is_map(map) and not is_struct(map) and is_binary(source) do
    %__MODULE__{map: map, source: source}
  end

  @doc "Whether a key has a value."
  @spec has?(t(), String.t()) :: boolean()
  def has?(%__MODULE__{map: map}, key), do: Map.get(map, key) != nil

  @doc "The fields with a value for a key that has none."
  @spec put_new(t(), String.t(), term()) :: t()
  def put_new(%__MODULE__{map: map} = fields, key, value) when is_binary(key) do
    if has?(fields, key), do: fields, else: %{fields | map: Map.put(map, key, value)}
  end

  @doc "The fields under a key, a JSON object, or `nil` when there are none."
  @spec under(t(), String.t()) :: t() | nil
  def under(%__MODULE__{} = fields, key) do
    case read(fields, key, [nil], &is_map/1, "an object") do
      nil -> nil
      map -> %{fields | map: map, under: [key | fields.under]}
    end
  end

  @doc "A positive integer."
  @spec size(t(), String.t(), pos_integer() | nil) :: pos_integer() | nil
  def size(fields, key, default), do: integer(fields, key, 1..@most, [default])

  @doc "A positive integer that must be there."
  @spec size(t(), String.t()) :: pos_integer()
  def size(%__MODULE__{} = fields, key), do: integer(fields, key, 1..@most, [])

  @doc "How many layers, of which there are at most #{@most_layers}."
  @spec layers(t(), String.t()) :: pos_integer()
  def layers(%__MODULE__{} = fields, key), do: integer(fields, key, 1..@most_layers, [])

  @doc "An integer of at least 0."
  @spec count(t(), String.t(), non_neg_integer() | nil) :: non_neg_integer() | nil
  def count(%__MODULE__{} = fields, key, default), do: integer(fields, key, 0..@most, [default])

  defp integer(fields, key, first..last//_ = range, default) do
    expected = if last == @most, do: "an integer of at least #{first}", else: "an integer from #{first} to #{last}"
    read(fields, key, default, &(is_integer(&1) and &1 in range), expected)
  end

  @doc "A number, of at most 30 digits."
  @spec number(t(), String.t(), number() | nil) :: number() | nil
  def number(fields, key, default), do: fields |> read(key, [default], &number?/1, "a number") |> short()

  @doc "A number that must be there."
  @spec number(t(), String.t()) :: number()
  def number(%__MODULE__{} = fields, key), do: fields |> read(key, [], &number?/1, "a number") |> short()

  @doc "A positive number."
  @spec positive(t(), String.t(), number() | nil) :: number() | nil
  def positive(fields, key, default), do: fields |> read(key, [default], &positive?/1, "a positive number") |> short()

  @doc "A positive number that must be there."
  @spec positive(t(), String.t()) :: number()
  def positive(%__MODULE__{} = fields, key), do: fields |> read(key, [], &positive?/1, "a positive number") |> short()

  # Numbers of models are not so large or small that a product of two is none.
  defp positive?(value), do: is_number(value) and value >= 1.0e-30 and value <= 1.0e30
  defp number?(value), do: is_number(value) and abs(value) <= 1.0e30

  # Integers of more digits than a machine has become floats.
  defp short(value) when is_integer(value) and abs(value) > 0x7FFFFFFFFFFFFFFF, do: value * 1.0
  defp short(value), do: value

  @doc "True or false."
  @spec flag(t(), String.t(), boolean()) :: boolean()
  def flag(%__MODULE__{} = fields, key, default), do: read(fields, key, [default], &is_boolean/1, "true or false")

  @doc "A string."
  @spec text(t(), String.t(), String.t() | nil) :: String.t() | nil
  def text(fields, key, default), do: read(fields, key, [default], &is_binary/1, "a string")

  @doc "A string that must be there."
  @spec text(t(), String.t()) :: String.t()
  def text(%__MODULE__{} = fields, key), do: read(fields, key, [], &is_binary/1, "a string")

  @doc "One of some strings."
  @spec choice(t(), String.t(), [String.t()], String.t() | nil) :: String.t() | nil
  def choice(%__MODULE__{} = fields, key, choices, default) when is_list(choices) do
    read(
      fields,
      key,
      [default],
      &(&1 in choices),
      "one of #{Enum.map_join(choices, ", ", fn choice -> inspect(choice) end)}"
    )
  end

  @doc "A list of so many elements, each of which is a string, a number or a boolean."
  @spec list(t(), String.t(), pos_integer(), list() | nil) :: list() | nil
  def list(%__MODULE__{} = fields, key, length, default) do
    valid? = fn value ->
      is_list(value) and length(value) == length and
        Enum.all?(value, &(is_binary(&1) or number?(&1) or is_boolean(&1)))
    end

    list = read(fields, key, [default], valid?, "a list of #{length} strings, numbers or booleans")
    list && Enum.map(list, &short/1)
  end

  @doc "Raises `Mlx.Error` for the value of a key."
  @spec refuse(t(), String.t(), String.t()) :: no_return()
  def refuse(%__MODULE__{map: map} = fields, key, expected) do
    path = [key | fields.under] |> Enum.reverse() |> Enum.join(".")
    given = if map[key] == nil, do: "is missing", else: "is #{Given.text(map[key])}"
    raise Mlx.Error, message: "#{fields.source}: #{path} #{given}, expected #{expected}"
  end

  defp read(%__MODULE__{map: map} = fields, key, default, valid?, expected) do
    case {Map.get(map, key), default} do
      {nil, [default]} -> default
      {value, _default} -> if value != nil and valid?.(value), do: value, else: refuse(fields, key, expected)
    end
  end
end
