defmodule Mlx.DocumentationTest do
  use ExUnit.Case, async: true

  alias Mlx.PublicFunctions

  # Language models are documented with a model's file at hand, which doctests do not have.
  @without_examples ~r/^(Mlx\.LM|Mix\.)/

  test "every public function has documentation and a spec, and an example outside of language models" do
    for {module, functions} <- PublicFunctions.all(),
        specified = specified(module),
        {function, arity, doc} <- functions do
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

    for {module, functions} <- PublicFunctions.all(), {function, arity, %{"en" => text}} <- functions, text =~ "iex>" do
      assert last(inspect(module)) in tested, "the example of #{inspect(module)}.#{function}/#{arity} is not run"
    end
  end

  # Tests may use an alias.
  defp last(module), do: module |> String.split(".") |> List.last()

  defp specified(module) do
    {:ok, specs} = Code.Typespec.fetch_specs(module)
    for {{name, arity}, _} <- specs, do: {name, arity}
  end
end
