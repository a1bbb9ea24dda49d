defmodule Mlx.LM.HTTP.Structured do
  @moduledoc false
  # The structure that a request asks for, as the option `:grammar` of a generation.

  alias Mlx.LM.HTTP.Failure

  # It is there where the library was compiled with it.
  @grammar Mlx.LM.Grammar

  @any_object %{"type" => "object"}

  @doc """
  The options of a generation for `:text`, `:json_object` or `{:json_schema, schema}`, of the field `place`.

  A schema that cannot be a grammar is a failure that names the field.
  """
  @spec options(:text | :json_object | {:json_schema, map()}, String.t()) :: keyword()
  def options(:text, _place), do: []
  def options(:json_object, place), do: options({:json_schema, @any_object}, place)

  def options({:json_schema, schema}, place) do
    if Code.ensure_loaded?(@grammar) do
      [grammar: apply(@grammar, :json_schema, [schema])]
    else
      Failure.fail!(:unsupported, "the field #{place} is not supported: this server has no grammars", place)
    end
  rescue
    error in [ArgumentError, Mlx.Error] -> Failure.fail!(:invalid, "#{place}: #{Exception.message(error)}", place)
  end
end
