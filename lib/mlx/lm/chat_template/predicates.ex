defmodule Mlx.LM.ChatTemplate.Predicates do
  @moduledoc false
  # The tests behind `is`.

  alias Mlx.LM.ChatTemplate.{Dict, Problem, Text, Value}

  @equal ["equalto", "eq", "=="]
  @callable [:method, :builtin, :macro, :recursion]

  @doc "Whether `value is name(arguments)`."
  @spec true?(String.t(), Value.t(), [Value.t()]) :: boolean
  def true?(name, value, arguments \\ [])
  def true?("defined", value, []), do: not undefined?(value)
  def true?("undefined", value, []), do: undefined?(value)
  def true?("none", value, []), do: value == nil
  def true?("boolean", value, []), do: is_boolean(value)
  def true?("true", value, []), do: value == true
  def true?("false", value, []), do: value == false
  def true?("string", value, []), do: is_binary(value)
  def true?("number", value, []), do: Value.number?(value)
  def true?("integer", value, []), do: is_integer(value)
  def true?("float", value, []), do: is_float(value)
  def true?("mapping", value, []), do: is_struct(value, Dict)
  def true?("callable", value, []), do: is_function(value) or (is_tuple(value) and elem(value, 0) in @callable)
  def true?("iterable", value, []), do: undefined?(value) or sequence?(value)
  def true?("sequence", value, []), do: sequence?(value)
  def true?("odd", value, []), do: Integer.mod(integer(value), 2) == 1
  def true?("even", value, []), do: Integer.mod(integer(value), 2) == 0
  def true?("divisibleby", value, [number]), do: Integer.mod(integer(value), divisor(number)) == 0
  def true?("lower", value, []), do: lower?(Value.string(value))
  def true?("upper", value, []), do: upper?(Value.string(value))
  def true?("escaped", _value, []), do: false
  def true?("in", value, [container]), do: Value.member?(value, container)
  def true?("sameas", value, [other]), do: value === other
  def true?(name, value, [other]) when name in @equal, do: Value.equal?(value, other)
  def true?(name, value, [other]) when name in ["ne", "!="], do: not Value.equal?(value, other)
  def true?(name, value, [other]) when name in ["lt", "lessthan", "<"], do: Value.compare(value, other) == :lt
  def true?(name, value, [other]) when name in ["gt", "greaterthan", ">"], do: Value.compare(value, other) == :gt
  def true?(name, value, [other]) when name in ["le", "<="], do: Value.compare(value, other) != :gt
  def true?(name, value, [other]) when name in ["ge", ">="], do: Value.compare(value, other) != :lt
  def true?(name, _value, arguments), do: Problem.fail("there is no test '#{name}' of #{length(arguments)} arguments")

  defp undefined?(value), do: match?({:undefined, _text}, value)

  defp sequence?({:tuple, _items}), do: true
  defp sequence?(value), do: is_binary(value) or is_list(value) or is_struct(value, Dict)

  defp lower?(text), do: text == Text.lower(text) and text != Text.upper(text)
  defp upper?(text), do: text == Text.upper(text) and text != Text.lower(text)

  defp integer(value) when is_integer(value), do: value
  defp integer(value) when is_boolean(value), do: Value.number(value)
  defp integer({:undefined, text}), do: Problem.fail(text)
  defp integer(value), do: Problem.fail("an integer is needed, not #{Value.type(value)}")

  defp divisor(0), do: Problem.fail("division by zero")
  defp divisor(number), do: integer(number)
end
