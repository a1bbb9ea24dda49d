defmodule Mlx.DocumentationTest do
  use ExUnit.Case, async: true

  @lib Path.expand("../../lib", __DIR__)

  # Language models are documented with a model's file at hand, which doctests do not have.
  @without_examples ~r/^(Mlx\.LM|Mix\.)/

  test "every public function has documentation and a spec, and an example outside of language models" do
    for {module, functions} <- modules(), specified = specified(module), {function, arity, doc} <- functions do
      name = "#{inspect(module)}.#{function}/#{arity}"
      assert %{"en" => text} = doc, "#{name} has no documentation"
      assert {function, arity} in specified, "#{name} has no spec"
      assert text =~ "iex>" or inspect(module) =~ @without_examples, "#{name} has no example"
    end
  end

  test "every module with examples runs them" do
    tested =
      for file <- Path.wildcard(Path.join(__DIR__, "../**/*_test.exs")),
          [_, module] <- Regex.scan(~r/^\s*doctest ([\w.]+)/m, File.read!(file)),
          into: MapSet.new(),
          do: last(module)

    for {module, functions} <- modules(), {function, arity, %{"en" => text}} <- functions, text =~ "iex>" do
      assert last(inspect(module)) in tested, "the example of #{inspect(module)}.#{function}/#{arity} is not run"
    end
  end

  # The modules that are documented, with their public functions.
  defp modules do
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

  # Tests may use an alias.
  defp last(module), do: module |> String.split(".") |> List.last()

  # The documentation of a callback is that of its behaviour.
  defp callbacks(module) do
    for {:behaviour, behaviours} <- module.module_info(:attributes),
        behaviour <- behaviours,
        {callback, _arity} <- behaviour.behaviour_info(:callbacks),
        do: callback
  end

  defp specified(module) do
    {:ok, specs} = Code.Typespec.fetch_specs(module)
    for {{name, arity}, _} <- specs, do: {name, arity}
  end
end
