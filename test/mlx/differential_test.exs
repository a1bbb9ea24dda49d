defmodule Mlx.DifferentialTest do
  use ExUnit.Case, async: true

  alias Mlx.{Description, Descriptions, Differential}
  alias Mlx.Descriptions.RandomNumbers
  alias Mlx.Differential.Case

  # Documented modules of which no function computes arrays.
  @other_modules [
    {~r/^Mlx\.(Array|Error|Tree|Operators|Constants|PrintOptions)$/,
     "what the operations are described with, or other names for them"},
    {~r/^Mlx\.(Device|Stream|Memory|Distributed|Metal|Cuda|CUDA|Unsafe)(\.|$)/, "where operations run"},
    {~r/^Mlx\.(Hub|IO|LM)(\.|$)/, "files and language models"},
    {~r/^Mlx\.NN(\.|$)/, "layers, which Mlx.NN.CasesTest compares with Python"},
    {~r/^Mlx\.Optimizers(\.|$)/, "compared with Python by their own tests"},
    {~r/^Mlx\.Training(\.|$)/, "made of layers and optimizers"},
    {~r/^Mlx\.(NonFinite|NonFiniteError|Telemetry)$/, "what watches the operations"},
    {~r/^Mlx\.(Backend|Nx)(\.|$)/, "for Nx, whose own tests run with them"},
    {~r/^Mix\.Tasks\./, "commands"}
  ]

  # Public functions of the others that are no operations, or that every description uses.
  @no_operations [
    {Mlx, [:eval, :async_eval, :depends, :deallocate, :to_binary, :with_device, :with_stream, :type],
     "every row uses them"},
    {Mlx, [:grad, :value_and_grad, :vjp, :jvp, :jacobian, :hessian, :vmap, :compile, :checkpoint, :custom_function],
     "take functions"},
    {Mlx, [:export_function, :export_functions, :describe_function, :export_to_dot], "files and texts"},
    {Mlx, [:enable_compile, :disable_compile], "give nothing"},
    {Mlx.Type,
     [:all, :bits, :bytes, :class, :epsilon, :fractional?, :max, :min, :normalize!, :numpy] ++
       [:smallest_normal, :subtype?, :to_nx], "gives no arrays, and is compared with Python by its own test"},
    {Mlx.Random, [:seed], "tested below, with the sequence of a process"},
    {Mlx.Random, [:state, :with_state], "the sequence itself"}
  ]

  for {row, index} <- Enum.with_index(Differential.rows()) do
    @tag :oracle
    @tag operation: Description.label(row)
    @tag timeout: 600_000
    test "#{Description.label(row)} is Python's" do
      result = Differential.run(Enum.at(Differential.rows(), unquote(index)))
      assert result.failures == [], Differential.report(result)
      assert 4 * result.equal >= result.raising, "most calls raise, in Elixir and in Python"
    end
  end

  @tag :oracle
  test "a seed gives Python's sequence of random numbers" do
    for seed <- [0, 7, 2 ** 40 + 1, 2 ** 63 - 1] do
      calls = for index <- 1..40, do: Case.new(Enum.random(RandomNumbers.without_keys()), seed, index)
      Mlx.Random.seed(seed)
      got = Enum.map(calls, &Case.run/1)
      # The oracle keeps its state from one question to the next.
      [_seeded | wanted] =
        Mlx.Oracle.ask_all([{"(mx.random.seed(#{seed}), 0)[1]", []} | Enum.map(calls, &Case.question/1)])

      assert Enum.zip_with([calls, got, wanted], &apply(Differential, :compare, &1)) |> Enum.uniq() == [:equal]
    end
  end

  test "every operation is described" do
    described = MapSet.new(Descriptions.all(), &{&1.module, &1.function})

    excused =
      MapSet.new(for {module, functions, _reason} <- @no_operations, function <- functions, do: {module, function})

    public = MapSet.new(for module <- modules(), function <- functions(module), do: {module, function})
    known = MapSet.union(described, excused)

    none(MapSet.difference(public, known), """
    is not described: add operation(:name, python: ..., draw: ...) to the file of its topic in test/descriptions, as \
    test/support/description.ex says; or where it is no operation, the function to @no_operations of this file
    """)

    none(
      MapSet.difference(known, public),
      "is in test/descriptions or in @no_operations, and is no documented function"
    )

    none(MapSet.intersection(described, excused), "is in test/descriptions and in @no_operations of this file")
  end

  defp none(functions, complaint) do
    names = for {module, function} <- functions, do: "#{inspect(module)}.#{function}"
    assert names == [], "#{Enum.join(names, ", ")} #{complaint}"
  end

  test "rows have different names, and a reason where values may differ" do
    labels = Enum.map(Differential.rows(), &Description.label/1)
    assert labels -- Enum.uniq(labels) == []
    differing = for row <- Differential.rows(), row.ulps != 0 or row.of_largest != nil, do: row
    assert for(%Description{reason: nil} = row <- differing, do: Description.label(row)) == []
  end

  test "what is described has a draw, or a reason why it has none" do
    for row <- Descriptions.all() do
      assert is_function(row.draw, 0) != is_binary(row.not_drawn),
             "the description of #{Description.label(row)} needs either draw: (a function) or not_drawn: (the reason)"
    end
  end

  defp modules do
    {:ok, modules} = :application.get_key(:mlx, :modules)
    for module <- modules, in_library?(module), documented?(module), not other?(module), do: module
  end

  defp in_library?(module), do: module.module_info(:compile)[:source] |> List.to_string() |> String.contains?("/lib/")

  defp documented?(module) do
    match?({:docs_v1, _, _, _, text, _, _} when text not in [:hidden, :none], Code.fetch_docs(module))
  end

  defp other?(module), do: Enum.any?(@other_modules, fn {pattern, _reason} -> inspect(module) =~ pattern end)

  defp functions(module) do
    {:docs_v1, _, _, _, _, _, docs} = Code.fetch_docs(module)
    for {{:function, name, _arity}, _, _, %{}, _} <- docs, uniq: true, do: name
  end
end
