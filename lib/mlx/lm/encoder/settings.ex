defmodule Mlx.LM.Encoder.Settings do
  @moduledoc false
  # Values of `config.json`, checked. A key may have several names, of which the first that is there counts.

  alias Mlx.Arguments.Given

  @type json :: %{String.t() => term()}
  @type key :: String.t() | [String.t()]

  # More than any model has; a greater number is a mistake in the file.
  @greatest_size 100_000_000
  @most_layers 1024

  @doc "A positive integer."
  @spec size!(json(), key(), pos_integer() | nil) :: pos_integer()
  def size!(json, key, default \\ nil) do
    check!(json, key, default, &(is_integer(&1) and &1 in 1..@greatest_size), "a positive integer")
  end

  @doc "A number of layers."
  @spec layers!(json(), key(), pos_integer() | nil) :: pos_integer()
  def layers!(json, key, default \\ nil) do
    check!(json, key, default, &(is_integer(&1) and &1 in 1..@most_layers), "an integer from 1 to #{@most_layers}")
  end

  @doc "A positive number."
  @spec number!(json(), key(), number() | nil) :: number()
  def number!(json, key, default \\ nil),
    do: check!(json, key, default, &(is_number(&1) and &1 > 0), "a positive number")

  @doc "A boolean."
  @spec boolean!(json(), key(), boolean()) :: boolean()
  def boolean!(json, key, default), do: check!(json, key, default, &is_boolean/1, "true or false")

  @doc "One of these values."
  @spec one_of!(json(), key(), term(), [term()]) :: term()
  def one_of!(json, key, default, values) do
    check!(json, key, default, &(&1 in values), "one of #{Enum.map_join(values, ", ", &inspect/1)}")
  end

  @doc "How many labels the classifier has."
  @spec labels!(json()) :: pos_integer()
  def labels!(%{"id2label" => %{} = labels}) when map_size(labels) > 0, do: map_size(labels)
  def labels!(json), do: size!(json, "num_labels", 2)

  @doc "Raises for values of which the first condition holds: `{condition, what the model does not have}`."
  @spec refuse!([{boolean(), String.t()}]) :: :ok
  def refuse!(conditions) do
    for {true, problem} <- conditions, do: fail!("#{problem}, which is not supported")
    :ok
  end

  defp check!(json, keys, default, valid?, expected) do
    {key, value} = fetch(json, List.wrap(keys), default)

    cond do
      valid?.(value) -> value
      value == nil -> fail!("#{key} is missing, expected #{expected}")
      true -> fail!("#{key} is #{Given.text(value)}, expected #{expected}")
    end
  end

  # A key with the value null is as if it was not there.
  defp fetch(json, [first | _] = keys, default) do
    Enum.find_value(keys, {first, default}, fn key -> if (value = json[key]) != nil, do: {key, value} end)
  end

  @doc "Raises `Mlx.Error` for the configuration."
  @spec fail!(String.t()) :: no_return()
  def fail!(problem), do: raise(Mlx.Error, message: "config.json: #{problem}")
end
