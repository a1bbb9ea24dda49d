defmodule Mlx.PublicFunctions do
  @moduledoc """
  What the library offers: the modules that are documented, with their documented functions.
  """

  @lib Path.expand("../../lib", __DIR__)

  @doc "The modules that are documented, each with the name, arity and documentation of its public functions."
  @spec all() :: [{module(), [{atom(), arity(), %{String.t() => String.t()} | :none}]}]
  def all do
    {:ok, modules} = :application.get_key(:mlx, :modules)

    for module <- modules,
        String.starts_with?(to_string(module.module_info(:compile)[:source]), @lib),
        {:docs_v1, _, _, _, %{"en" => _}, _, docs} <- [Code.fetch_docs(module)] do
      callbacks = callbacks(module)

      functions =
        for {{:function, function, arity}, _, _, doc, _} <- docs,
            doc != :hidden and function not in [:__struct__ | callbacks],
            do: {function, arity, doc}

      {module, functions}
    end
  end

  # The documentation of a callback is that of its behaviour.
  defp callbacks(module) do
    for {:behaviour, behaviours} <- module.module_info(:attributes),
        behaviour <- behaviours,
        {callback, _arity} <- behaviour.behaviour_info(:callbacks),
        do: callback
  end

  @doc "The types of the arguments of a module's functions by name and arity, as specs have them."
  @spec argument_types(module()) :: %{{atom(), arity()} => [Macro.t()]}
  def argument_types(module) do
    {:ok, specs} = Code.Typespec.fetch_specs(module)

    for {{name, arity}, [spec | _]} <- specs, into: %{} do
      case Code.Typespec.spec_to_quoted(name, spec) do
        {:when, _, [{:"::", _, [{^name, _, types}, _result]}, _variables]} -> {{name, arity}, types}
        {:"::", _, [{^name, _, types}, _result]} -> {{name, arity}, types}
      end
    end
  end
end
