defmodule Mlx.Ops.Topic do
  @moduledoc false
  # `Mlx` has some hundreds of functions. Each lives in a topic module (`Mlx.Ops.Creation`, `Mlx.Ops.Reduction`, ...), with its
  # documentation, spec and doctests. `use Mlx.Ops.Topic` remembers them while the topic compiles, and `Mlx` calls
  # `Mlx.Ops.Topic.delegate/1` to define the public functions, which carry the same documentation and specs. The title of a
  # topic is the heading of its functions in the documentation, which has the topics in the order in which `Mlx` has them.
  #
  # What is remembered: every public function with a `@doc` text. Specs must name remote types only (`Mlx.Array.t()`,
  # aliases are fine), because they are compiled again inside `Mlx`.
  #
  # Arguments that no clause of a topic's function takes are told of as those of the public function: see `Mlx.Arguments.Mismatch`.

  alias Mlx.Arguments.Mismatch

  @doc "Collects the documented functions of the module that uses it. Option: `:title`."
  defmacro __using__(title: title) do
    quote do
      @doc false
      def __topic_title__, do: unquote(title)

      Module.register_attribute(__MODULE__, :topic, accumulate: true)
      Module.register_attribute(__MODULE__, :takes_all, accumulate: true)
      @on_definition Mlx.Ops.Topic
      @before_compile Mlx.Ops.Topic
    end
  end

  @doc false
  def __on_definition__(env, :def, name, arguments, guards, body) do
    if Mismatch.takes_all?(arguments, guards, body),
      do: Module.put_attribute(env.module, :takes_all, {name, length(arguments)})

    with {_line, text} when is_binary(text) <- Module.get_attribute(env.module, :doc) do
      Module.put_attribute(env.module, :topic, {name, Enum.map(arguments, &argument/1), text})
    end
  end

  def __on_definition__(_env, _kind, _name, _arguments, _guards, _body), do: :ok

  @doc false
  defmacro __before_compile__(env) do
    specs = Module.get_attribute(env.module, :spec)
    native = Module.get_attribute(env.module, :native, [])
    take_all = Module.get_attribute(env.module, :takes_all)

    functions =
      for {name, arguments, text} <- Enum.reverse(Module.get_attribute(env.module, :topic)) do
        specs = for {:spec, spec, _} <- specs, of?(spec, name, arguments), do: expand(spec, env)
        if specs == [] and native[name] == nil, do: without_spec!(env.module, name, arguments)
        {name, arguments, text, specs, native[name], {name, length(arguments)} in take_all}
      end

    quote do
      @doc false
      def __topic__, do: unquote(Macro.escape(functions))
    end
  end

  @doc "Defines, in the calling module, one function for each function of the topic modules."
  defmacro delegate(topics) do
    topics = for topic <- topics, do: Macro.expand(topic, __CALLER__)
    functions = for topic <- topics, function <- topic.__topic__(), do: public(function, topic)

    quote do
      require Mlx.NonFinite.Operations

      @doc false
      def __topics__, do: unquote(for topic <- topics, do: topic.__topic_title__())

      unquote_splicing(functions)
    end
  end

  @doc "The types of the arguments of a function of a topic."
  @spec types(module(), atom(), arity()) :: [Macro.t()]
  def types(topic, name, arity) do
    Enum.find_value(topic.__topic__(), fn {function, arguments, _text, specs, _native, _takes_all} ->
      if function == name and length(arguments) == arity, do: types(specs)
    end)
  end

  defp types([{:when, _, [spec, _variables]} | _]), do: types([spec])
  defp types([{:"::", _, [{_name, _, types}, _result]} | _]), do: types

  defp public({name, arguments, text, specs, nil, takes_all}, topic) do
    variables = Enum.map(arguments, &without_default/1)
    call = quote(do: unquote(topic).unquote(name)(unquote_splicing(variables)))
    body = checked(call, name, variables, topic)

    quote do
      @doc unquote(text)
      @doc topic: unquote(topic.__topic_title__())
      unquote_splicing(for spec <- specs, do: quote(do: @spec(unquote(spec))))

      def unquote(name)(unquote_splicing(arguments)) do
        unquote(if takes_all, do: body, else: refusing(body, topic, name))
      end
    end
  end

  defp public({name, arguments, text, _specs, native, _takes_all}, topic) do
    quote do
      @doc unquote(text)
      @doc topic: unquote(topic.__topic_title__())
      operation unquote(name)(unquote_splicing(Enum.drop(arguments, -1))), unquote(native)
    end
  end

  # A function that takes whatever it is given has no clause that is missed.
  defp refusing(body, topic, name) do
    quote do
      try do
        unquote(body)
      catch
        :error, reason -> Mismatch.reraise(reason, __STACKTRACE__, unquote(topic), __MODULE__, unquote(name))
      end
    end
  end

  # What has no operands is not looked through by `Mlx.NonFinite`: the numbers are the user's.
  @without_operands [Mlx.Ops.Creation, Mlx.Values.Attributes, Mlx.Values.Evaluation, Mlx.Values.Reading]

  defp checked(call, _name, _variables, topic) when topic in @without_operands, do: call

  defp checked(call, name, variables, _topic) do
    quote do
      Mlx.NonFinite.Operations.checked(unquote(quoted_name(name)), unquote(variables), do: unquote(call))
    end
  end

  defp quoted_name(name), do: quote(do: "#{inspect(__MODULE__)}.#{unquote(name)}")

  # An argument keeps its name and its default; of a pattern such as `%Array{} = array` only the name is kept.
  defp argument({:\\, meta, [pattern, default]}), do: {:\\, meta, [argument(pattern), default]}
  defp argument({:=, _, [_pattern, {name, _, context}]}) when is_atom(context), do: Macro.var(name, nil)
  defp argument({name, _, context}) when is_atom(context), do: Macro.var(name, nil)

  defp argument(pattern) do
    raise ArgumentError, "a documented function needs a name for its argument #{Macro.to_string(pattern)}"
  end

  defp without_spec!(module, name, arguments) do
    raise ArgumentError, "#{inspect(module)}.#{name}/#{length(arguments)}: a documented function needs a @spec"
  end

  defp without_default({:\\, _, [argument, _default]}), do: argument
  defp without_default(argument), do: argument

  defp of?({:when, _, [spec, _types]}, name, arguments), do: of?(spec, name, arguments)
  defp of?({:"::", _, [{name, _, types}, _result]}, name, arguments), do: length(types) == length(arguments)
  defp of?(_spec, _name, _arguments), do: false

  defp expand(spec, env) do
    Macro.prewalk(spec, fn
      {:__aliases__, _, _} = module -> Macro.expand(module, env)
      other -> other
    end)
  end
end
