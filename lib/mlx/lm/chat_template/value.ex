defmodule Mlx.LM.ChatTemplate.Value do
  @moduledoc false
  # The values of a template and what Python's operators do with them.
  #
  # `nil`, booleans, numbers, strings and lists are themselves, a dictionary is a `Mlx.LM.ChatTemplate.Dict`, and a tuple is
  # `{:tuple, list}`. `{:undefined, text}` is a name that has no value, with the complaint for whoever uses it. Functions,
  # methods, macros, namespaces and the `loop` of a for block are tuples of the evaluator.

  alias Mlx.Arguments.Given
  alias Mlx.LM.ChatTemplate.{Dict, Problem, Text}

  @type t :: term

  # What a number can grow to, in bits.
  @max_bits 65_536

  @doc """
  A template's value of an Elixir term: maps and keyword lists become dictionaries (a map in the order of its keys), atoms
  strings.
  """
  @spec from_term(term) :: t
  def from_term(term) when is_nil(term) or is_boolean(term) or is_number(term), do: term
  def from_term(term) when is_atom(term), do: Atom.to_string(term)
  def from_term(term) when is_function(term), do: term

  def from_term(term) when is_binary(term) do
    if String.valid?(term), do: term, else: String.replace_invalid(term)
  end

  def from_term(list) when is_list(list) do
    cond do
      List.improper?(list) -> refuse!(list)
      list != [] and Keyword.keyword?(list) -> dict(list)
      true -> Enum.map(list, &from_term/1)
    end
  end

  def from_term(term) when is_tuple(term), do: {:tuple, term |> Tuple.to_list() |> Enum.map(&from_term/1)}
  def from_term(%Dict{} = dict), do: dict
  def from_term(%_struct{} = term), do: refuse!(term)
  def from_term(term) when is_map(term), do: term |> Enum.sort() |> dict()
  def from_term(term), do: refuse!(term)

  @spec refuse!(term) :: no_return
  defp refuse!(term), do: raise(ArgumentError, "a chat template can't be given #{Given.text(term)}")

  defp dict(pairs), do: Dict.new(for {key, value} <- pairs, do: {from_term(key), from_term(value)})

  @doc "The name of a value's type."
  @spec type(t) :: String.t()
  def type(nil), do: "NoneType"
  def type(value) when is_boolean(value), do: "bool"
  def type(value) when is_integer(value), do: "int"
  def type(value) when is_float(value), do: "float"
  def type(value) when is_binary(value), do: "str"
  def type(value) when is_list(value), do: "list"
  def type(%Dict{}), do: "dict"
  def type({:tuple, _items}), do: "tuple"
  def type({:undefined, _text}), do: "Undefined"
  def type({:namespace, _id}), do: "Namespace"
  def type(_value), do: "function"

  @doc "Whether a value counts as true."
  @spec true?(t) :: boolean
  def true?(value) when value in [nil, false, "", [], {:tuple, []}], do: false
  def true?(%Dict{pairs: pairs}), do: pairs != []
  def true?({:undefined, _text}), do: false
  def true?(value), do: not (is_number(value) and value == 0)

  @doc "A value as it is printed."
  @spec string(t) :: String.t()
  def string(value) when is_binary(value), do: value
  def string({:undefined, _text}), do: ""
  def string(value), do: repr(value)

  @doc "A value as it is printed inside a list."
  @spec repr(t) :: String.t()
  def repr(value) do
    {text, _size} = repr(value, 0)
    IO.iodata_to_binary(text)
  end

  # The size so far goes along: a list may hold the same long value many times.
  defp repr(items, size) when is_list(items), do: repr_items(items, "[", "]", size)
  defp repr({:tuple, [item]}, size), do: repr_items([item], "(", ",)", size)
  defp repr({:tuple, items}, size), do: repr_items(items, "(", ")", size)

  defp repr(%Dict{pairs: pairs}, size) do
    {parts, size} =
      Enum.map_reduce(pairs, size, fn {key, value}, size ->
        {key, size} = repr(key, size)
        {value, size} = repr(value, size)
        {[key, ": ", value], size}
      end)

    {["{", Enum.intersperse(parts, ", "), "}"], Problem.check_size(size + 2)}
  end

  defp repr(value, size) do
    text = repr_one(value)
    {text, Problem.check_size(size + byte_size(text))}
  end

  defp repr_items(items, open, close, size) do
    {parts, size} = Enum.map_reduce(items, size + 2, &repr/2)
    {[open, Enum.intersperse(parts, ", "), close], Problem.check_size(size)}
  end

  defp repr_one(nil), do: "None"
  defp repr_one(true), do: "True"
  defp repr_one(false), do: "False"
  defp repr_one(value) when is_integer(value), do: Integer.to_string(value)
  defp repr_one(value) when is_float(value), do: Text.float(value)
  defp repr_one(value) when is_binary(value), do: Text.repr(value)
  defp repr_one({:undefined, _text}), do: "Undefined"
  defp repr_one(value), do: "<#{type(value)}>"

  @doc "The elements that a for block goes over."
  @spec items(t) :: [t]
  def items(value) when is_list(value), do: value
  def items(value) when is_binary(value), do: Text.points(value)
  def items(%Dict{} = dict), do: Dict.keys(dict)
  def items({:tuple, items}), do: items
  def items({:undefined, _text}), do: []
  def items(value), do: Problem.fail("'#{type(value)}' object is not iterable")

  @doc "The number of elements."
  @spec length(t) :: non_neg_integer
  def length(value) when is_binary(value), do: Text.length(value)
  def length(value) when is_list(value), do: Kernel.length(value)
  def length(%Dict{pairs: pairs}), do: Kernel.length(pairs)
  def length({:tuple, items}), do: Kernel.length(items)
  def length({:undefined, _text}), do: 0
  def length(value), do: Problem.fail("object of type '#{type(value)}' has no len()")

  # Comparison

  @doc "Python's `==`."
  @spec equal?(t, t) :: boolean
  def equal?(left, right) when is_boolean(left) and is_number(right), do: number(left) == right
  def equal?(left, right) when is_number(left) and is_boolean(right), do: left == number(right)
  def equal?({:undefined, _left}, {:undefined, _right}), do: true

  def equal?(left, right) when is_list(left) and is_list(right) do
    Kernel.length(left) == Kernel.length(right) and
      Enum.zip(left, right) |> Enum.all?(fn {left, right} -> equal?(left, right) end)
  end

  def equal?({:tuple, left}, {:tuple, right}), do: equal?(left, right)

  def equal?(%Dict{} = left, %Dict{} = right) do
    Kernel.length(left.pairs) == Kernel.length(right.pairs) and
      Enum.all?(left.pairs, fn {key, value} ->
        case Dict.fetch(right, key) do
          {:ok, other} -> equal?(value, other)
          :error -> false
        end
      end)
  end

  def equal?(left, right), do: left == right

  @doc "Python's order of two values: `:lt`, `:eq` or `:gt`."
  @spec compare(t, t) :: :lt | :eq | :gt
  def compare(left, right) when is_binary(left) and is_binary(right), do: order(left, right)
  def compare({:tuple, left}, {:tuple, right}), do: compare(left, right)

  def compare([left | lefts], [right | rights]) do
    if equal?(left, right), do: compare(lefts, rights), else: compare(left, right)
  end

  def compare(left, right) when is_list(left) and is_list(right), do: order(left != [], right != [])

  def compare(left, right) do
    if number?(left) and number?(right) do
      order(number(left), number(right))
    else
      check_defined(left)
      check_defined(right)
      Problem.fail("'#{type(left)}' and '#{type(right)}' have no order")
    end
  end

  defp order(left, right) when left < right, do: :lt
  defp order(left, right) when left == right, do: :eq
  defp order(_left, _right), do: :gt

  @doc "Python's `in`."
  @spec member?(t, t) :: boolean
  def member?(value, text) when is_binary(text) do
    if is_binary(value),
      do: value == "" or :binary.match(text, value) != :nomatch,
      else: Problem.fail("'in <string>' needs a string, not #{type(value)}")
  end

  def member?(value, %Dict{} = dict), do: Dict.member?(dict, value)
  def member?(value, container), do: container |> items() |> Enum.any?(&equal?(&1, value))

  # Arithmetic

  @doc "Whether a value is a number; booleans are."
  @spec number?(t) :: boolean
  def number?(value), do: is_number(value) or is_boolean(value)

  @doc "The number of a boolean; a number is itself."
  @spec number(number | boolean) :: number
  def number(true), do: 1
  def number(false), do: 0
  def number(value), do: value

  @doc "The value of `left operator right`."
  @spec binary(String.t(), t, t) :: t
  def binary(operator, {:undefined, text}, _right) when is_binary(operator), do: Problem.fail(text)
  def binary(_operator, _left, {:undefined, text}), do: Problem.fail(text)

  def binary("+", left, right) when is_binary(left) and is_binary(right) do
    Problem.check_size(byte_size(left) + byte_size(right))
    left <> right
  end

  def binary("+", left, right) when is_list(left) and is_list(right), do: concat(left, right)
  def binary("+", {:tuple, left}, {:tuple, right}), do: {:tuple, concat(left, right)}
  def binary("*", left, right) when is_integer(right) and not is_number(left), do: repeat(left, right)
  def binary("*", left, right) when is_integer(left) and not is_number(right), do: repeat(right, left)
  def binary("%", left, right) when is_binary(left), do: Mlx.LM.ChatTemplate.Format.percent(left, right)

  def binary(operator, left, right) do
    if number?(left) and number?(right) do
      arithmetic(operator, number(left), number(right))
    else
      unsupported(operator, left, right)
    end
  rescue
    ArithmeticError -> Problem.fail("the result of '#{operator}' is too large")
  end

  defp concat(left, right) do
    Problem.check_length(Kernel.length(left) + Kernel.length(right))
    left ++ right
  end

  defp repeat(empty, _times) when empty in ["", []], do: empty

  defp repeat(text, times) when is_binary(text) do
    Problem.check_size(byte_size(text) * max(times, 0))
    String.duplicate(text, max(times, 0))
  end

  defp repeat(items, times) when is_list(items) do
    Problem.check_length(Kernel.length(items) * max(times, 0))
    items |> List.duplicate(max(times, 0)) |> Enum.concat()
  end

  defp repeat({:tuple, items}, times), do: {:tuple, repeat(items, times)}
  defp repeat(value, times) when is_boolean(value), do: number(value) * times
  defp repeat(value, times), do: unsupported("*", value, times)

  defp arithmetic("+", left, right), do: check_bits(left + right)
  defp arithmetic("-", left, right), do: check_bits(left - right)
  defp arithmetic("*", left, right), do: check_bits(left * right)

  defp arithmetic(operator, _left, right) when operator in ["/", "//", "%"] and right == 0,
    do: Problem.fail("division by zero")

  defp arithmetic("/", left, right), do: left / right
  defp arithmetic("//", left, right) when is_integer(left) and is_integer(right), do: Integer.floor_div(left, right)
  defp arithmetic("//", left, right), do: Float.floor(left / right)
  defp arithmetic("%", left, right) when is_integer(left) and is_integer(right), do: Integer.mod(left, right)

  defp arithmetic("%", left, right) do
    remainder = :math.fmod(left, right)
    if remainder != 0 and remainder < 0 != right < 0, do: remainder + right, else: remainder
  end

  defp arithmetic("**", left, right) when is_integer(left) and is_integer(right) and right >= 0 do
    if abs(left) > 1 and Text.bits(left) * right > @max_bits * 8, do: Problem.fail("a number is too large")
    check_bits(Integer.pow(left, right))
  end

  defp arithmetic("**", left, right) when left == 0 and right < 0,
    do: Problem.fail("0.0 cannot be raised to a negative power")

  defp arithmetic("**", left, right), do: :math.pow(left, right)

  defp check_bits(number) when is_float(number), do: number

  defp check_bits(number) do
    if Text.bits(number) > @max_bits, do: Problem.fail("a number is too large"), else: number
  end

  @doc "A sign in front of a value."
  @spec sign(String.t(), t) :: number
  def sign(sign, value) do
    check_defined(value)
    if not number?(value), do: Problem.fail("bad operand type for unary #{sign}: '#{type(value)}'")
    if sign == "-", do: -number(value), else: number(value)
  end

  @spec unsupported(String.t(), t, t) :: no_return
  defp unsupported("+", left, right) when is_binary(left) or is_binary(right) do
    Problem.fail("can't add '#{type(left)}' and '#{type(right)}'; '~' joins what is not a string")
  end

  defp unsupported(operator, left, right) do
    Problem.fail("unsupported operand types for #{operator}: '#{type(left)}' and '#{type(right)}'")
  end

  @doc "Fails for an undefined value, and gives others back."
  @spec check_defined(t) :: t
  def check_defined({:undefined, text}), do: Problem.fail(text)
  def check_defined(value), do: value

  # Elements

  @doc "`value[index]` of a sequence, or `:error` where there is none."
  @spec at(t, integer) :: {:ok, t} | :error
  def at(text, index) when is_binary(text) do
    index = if index < 0, do: index + Text.length(text), else: index

    case index >= 0 && Text.part(text, index, 1) do
      char when char in [false, ""] -> :error
      char -> {:ok, char}
    end
  end

  def at({:tuple, items}, index), do: at(items, index)
  def at(items, index) when is_list(items), do: Enum.fetch(items, index)

  @doc "`value[start:stop:step]` of a sequence."
  @spec slice(t, integer | nil, integer | nil, integer | nil) :: t
  def slice(text, start, stop, step) when is_binary(text) and step in [nil, 1] do
    count = Text.length(text)
    {start, stop} = {bound(start, count, 0, 0, count), bound(stop, count, count, 0, count)}
    Text.part(text, start, max(stop - start, 0))
  end

  def slice(text, start, stop, step) when is_binary(text) do
    text |> Text.points() |> slice(start, stop, step) |> IO.iodata_to_binary()
  end

  def slice({:tuple, items}, start, stop, step), do: {:tuple, slice(items, start, stop, step)}

  def slice(items, start, stop, step) when is_list(items) do
    count = Kernel.length(items)

    case step || 1 do
      0 ->
        Problem.fail("slice step cannot be zero")

      step when step > 0 ->
        {start, stop} = {bound(start, count, 0, 0, count), bound(stop, count, count, 0, count)}
        items |> Enum.slice(start, max(stop - start, 0)) |> Enum.take_every(min(step, count + 1))

      step ->
        {start, stop} = {bound(start, count, count - 1, -1, count - 1), bound(stop, count, -1, -1, count - 1)}
        taken = items |> Enum.slice(stop + 1, max(start - stop, 0)) |> Enum.reverse()
        Enum.take_every(taken, min(-step, count + 1))
    end
  end

  defp bound(nil, _count, default, _low, _high), do: default
  defp bound(index, count, _default, low, high) when index < 0, do: min(max(index + count, low), high)
  defp bound(index, _count, _default, low, high), do: min(max(index, low), high)
end
