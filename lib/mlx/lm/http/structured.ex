defmodule Mlx.LM.HTTP.Structured do
  @moduledoc false
  # The structure that a request asks for, as the option `:grammar` of a generation.

  alias Mlx.LM.Grammar
  alias Mlx.LM.HTTP.Failure

  @any_object %{"type" => "object"}

  @doc """
  The options of a generation for `:text`, `:json_object` or `{:json_schema, schema}`, of the field `place`.

  `others` are those that the tools ask for, beside which there can be no structure. A schema that cannot be a grammar is a
  failure that names the field.
  """
  @spec options(:text | :json_object | {:json_schema, map()}, String.t(), keyword()) :: keyword()
  def options(format, place, others \\ [])

  def options(:text, _place, others), do: others

  def options(_format, place, [_ | _]),
    do: Failure.fail!(:unsupported, "the field #{place} is not supported beside a tool that must be called", place)

  def options(:json_object, place, []), do: options({:json_schema, @any_object}, place)

  def options({:json_schema, schema}, place, []) do
    [grammar: Grammar.json_schema(schema)]
  rescue
    error in [ArgumentError, Mlx.Error] -> Failure.fail!(:invalid, "#{place}: #{Exception.message(error)}", place)
  end
end
