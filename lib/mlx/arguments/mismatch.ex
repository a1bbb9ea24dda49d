defmodule Mlx.Arguments.Mismatch do
  @moduledoc false
  # What is said of arguments that no clause of a function takes: which one it is, by the types of the function's spec,
  # and how to come by what was expected.
  #
  # `use Mlx.Arguments.Mismatch` gives the documented functions of a module a last clause that says it. `Mlx.Ops.Topic` says it for the
  # functions of `Mlx` when those of a topic take no such arguments.

  alias Mlx.Arguments.{ArgumentType, Given}
  alias Mlx.Ops.Topic

  defmacro __using__(_options) do
    quote do
      Module.register_attribute(__MODULE__, :clauses, accumulate: true)
      @on_definition Mlx.Arguments.Mismatch
      @before_compile Mlx.Arguments.Mismatch
    end
  end

  @doc false
  def __on_definition__(env, :def, name, arguments, guards, body) do
    documented = match?({_line, text} when is_binary(text), Module.get_attribute(env.module, :doc))
    takes_all = takes_all?(arguments, guards, body)
    Module.put_attribute(env.module, :clauses, {{name, length(arguments)}, documented, takes_all})
  end

  def __on_definition__(_env, _kind, _name, _arguments, _guards, _body), do: :ok

  @doc "Whether a clause takes whatever it is given. All three are what `@on_definition` tells of it."
  @spec takes_all?([Macro.t()], [Macro.t()], term()) :: boolean()
  def takes_all?(arguments, guards, body), do: body != nil and guards == [] and Enum.all?(arguments, &variable?/1)

  defp variable?({:\\, _, [argument, _default]}), do: variable?(argument)
  defp variable?({name, _, context}), do: is_atom(name) and is_atom(context)
  defp variable?(_pattern), do: false

  @doc false
  defmacro __before_compile__(env) do
    clauses = env.module |> Module.get_attribute(:clauses) |> Enum.group_by(fn {function, _, _} -> function end)
    specs = Module.get_attribute(env.module, :spec)

    for {{name, arity}, clauses} <- clauses,
        Enum.any?(clauses, fn {_, documented, _} -> documented end),
        not Enum.any?(clauses, fn {_, _, takes_all} -> takes_all end) do
      arguments = Macro.generate_arguments(arity, __MODULE__)

      quote do
        def unquote(name)(unquote_splicing(arguments)) do
          Mlx.Arguments.Mismatch.refuse(
            __MODULE__,
            unquote(name),
            unquote(arguments),
            unquote(types(specs, name, arity, env))
          )
        end
      end
    end
  end

  defp types(specs, name, arity, env) do
    types = Enum.find_value(specs, [], fn {:spec, spec, _} -> types_of(spec, name, arity) end)
    Macro.escape(for type <- types, do: ArgumentType.expand(type, env))
  end

  defp types_of({:when, _, [spec, _variables]}, name, arity), do: types_of(spec, name, arity)
  defp types_of({:"::", _, [{name, _, types}, _]}, name, arity) when length(types) == arity, do: types
  defp types_of(_spec, _name, _arity), do: nil

  @doc "Raises for arguments that no clause of `module.name` takes, whose spec has these types."
  @spec refuse(module(), atom(), [term()], [ArgumentType.t()]) :: no_return()
  def refuse(module, name, arguments, types) do
    raise ArgumentError, "#{inspect(module)}.#{name}: #{message(arguments, types)}"
  end

  @doc """
  Raises for what was raised in `module.name`, which calls the function of the same name in `topic`: when no clause of that
  function took the arguments, this error tells of it. Any other error is raised again.
  """
  @spec reraise(term(), Exception.stacktrace(), module(), module(), atom()) :: no_return()
  def reraise(:function_clause, [{topic, name, arguments, _place} | rest], topic, module, name)
      when is_list(arguments) do
    types = Topic.types(topic, name, length(arguments))
    message = "#{inspect(module)}.#{name}: #{message(arguments, types)}"
    Kernel.reraise(ArgumentError, [message: message], [{module, name, length(arguments), []} | rest])
  end

  def reraise(reason, stacktrace, _topic, _module, _name), do: :erlang.raise(:error, reason, stacktrace)

  defp message(arguments, types) do
    case arguments
         |> Enum.zip(types)
         |> Enum.find(fn {argument, type} -> not ArgumentType.may_be?(argument, type) end) do
      nil ->
        "expected arguments of the types #{Enum.map_join(types, ", ", &Macro.to_string/1)}, " <>
          "got: #{Enum.map_join(arguments, ", ", &Given.text/1)}"

      {argument, type} ->
        hint = if ArgumentType.of_arrays?(type), do: Given.hint(argument)
        "expected #{ArgumentType.words(type) || Macro.to_string(type)}, got: #{Given.text(argument)}#{hint}"
    end
  end
end
