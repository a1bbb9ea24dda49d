defmodule Mlx.LM.HTTP.Structured do
  @moduledoc false
  # The structure that a request asks for, as the option `:grammar` of a generation.

  alias Mlx.LM.HTTP.Failure

  # It is there where the library was compiled with it.
  @grammar Mlx.LM.Grammar

  @any_object %{"type" => "object"}

  @doc "Whether there are grammars."
  @spec there?() :: boolean()
  def there?, do: Code.ensure_loaded?(@grammar)

  @doc """
  The options of a generation for `:text`, `:json_object` or `{:json_schema, schema}`, of the field `place`.

  `others` are those that the tools ask for, beside which there can be no structure. A schema that cannot be a grammar is a failure that names the field.
  """
  @spec options(:text | :json_object | {:json_schema, map()}, String.t(), keyword()) :: keyword()
  def options(format, place, others \\ [])

  def options(:text, _place, others), do: others

  def options(_format, place, [_ | _]),
    do: Failure.fail!(:unsupported, "the field #{place} is not supported beside a tool that must be called", place)

  def options(:json_object, place, []), do: options({:json_schema, @any_object}, place)

  def options({:json_schema, schema}, place, []) do
    if there?() do
      [grammar: apply(@grammar, :json_schema, [schema])]
    else
      Failure.fail!(:unsupported, "the field #{place} is not supported: this server has no grammars", place)
    end
  rescue
    error in [ArgumentError, Mlx.Error] -> Failure.fail!(:invalid, "#{place}: #{Exception.message(error)}", place)
  end
end
