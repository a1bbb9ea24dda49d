defmodule Mlx.LM.ChatTemplate.Evaluator do
  @moduledoc false
  # Runs the tree of a template.
  #
  # Names live in frames, innermost first: a for block (each round anew), a macro, a `with`, `call`, `filter` or `set` block
  # has one of its own, so that what it sets ends with it; `if` has none. Only namespaces outlive that. They are kept aside
  # by number, and the state goes through every expression, because a macro that is called may change one.
  #
  # A template is not trusted. It has a budget of work that each expression and the size of what it makes are taken from, and
  # macros and recursive loops must not nest deeper than 200.

  alias Mlx.LM.ChatTemplate.{Access, Dict, Filters, Methods, Predicates, Problem, Value}

  @work 4_000_000
  # What is made costs a unit for each so many bytes.
  @bytes_of_work 64
  @max_depth 200
  @max_range 100_000

  @builtins ~w(dict namespace raise_exception range strftime_now)

  defstruct frames: [%{}], namespaces: %{}, work: @work, depth: 0

  @doc "The text that the statements give with these variables, a map of names to values."
  @spec render([tuple], %{String.t() => Value.t()}) :: String.t()
  def render(statements, variables) do
    {_signal, text, _state} = body(statements, [], %__MODULE__{frames: [variables]})
    IO.iodata_to_binary(text)
  end

  # Statements. The text so far goes along; the signal is `:next`, or `:break` or `:continue` on the way to a loop.

  defp body([], text, state), do: {:next, text, state}

  defp body([{:data, data} | rest], text, state), do: body(rest, [text | data], spend(state, data))

  defp body([statement | rest], text, state) do
    case Problem.locate(elem(statement, 1), fn -> statement(statement, text, state) end) do
      {:next, text, state} -> body(rest, text, state)
      stopped -> stopped
    end
  end

  # The text of a body, in a frame of its own.
  defp captured(body, state) do
    {_signal, text, inner} = body(body, [], push(state, %{}))
    {IO.iodata_to_binary(text), %{inner | frames: state.frames}}
  end

  defp statement({:output, _line, expression}, text, state) do
    {value, state} = eval(expression, state)
    output = Value.string(value)
    {:next, [text | output], spend(state, output)}
  end

  defp statement({:if, _line, branches, otherwise}, text, state), do: branch(branches, otherwise, text, state)

  defp statement({:set, _line, target, expression}, text, state) do
    {value, state} = eval(expression, state)
    {:next, text, assign(target, value, state)}
  end

  defp statement({:set_block, _line, target, filter, body}, text, state) do
    {value, state} = captured(body, state)
    {value, state} = eval(with_captured(filter, value), state)
    {:next, text, assign(target, value, state)}
  end

  defp statement({:filter_block, _line, filter, body}, text, state) do
    {value, state} = captured(body, state)
    {value, state} = eval(with_captured(filter, value), state)
    {:next, [text | Value.string(value)], state}
  end

  defp statement({:with, _line, pairs, body}, text, state) do
    {frame, inner} =
      Enum.reduce(pairs, {%{}, state}, fn {target, expression}, {frame, state} ->
        {value, state} = eval(expression, state)
        [frame] = assign(target, value, %{state | frames: [frame]}).frames
        {frame, state}
      end)

    {signal, text, inner} = body(body, text, push(inner, frame))
    {signal, text, %{inner | frames: state.frames}}
  end

  defp statement({:macro, _line, name, parameters, body}, text, state) do
    # A macro sees the names of the template as they are when it is called, and those around it as they are now.
    around = Enum.drop(state.frames, -1)
    {:next, text, assign({:name, name}, {:macro, name, parameters, body, around}, state)}
  end

  defp statement({:call_block, _line, parameters, {:call, callee, arguments}, body}, text, state) do
    caller = {:macro, "caller", parameters, body, Enum.drop(state.frames, -1)}
    {value, state} = eval({:call, callee, arguments ++ [{:keyword, "caller", {:constant, caller}}]}, state)
    {:next, [text | Value.string(value)], state}
  end

  defp statement({:for, _line, loop}, text, state) do
    {value, state} = eval(loop.over, state)
    run_loop(loop, value, 0, text, state)
  end

  defp statement({signal, _line}, text, state) when signal in [:break, :continue], do: {signal, text, state}

  defp branch([], otherwise, text, state), do: body(otherwise, text, state)

  defp branch([{condition, body} | rest], otherwise, text, state) do
    {value, state} = eval(condition, state)
    if Value.true?(value), do: body(body, text, state), else: branch(rest, otherwise, text, state)
  end

  defp with_captured(:captured, text), do: {:constant, text}

  defp with_captured({:filter, value, name, arguments}, text),
    do: {:filter, with_captured(value, text), name, arguments}

  # Loops

  defp run_loop(loop, value, depth, text, state) do
    {items, state} = value |> Value.items() |> chosen(loop, state)

    case items do
      [] ->
        {signal, text, inner} = body(loop.otherwise, text, push(state, %{}))
        {signal, text, %{inner | frames: state.frames}}

      items ->
        about = %{length: length(items), depth: depth, recursive: loop.recursive && {loop, state.frames}}
        rounds(items, 0, nil, loop, about, text, state)
    end
  end

  defp chosen(items, %{filter: nil}, state), do: {items, state}

  defp chosen(items, loop, state) do
    {items, inner} =
      Enum.flat_map_reduce(items, state, fn item, inner ->
        {keep, inner} = eval(loop.filter, assign(loop.target, item, push(%{inner | frames: state.frames}, %{})))
        {if(Value.true?(keep), do: [item], else: []), inner}
      end)

    {items, %{inner | frames: state.frames}}
  end

  defp rounds([], _index, _previous, _loop, _about, text, state), do: {:next, text, state}

  defp rounds([item | rest], index, previous, loop, about, text, state) do
    frame = Map.merge(about, %{index: index, previous: previous, next: List.first(rest), last: rest == []})
    inner = assign(loop.target, item, state |> spend("") |> push(%{"loop" => {:loop, frame}}))
    {signal, text, inner} = body(loop.body, text, inner)
    state = %{inner | frames: state.frames}
    if signal == :break, do: {:next, text, state}, else: rounds(rest, index + 1, {item}, loop, about, text, state)
  end

  defp loop_attribute(loop, name) do
    case name do
      "index" -> loop.index + 1
      "index0" -> loop.index
      "revindex" -> loop.length - loop.index
      "revindex0" -> loop.length - loop.index - 1
      "first" -> loop.index == 0
      "last" -> loop.last
      "length" -> loop.length
      "depth" -> loop.depth + 1
      "depth0" -> loop.depth
      "previtem" -> previous(loop.previous)
      "nextitem" -> if loop.last, do: {:undefined, "there is no next item"}, else: loop.next
      "cycle" -> {:method, {:loop, loop}, "cycle"}
      name -> {:undefined, "'loop' has no attribute '#{name}'"}
    end
  end

  defp previous({item}), do: item
  defp previous(nil), do: {:undefined, "there is no previous item"}

  # Names

  defp push(state, frame), do: %{state | frames: [frame | state.frames]}

  defp assign({:name, name}, value, %{frames: [frame | frames]} = state) do
    %{state | frames: [Map.put(frame, name, value) | frames]}
  end

  defp assign({:tuple, targets}, value, state) do
    items = Value.items(value)

    if length(items) != length(targets) do
      Problem.fail("#{length(targets)} values are needed to unpack, not #{length(items)}")
    end

    targets |> Enum.zip(items) |> Enum.reduce(state, fn {target, item}, state -> assign(target, item, state) end)
  end

  defp assign({:attribute, name, attribute}, value, state) do
    case lookup(name, state) do
      {:namespace, id} -> put_in(state.namespaces[id][attribute], value)
      {:undefined, text} -> Problem.fail(text)
      _other -> Problem.fail("'#{name}' is not a namespace, so its attributes can't be set")
    end
  end

  defp lookup(name, state) do
    case Enum.find(state.frames, &is_map_key(&1, name)) do
      nil when name in @builtins -> {:builtin, name}
      nil -> {:undefined, "'#{name}' is undefined"}
      frame -> Map.fetch!(frame, name)
    end
  end

  # Expressions

  defp eval(expression, %{work: work} = state) when work > 0, do: expression(expression, %{state | work: work - 1})
  defp eval(_expression, _state), do: Problem.fail("the template takes too much work")

  defp expression({:constant, value}, state), do: {value, state}
  defp expression({:name, name}, state), do: {lookup(name, state), state}
  defp expression({:list, items}, state), do: eval_all(items, state)

  defp expression({:tuple, items}, state) do
    {items, state} = eval_all(items, state)
    {{:tuple, items}, state}
  end

  defp expression({:dict, pairs}, state) do
    {pairs, state} =
      Enum.map_reduce(pairs, state, fn {key, value}, state ->
        {key, state} = eval(key, state)
        {value, state} = eval(value, state)
        {{key, value}, state}
      end)

    {Dict.new(pairs), state}
  end

  defp expression({:slice, start, stop, step}, state) do
    {[start, stop, step], state} = eval_all([start, stop, step], state)
    {{:slice, start, stop, step}, state}
  end

  defp expression({:attribute, value, name}, state) do
    {value, state} = eval(value, state)
    {attribute(value, name, state), state}
  end

  defp expression({:item, value, key}, state) do
    {value, state} = eval(value, state)
    {key, state} = eval(key, state)
    paid(item(value, key, state), state)
  end

  defp expression({:filter, value, name, arguments}, state) do
    {value, state} = eval(value, state)
    {positional, keywords, state} = arguments(arguments, state)
    paid(Filters.call(name, value, positional, keywords), state)
  end

  defp expression({:test, value, name, arguments}, state) do
    {value, state} = eval(value, state)
    {positional, keywords, state} = arguments(arguments, state)
    if keywords != [], do: Problem.fail("the test '#{name}' takes no keywords")
    {Predicates.true?(name, value, positional), state}
  end

  defp expression({:call, callee, arguments}, state) do
    {callee, state} = eval(callee, state)
    {positional, keywords, state} = arguments(arguments, state)
    {value, state} = call(callee, positional, keywords, state)
    paid(value, state)
  end

  defp expression({:not, value}, state) do
    {value, state} = eval(value, state)
    {not Value.true?(value), state}
  end

  defp expression({:and, left, right}, state) do
    {value, state} = eval(left, state)
    if Value.true?(value), do: eval(right, state), else: {value, state}
  end

  defp expression({:or, left, right}, state) do
    {value, state} = eval(left, state)
    if Value.true?(value), do: {value, state}, else: eval(right, state)
  end

  defp expression({:if, condition, value, otherwise}, state) do
    {chosen, state} = eval(condition, state)

    cond do
      Value.true?(chosen) -> eval(value, state)
      otherwise == nil -> {{:undefined, "the inline if is false and has no else"}, state}
      true -> eval(otherwise, state)
    end
  end

  defp expression({:compare, value, comparisons}, state) do
    {value, state} = eval(value, state)
    comparisons(comparisons, value, state)
  end

  defp expression({:binary, operator, left, right}, state) do
    {left, state} = eval(left, state)
    {right, state} = eval(right, state)
    paid(Value.binary(operator, left, right), state)
  end

  defp expression({:concat, parts}, state) do
    {parts, state} = eval_all(parts, state)
    paid(parts |> Enum.map(&Value.string/1) |> Methods.join(""), state)
  end

  defp expression({:sign, sign, value}, state) do
    {value, state} = eval(value, state)
    {Value.sign(sign, value), state}
  end

  defp eval_all(expressions, state), do: Enum.map_reduce(expressions, state, &eval_or_nil/2)

  defp eval_or_nil(nil, state), do: {nil, state}
  defp eval_or_nil(expression, state), do: eval(expression, state)

  defp comparisons([], _left, state), do: {true, state}

  defp comparisons([{operator, right} | rest], left, state) do
    {right, state} = eval(right, state)
    if compare(operator, left, right), do: comparisons(rest, right, state), else: {false, state}
  end

  defp compare("==", left, right), do: Value.equal?(left, right)
  defp compare("!=", left, right), do: not Value.equal?(left, right)
  defp compare("<", left, right), do: Value.compare(left, right) == :lt
  defp compare(">", left, right), do: Value.compare(left, right) == :gt
  defp compare("<=", left, right), do: Value.compare(left, right) != :gt
  defp compare(">=", left, right), do: Value.compare(left, right) != :lt
  defp compare("in", left, right), do: Value.member?(left, right)
  defp compare("not in", left, right), do: not Value.member?(left, right)

  defp attribute({:namespace, id}, name, state) do
    case state.namespaces[id] do
      %{^name => value} -> value
      _none -> {:undefined, "the namespace has no attribute '#{name}'"}
    end
  end

  defp attribute({:loop, loop}, name, _state), do: loop_attribute(loop, name)
  defp attribute(value, name, _state), do: Access.attribute(value, name)

  defp item({kind, _} = value, name, state) when kind in [:namespace, :loop] and is_binary(name) do
    attribute(value, name, state)
  end

  defp item(value, key, _state), do: Access.item(value, key)

  # Calls

  defp arguments(arguments, state) do
    {positional, keywords, state} =
      Enum.reduce(arguments, {[], [], state}, fn argument, {positional, keywords, state} ->
        {value, state} = eval(argument_value(argument), state)

        case argument do
          {:argument, _value} -> {[[value] | positional], keywords, state}
          {:arguments, _value} -> {[Value.items(value) | positional], keywords, state}
          {:keyword, name, _value} -> {positional, [[{name, value}] | keywords], state}
          {:keywords, _value} -> {positional, [pairs(value) | keywords], state}
        end
      end)

    {positional |> Enum.reverse() |> Enum.concat(), keywords |> Enum.reverse() |> Enum.concat(), state}
  end

  defp argument_value({:keyword, _name, value}), do: value
  defp argument_value({_kind, value}), do: value

  defp pairs(%Dict{pairs: pairs}), do: pairs
  defp pairs(value), do: Problem.fail("the argument after ** is not a dict but a #{Value.type(value)}")

  defp call({:method, {:loop, loop}, "cycle"}, values, _keywords, state) do
    if values == [], do: Problem.fail("no items for cycling given")
    {Enum.at(values, rem(loop.index, length(values))), state}
  end

  defp call({:method, value, name}, positional, keywords, state) do
    {Methods.call(value, name, positional, keywords), state}
  end

  defp call({:macro, name, parameters, body, around}, positional, keywords, state) do
    inner = deeper(%{state | frames: around ++ [List.last(state.frames)]})
    inner = bind(parameters, positional, keywords, name, inner)
    {_signal, text, inner} = body(body, [], inner)
    {IO.iodata_to_binary(text), %{inner | frames: state.frames, depth: state.depth}}
  end

  defp call({:loop, %{recursive: {loop, frames}} = about}, [value], [], state) do
    {_signal, text, inner} = run_loop(loop, value, about.depth + 1, [], deeper(%{state | frames: frames}))
    {IO.iodata_to_binary(text), %{inner | frames: state.frames, depth: state.depth}}
  end

  defp call({:builtin, name}, positional, keywords, state), do: builtin(name, positional, keywords, state)

  defp call(function, positional, [], state) when is_function(function, length(positional)) do
    {function |> apply(positional) |> Value.from_term(), state}
  end

  defp call({:undefined, text}, _positional, _keywords, _state), do: Problem.fail(text)
  defp call(value, _positional, _keywords, _state), do: Problem.fail("'#{Value.type(value)}' object can't be called so")

  defp deeper(%{depth: @max_depth}), do: Problem.fail("macros or loops call each other more than #{@max_depth} deep")
  defp deeper(state), do: %{state | depth: state.depth + 1}

  # A macro's parameters, and what is left in `varargs`, `kwargs` and `caller`.
  defp bind(parameters, positional, keywords, name, state) do
    names = Enum.map(parameters, &elem(&1, 0))
    {given, left} = Enum.split(positional, length(names))

    {caller, keywords} =
      Enum.split_with(keywords, fn {keyword, _value} -> keyword == "caller" and "caller" not in names end)

    {named, others} = Enum.split_with(keywords, fn {keyword, _value} -> keyword in names end)

    case Enum.find(named, fn {keyword, _value} -> keyword in Enum.take(names, length(given)) end) do
      nil -> :ok
      {keyword, _value} -> Problem.fail("macro '#{name}' got two values for its argument '#{keyword}'")
    end

    frame = caller |> Map.new() |> Map.merge(%{"varargs" => {:tuple, left}, "kwargs" => Dict.new(others)})
    bind_each(parameters, given, named, push(state, frame))
  end

  defp bind_each([], [], _named, state), do: state

  defp bind_each([{name, _default} | parameters], [value | given], named, state) do
    bind_each(parameters, given, named, assign({:name, name}, value, state))
  end

  defp bind_each([{name, default} | parameters], [], named, state) do
    {value, state} =
      case {List.keyfind(named, name, 0), default} do
        {{_name, value}, _default} -> {value, state}
        {nil, nil} -> {{:undefined, "parameter '#{name}' was not provided"}, state}
        {nil, default} -> eval(default, state)
      end

    bind_each(parameters, [], named, assign({:name, name}, value, state))
  end

  defp builtin("raise_exception", [message], [], _state), do: Problem.fail(Value.string(message))

  defp builtin("strftime_now", [format], [], state) when is_binary(format) do
    {Calendar.strftime(NaiveDateTime.local_now(), format), state}
  rescue
    error in [ArgumentError, KeyError, FunctionClauseError] ->
      Problem.fail("bad time format: #{Exception.message(error)}")
  end

  defp builtin("range", bounds, [], state) do
    if not Enum.all?(bounds, &is_integer/1), do: Problem.fail("range() needs integers")

    range =
      case bounds do
        [stop] -> 0..(stop - 1)//1
        [start, stop] -> start..(stop - 1)//1
        [_start, _stop, 0] -> Problem.fail("the step of range() must not be zero")
        [start, stop, step] when step > 0 -> start..(stop - 1)//step
        [start, stop, step] -> start..(stop + 1)//step
        _other -> Problem.fail("range() takes one to three arguments")
      end

    if Range.size(range) > @max_range,
      do: Problem.fail("a range of #{Range.size(range)} is too long; the limit is #{@max_range}")

    {Enum.to_list(range), state}
  end

  defp builtin("dict", positional, keywords, state), do: {Dict.new(pairs_of(positional) ++ keywords), state}

  defp builtin("namespace", positional, keywords, state) do
    id = map_size(state.namespaces)
    values = Map.new(pairs_of(positional) ++ keywords)
    {{:namespace, id}, put_in(state.namespaces[id], values)}
  end

  defp builtin(name, _positional, _keywords, _state), do: Problem.fail("#{name}() got arguments that it does not take")

  defp pairs_of([]), do: []
  defp pairs_of([%Dict{pairs: pairs}]), do: pairs

  defp pairs_of([value]) do
    for pair <- Value.items(value) do
      case Value.items(pair) do
        [key, value] -> {key, value}
        _other -> Problem.fail("pairs are needed to make a dict")
      end
    end
  end

  defp pairs_of(_more), do: Problem.fail("one value is needed to make a dict")

  # Work

  defp paid(value, state), do: {value, spend(state, value)}

  defp spend(state, made), do: %{state | work: state.work - 1 - div(size(made), @bytes_of_work)}

  defp size(value) when is_binary(value), do: byte_size(value)
  defp size(value) when is_list(value), do: value |> length() |> Problem.list_size()
  defp size({:tuple, items}), do: size(items)
  defp size(%Dict{pairs: pairs}), do: size(pairs)
  defp size(_value), do: 0
end
