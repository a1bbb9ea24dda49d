defmodule Mlx.LM.ChatTemplate.Parser do
  @moduledoc false
  # Turns a template into a tree.
  #
  # Statements are `{:data, text}`, `{:output, line, expression}` and, for each tag, a tuple of its name, its line and its
  # parts. Expressions are tuples of a kind and its operands; precedence is Jinja's: `or`, `and`, `not`, comparisons and
  # `in`, `+ -`, `~`, `* / // %`, `**`, signs, and last filters and tests.

  alias Mlx.LM.ChatTemplate.{Lexer, Problem}

  @type expression :: tuple
  @type statement :: tuple

  @comparisons ~w(== != > >= < <=)

  @doc "The statements of a template. Raises `Mlx.Error` with the line of what is wrong."
  @spec parse(String.t()) :: [statement]
  def parse(source) do
    {statements, []} = source |> Lexer.tokens() |> body([], nil)
    statements
  end

  # Statements up to one of the `ends`, whose name is left in front.

  defp body([], statements, nil), do: {Enum.reverse(statements), []}
  defp body([], _statements, {_ends, open, line}), do: problem(line, "the #{open} block does not end")
  defp body([{:data, text, _line} | rest], statements, ends), do: body(rest, [{:data, text} | statements], ends)

  defp body([{:variable_begin, _tag, line} | rest], statements, ends) do
    {expression, rest} = tuple(rest, &expression/1)
    body(expect(rest, :variable_end), [{:output, line, expression} | statements], ends)
  end

  defp body([{:block_begin, _tag, line}, {:name, name, _} | rest] = tokens, statements, ends) do
    if ends != nil and name in elem(ends, 0) do
      {Enum.reverse(statements), tl(tokens)}
    else
      {statement, rest} = statement(name, line, rest)
      body(expect(rest, :block_end), [statement | statements], ends)
    end
  end

  defp body([{:block_begin, _tag, line} | _rest], _statements, _ends), do: problem(line, "a tag needs a name")

  # A body up to one of the names, which is taken, and what follows in that tag.
  defp block(rest, open, line, names) do
    {body, [{:name, name, _line} | rest]} = rest |> expect(:block_end) |> body([], {names, open, line})
    {body, name, rest}
  end

  defp statement("for", line, rest) do
    {target, rest} = target(rest)
    {over, rest} = rest |> expect({:name, "in"}) |> tuple(&disjunction/1)

    {filter, rest} =
      case rest do
        [{:name, "if", _line} | rest] -> expression(rest)
        _none -> {nil, rest}
      end

    {recursive, rest} = skip(rest, {:name, "recursive"})
    {body, name, rest} = block(rest, "for", line, ["endfor", "else"])

    {otherwise, rest} =
      case name do
        "else" -> block(rest, "for", line, ["endfor"]) |> then(fn {body, _name, rest} -> {body, rest} end)
        "endfor" -> {[], rest}
      end

    loop = %{target: target, over: over, filter: filter, body: body, otherwise: otherwise, recursive: recursive}
    {{:for, line, loop}, rest}
  end

  defp statement("if", line, rest) do
    {branches, otherwise, rest} = branches(rest, line, [])
    {{:if, line, branches, otherwise}, rest}
  end

  defp statement("set", line, rest) do
    {target, rest} = target(rest)

    case rest do
      [{:operator, "=", _line} | rest] ->
        {value, rest} = tuple(rest, &expression/1)
        {{:set, line, target, value}, rest}

      rest ->
        {filter, rest} = filters(:captured, rest)
        {body, _name, rest} = block(rest, "set", line, ["endset"])
        {{:set_block, line, target, filter, body}, rest}
    end
  end

  defp statement("macro", line, rest) do
    {name, rest} = name(rest)
    {parameters, rest} = parameters(rest)
    {body, _name, rest} = block(rest, "macro", line, ["endmacro"])
    {{:macro, line, name, parameters, body}, rest}
  end

  defp statement("call", line, rest) do
    {parameters, rest} =
      case rest do
        [{:operator, "(", _line} | _] -> parameters(rest)
        _none -> {[], rest}
      end

    {call, rest} = expression(rest)
    if elem(call, 0) != :call, do: problem(line, "a call block needs a call")
    {body, _name, rest} = block(rest, "call", line, ["endcall"])
    {{:call_block, line, parameters, call, body}, rest}
  end

  defp statement("filter", line, rest) do
    {filter, rest} = filter(:captured, rest)
    {filter, rest} = filters(filter, rest)
    {body, _name, rest} = block(rest, "filter", line, ["endfilter"])
    {{:filter_block, line, filter, body}, rest}
  end

  defp statement("with", line, rest) do
    {pairs, rest} = with_pairs(rest, [])
    {body, _name, rest} = block(rest, "with", line, ["endwith"])
    {{:with, line, pairs, body}, rest}
  end

  # Marks what the assistant said, for training; its text is the body's.
  defp statement("generation", line, rest) do
    {body, _name, rest} = block(rest, "generation", line, ["endgeneration"])
    {{:with, line, [], body}, rest}
  end

  defp statement("print", line, rest) do
    {expression, rest} = tuple(rest, &expression/1)
    {{:output, line, expression}, rest}
  end

  defp statement(name, line, rest) when name in ["break", "continue"], do: {{String.to_atom(name), line}, rest}
  defp statement(name, line, _rest), do: problem(line, "unknown tag '#{name}'")

  defp branches(rest, line, branches) do
    {condition, rest} = tuple(rest, &expression/1)
    {body, name, rest} = block(rest, "if", line, ["elif", "else", "endif"])
    branches = [{condition, body} | branches]

    case name do
      "elif" ->
        branches(rest, line, branches)

      "else" ->
        {otherwise, _name, rest} = block(rest, "if", line, ["endif"])
        {Enum.reverse(branches), otherwise, rest}

      "endif" ->
        {Enum.reverse(branches), [], rest}
    end
  end

  defp with_pairs([{:block_end, _value, _line} | _] = rest, pairs), do: {Enum.reverse(pairs), rest}

  defp with_pairs(rest, pairs) do
    {target, rest} = target(rest)
    {value, rest} = rest |> expect({:operator, "="}) |> expression()
    {_comma, rest} = skip(rest, {:operator, ","})
    with_pairs(rest, [{target, value} | pairs])
  end

  defp parameters(rest), do: rest |> expect({:operator, "("}) |> parameters([])

  defp parameters([{:operator, ")", _line} | rest], parameters), do: {Enum.reverse(parameters), rest}

  defp parameters(rest, parameters) do
    rest = if parameters == [], do: rest, else: expect(rest, {:operator, ","})
    {name, rest} = name(rest)

    case rest do
      [{:operator, "=", _line} | rest] ->
        {default, rest} = expression(rest)
        parameters(rest, [{name, default} | parameters])

      rest ->
        parameters(rest, [{name, nil} | parameters])
    end
  end

  # What a value is assigned to: a name, an attribute of a namespace, or a tuple of these.

  defp target(rest) do
    {first, rest} = one_target(rest)

    case rest do
      [{:operator, ",", _line} | _] -> target_tuple(rest, [first])
      rest -> {first, rest}
    end
  end

  defp target_tuple([{:operator, ",", _comma}, {:name, name, _line} | _] = rest, targets) when name != "in" do
    {target, rest} = rest |> tl() |> one_target()
    target_tuple(rest, [target | targets])
  end

  defp target_tuple([{:operator, ",", _comma}, {:operator, "(", _line} | _] = rest, targets) do
    {target, rest} = rest |> tl() |> one_target()
    target_tuple(rest, [target | targets])
  end

  defp target_tuple([{:operator, ",", _line} | rest], targets), do: {{:tuple, Enum.reverse(targets)}, rest}
  defp target_tuple(rest, targets), do: {{:tuple, Enum.reverse(targets)}, rest}

  defp one_target([{:operator, "(", _line} | rest]) do
    {target, rest} = target(rest)
    {target, expect(rest, {:operator, ")"})}
  end

  defp one_target([{:name, name, _}, {:operator, ".", _}, {:name, attribute, _} | rest]) do
    {{:attribute, name, attribute}, rest}
  end

  defp one_target(rest) do
    {name, rest} = name(rest)
    {{:name, name}, rest}
  end

  # Expressions

  defp expression(rest) do
    {value, rest} = disjunction(rest)
    conditional(value, rest)
  end

  defp conditional(value, [{:name, "if", _line} | rest]) do
    {condition, rest} = disjunction(rest)

    case rest do
      [{:name, "else", _line} | rest] ->
        {otherwise, rest} = expression(rest)
        conditional({:if, condition, value, otherwise}, rest)

      rest ->
        conditional({:if, condition, value, nil}, rest)
    end
  end

  defp conditional(value, rest), do: {value, rest}

  defp disjunction(rest) do
    {left, rest} = conjunction(rest)
    disjunction(left, rest)
  end

  defp disjunction(left, [{:name, "or", _line} | rest]) do
    {right, rest} = conjunction(rest)
    disjunction({:or, left, right}, rest)
  end

  defp disjunction(left, rest), do: {left, rest}

  defp conjunction(rest) do
    {left, rest} = negation(rest)
    conjunction(left, rest)
  end

  defp conjunction(left, [{:name, "and", _line} | rest]) do
    {right, rest} = negation(rest)
    conjunction({:and, left, right}, rest)
  end

  defp conjunction(left, rest), do: {left, rest}

  defp negation([{:name, "not", _line} | rest]) do
    {value, rest} = negation(rest)
    {{:not, value}, rest}
  end

  defp negation(rest) do
    {value, rest} = sum(rest)

    case comparisons(rest, []) do
      {[], rest} -> {value, rest}
      {comparisons, rest} -> {{:compare, value, comparisons}, rest}
    end
  end

  defp comparisons([{:operator, operator, _line} | rest], list) when operator in @comparisons do
    comparison(operator, rest, list)
  end

  defp comparisons([{:name, "in", _line} | rest], list), do: comparison("in", rest, list)
  defp comparisons([{:name, "not", _}, {:name, "in", _} | rest], list), do: comparison("not in", rest, list)
  defp comparisons(rest, list), do: {Enum.reverse(list), rest}

  defp comparison(operator, rest, list) do
    {value, rest} = sum(rest)
    comparisons(rest, [{operator, value} | list])
  end

  defp sum(rest), do: chain(rest, ["+", "-"], &concatenation/1)

  defp concatenation(rest) do
    {first, rest} = product(rest)

    case concatenated(rest, [first]) do
      {[only], rest} -> {only, rest}
      {parts, rest} -> {{:concat, Enum.reverse(parts)}, rest}
    end
  end

  defp concatenated([{:operator, "~", _line} | rest], parts) do
    {part, rest} = product(rest)
    concatenated(rest, [part | parts])
  end

  defp concatenated(rest, parts), do: {parts, rest}

  defp product(rest), do: chain(rest, ["*", "/", "//", "%"], &power/1)
  defp power(rest), do: chain(rest, ["**"], &unary/1)

  # Binary operators of one precedence, from the left.
  defp chain(rest, operators, operand) do
    {left, rest} = operand.(rest)
    chain(left, rest, operators, operand)
  end

  defp chain(left, [{:operator, operator, _line} | after_operator] = rest, operators, operand) do
    if operator in operators do
      {right, rest} = operand.(after_operator)
      chain({:binary, operator, left, right}, rest, operators, operand)
    else
      {left, rest}
    end
  end

  defp chain(left, rest, _operators, _operand), do: {left, rest}

  defp unary(rest) do
    {value, rest} = signed(rest)
    filters_and_tests(value, rest)
  end

  defp signed([{:operator, sign, _line} | rest]) when sign in ["-", "+"] do
    {value, rest} = signed(rest)
    postfix({:sign, sign, value}, rest)
  end

  defp signed(rest) do
    {value, rest} = primary(rest)
    postfix(value, rest)
  end

  defp primary([{:name, name, _line} | rest]) when name in ["true", "True"], do: {{:constant, true}, rest}
  defp primary([{:name, name, _line} | rest]) when name in ["false", "False"], do: {{:constant, false}, rest}
  defp primary([{:name, name, _line} | rest]) when name in ["none", "None"], do: {{:constant, nil}, rest}
  defp primary([{:name, name, _line} | rest]), do: {{:name, name}, rest}

  defp primary([{:string, _text, _line} | _] = rest) do
    {strings, rest} = Enum.split_while(rest, &match?({:string, _text, _line}, &1))
    {{:constant, Enum.map_join(strings, &elem(&1, 1))}, rest}
  end

  defp primary([{type, number, _line} | rest]) when type in [:integer, :float], do: {{:constant, number}, rest}
  defp primary([{:operator, "(", _}, {:operator, ")", _} | rest]), do: {{:tuple, []}, rest}

  defp primary([{:operator, "(", _line} | rest]) do
    {value, rest} = tuple(rest, &expression/1)
    {value, expect(rest, {:operator, ")"})}
  end

  defp primary([{:operator, "[", _line} | rest]) do
    {items, rest} = list(rest, "]", &expression/1, [])
    {{:list, items}, rest}
  end

  defp primary([{:operator, "{", _line} | rest]) do
    {pairs, rest} = list(rest, "}", &pair/1, [])
    {{:dict, pairs}, rest}
  end

  defp primary(rest), do: unexpected(rest)

  defp pair(rest) do
    {key, rest} = expression(rest)
    {value, rest} = rest |> expect({:operator, ":"}) |> expression()
    {{key, value}, rest}
  end

  defp list([{:operator, close, _line} | rest], close, _element, items), do: {Enum.reverse(items), rest}

  defp list(rest, close, element, items) do
    {item, rest} = element.(rest)

    case rest do
      [{:operator, ",", _line} | rest] -> list(rest, close, element, [item | items])
      rest -> {Enum.reverse([item | items]), expect(rest, {:operator, close})}
    end
  end

  # One expression, or a tuple where there are commas.
  defp tuple(rest, element) do
    {first, rest} = element.(rest)

    case rest do
      [{:operator, ",", _line} | rest] -> tuple(rest, element, [first])
      rest -> {first, rest}
    end
  end

  defp tuple([{type, _value, _line} | _] = rest, _element, items) when type in [:block_end, :variable_end] do
    {{:tuple, Enum.reverse(items)}, rest}
  end

  defp tuple([{:operator, ")", _line} | _] = rest, _element, items), do: {{:tuple, Enum.reverse(items)}, rest}

  defp tuple(rest, element, items) do
    {item, rest} = element.(rest)

    case rest do
      [{:operator, ",", _line} | rest] -> tuple(rest, element, [item | items])
      rest -> {{:tuple, Enum.reverse([item | items])}, rest}
    end
  end

  defp postfix(value, [{:operator, ".", _}, {:name, name, _} | rest]), do: postfix({:attribute, value, name}, rest)

  defp postfix(value, [{:operator, ".", _}, {:integer, number, _} | rest]) do
    postfix({:item, value, {:constant, number}}, rest)
  end

  defp postfix(value, [{:operator, "[", _line} | rest]) do
    {subscripts, rest} = list(rest, "]", &subscript/1, [])

    case subscripts do
      [subscript] -> postfix({:item, value, subscript}, rest)
      subscripts -> postfix({:item, value, {:tuple, subscripts}}, rest)
    end
  end

  defp postfix(value, [{:operator, "(", _line} | _] = rest), do: call(value, rest, &postfix/2)
  defp postfix(value, rest), do: {value, rest}

  defp subscript(rest) do
    case bound(rest) do
      {start, [{:operator, ":", _line} | rest]} ->
        {stop, rest} = bound(rest)

        case rest do
          [{:operator, ":", _line} | rest] ->
            {step, rest} = bound(rest)
            {{:slice, start, stop, step}, rest}

          rest ->
            {{:slice, start, stop, nil}, rest}
        end

      {nil, rest} ->
        unexpected(rest)

      {index, rest} ->
        {index, rest}
    end
  end

  defp bound([{:operator, operator, _line} | _] = rest) when operator in [":", "]", ","], do: {nil, rest}
  defp bound(rest), do: expression(rest)

  defp call(value, [{:operator, "(", _line} | rest], continue) do
    {arguments, rest} = arguments(rest)
    continue.({:call, value, arguments}, rest)
  end

  # Arguments: `{:argument, value}`, `{:keyword, name, value}`, `{:arguments, value}` and `{:keywords, value}`.
  defp arguments(rest) do
    list(rest, ")", &argument/1, [])
  end

  defp argument([{:operator, "*", _line} | rest]), do: tagged(:arguments, expression(rest))
  defp argument([{:operator, "**", _line} | rest]), do: tagged(:keywords, expression(rest))

  defp argument([{:name, name, _}, {:operator, "=", _} | rest]) do
    {value, rest} = expression(rest)
    {{:keyword, name, value}, rest}
  end

  defp argument(rest), do: tagged(:argument, expression(rest))

  defp tagged(tag, {value, rest}), do: {{tag, value}, rest}

  defp filters_and_tests(value, [{:operator, "|", _line} | rest]) do
    {value, rest} = filter(value, rest)
    filters_and_tests(value, rest)
  end

  defp filters_and_tests(value, [{:name, "is", _}, {:name, "not", _} | rest]) do
    {test, rest} = test(value, rest)
    filters_and_tests({:not, test}, rest)
  end

  defp filters_and_tests(value, [{:name, "is", _line} | rest]) do
    {test, rest} = test(value, rest)
    filters_and_tests(test, rest)
  end

  defp filters_and_tests(value, [{:operator, "(", _line} | _] = rest), do: call(value, rest, &filters_and_tests/2)
  defp filters_and_tests(value, rest), do: {value, rest}

  defp filters(value, [{:operator, "|", _line} | rest]) do
    {value, rest} = filter(value, rest)
    filters(value, rest)
  end

  defp filters(value, rest), do: {value, rest}

  defp filter(value, rest) do
    {name, rest} = name(rest)

    case rest do
      [{:operator, "(", _line} | rest] ->
        {arguments, rest} = arguments(rest)
        {{:filter, value, name, arguments}, rest}

      rest ->
        {{:filter, value, name, []}, rest}
    end
  end

  defp test(value, rest) do
    {name, rest} = name(rest)
    {arguments, rest} = test_arguments(rest)
    {{:test, value, name, arguments}, rest}
  end

  defp test_arguments([{:operator, "(", _line} | rest]), do: arguments(rest)

  defp test_arguments([{:name, name, _line} | _] = rest) when name in ["else", "or", "and", "if", "is", "in", "not"] do
    {[], rest}
  end

  defp test_arguments([{type, value, _line} | _] = rest)
       when type in [:name, :string, :integer, :float] or (type == :operator and value in ["[", "{"]) do
    {argument, rest} = primary(rest)
    {argument, rest} = postfix(argument, rest)
    {[{:argument, argument}], rest}
  end

  defp test_arguments(rest), do: {[], rest}

  # Tokens

  defp name([{:name, name, _line} | rest]), do: {name, rest}
  defp name(rest), do: unexpected(rest)

  defp skip([{type, value, _line} | rest], {type, value}), do: {true, rest}
  defp skip(rest, _token), do: {false, rest}

  defp expect([{type, _value, _line} | rest], type), do: rest
  defp expect([{type, value, _line} | rest], {type, value}), do: rest
  defp expect(rest, _token), do: unexpected(rest)

  @spec unexpected([Lexer.token()]) :: no_return
  defp unexpected([{type, _value, line} | _]) when type in [:block_end, :variable_end] do
    problem(line, "unexpected end of the tag")
  end

  defp unexpected([{_type, value, line} | _]), do: problem(line, "unexpected #{inspect(value)}")

  @spec problem(pos_integer, String.t()) :: no_return
  defp problem(line, text), do: Problem.locate(line, fn -> Problem.fail(text) end)
end
