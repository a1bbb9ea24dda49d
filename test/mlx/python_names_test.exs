Code.require_file("../../guides/from_python.exs", __DIR__)

defmodule Mlx.PythonNamesTest do
  use ExUnit.Case, async: true

  alias Mlx.Guides.FromPython
  alias Mlx.{Descriptions, PythonNames}
  alias Mlx.Differential.Python

  # All public names of `mlx.core`: what is in the modules, and what classes define. What every object of Python has does not
  # count.
  @names ~S"""
  (lambda members: [mx.array(list("\n".join(
    prefix + member
    for prefix, owner in [("mlx.core.", mx)] + [("mlx.core." + n + ".", m) for n, m in vars(mx).items() if type(m) is type(mx)]
    for name in dir(owner) if name[0] != "_" and type(getattr(owner, name)) is not type(mx)
    for member in [name] + members(name, getattr(owner, name))
  ).encode()), mx.uint8)])(
    lambda name, value: [
      name + "." + member for member in dir(value)
      if member not in ("__module__", "__doc__", "__init__", "__new__", "__hash__", "__getstate__", "__members__", "__name__",
                        "__qualname__")
      and (member[0] != "_" or member.startswith("__") and (member in vars(value) or not hasattr(object, member)))
    ] if isinstance(value, type) else []
  )
  """

  # All public names of `mlx.nn`: what its modules define, and what its classes define themselves.
  @names_of_layers ~S"""
  mx.array(list("\n".join(
    prefix + member
    for prefix, owner in [("mlx.nn.", nn), ("mlx.nn.losses.", nn.losses), ("mlx.nn.init.", nn.init)]
    for name, value in vars(owner).items()
    if name[0] != "_" and type(value) is not type(mx) and getattr(value, "__module__", "").startswith("mlx.nn")
    for member in [name] + ([name + "." + n for n in vars(value) if n[0] != "_"] if isinstance(value, type) else [])
  ).encode()), mx.uint8)
  """

  # Those of modules that are written in Python: what is defined there, and of a class what its bases do not have.
  @python_names ~S"""
  [mx.array(list("\n".join(
    module.__name__ + "." + member
    for module in (optimizers, utils)
    for name, value in vars(module).items()
    if name[0] != "_" and getattr(value, "__module__", "").startswith(module.__name__)
    for member in [name] + [
      name + "." + member for member in (vars(value) if isinstance(value, type) else [])
      if member[0] != "_" and not any(hasattr(base, member) for base in value.__bases__)
    ]
  ).encode()), mx.uint8)]
  """

  @tag :oracle
  test "the table has every public name of Python's modules, once" do
    names = Enum.flat_map([@names, @names_of_layers, @python_names], &names/1)
    assert length(names) > 700
    listed = for row <- PythonNames.rows(), do: row.python

    assert names -- listed == [], """
    #{inspect(names -- listed)} of Python without a counterpart: add python: python("name", parameters) to the \
    description of the operation in test/descriptions, or where it is no operation, a line to \
    guides/from_python_to_elixir.tsv
    """

    assert listed -- names == [], """
    #{inspect(listed -- names)} in test/descriptions or guides/from_python_to_elixir.tsv, twice or without one in Python
    """
  end

  defp names(expression) do
    expression |> String.replace("\n", " ") |> Mlx.Oracle.eval() |> Mlx.to_binary() |> String.split("\n")
  end

  # Those of all overloads, without `stream`. A method has those of the function of its name.
  @tag :oracle
  test "the parameters in descriptions are Python's" do
    described =
      for %{python: python} <- Descriptions.all(),
          names <- python,
          name <- names.names,
          not String.starts_with?(name, "array."),
          reduce: %{} do
        parameters -> Map.update(parameters, name, names.parameters, &(&1 ++ names.parameters))
      end

    signatures =
      "mx.array(list('\\n'.join(name + ':' + signature[0].replace(chr(10), ' ') " <>
        "for name in #{Python.term(Map.keys(described))} " <>
        "for signature in getattr(eval('mx.' + name), '__nb_signature__', None) or ()).encode()), mx.uint8)"

    pythons =
      for line <- names(signatures), [name, signature] = String.split(line, ":", parts: 2), reduce: %{} do
        parameters -> Map.update(parameters, name, parameters(signature), &(&1 ++ parameters(signature)))
      end

    assert map_size(pythons) > 220

    wrong =
      for {name, pythons} <- pythons,
          ours = for({parameter, _kind} <- described[name], do: "#{parameter}"),
          Enum.uniq(Enum.sort(ours)) != Enum.uniq(Enum.sort(pythons)),
          do: "mlx.core.#{name} of #{inspect(ours)}, in Python of #{inspect(pythons)}"

    assert wrong == [], "other parameters in python: of test/descriptions than in Python:\n#{Enum.join(wrong, "\n")}"
  end

  defp parameters(signature) do
    [list | _] = Regex.run(~r/\((.*)\)( ->|$)/, signature, capture: :all_but_first)

    for parameter <- list |> without_brackets() |> String.split(","),
        [_, name] <- [Regex.run(~r/^\s*\**(\w+)/, parameter)],
        name not in ["self", "stream"],
        do: name
  end

  # Types of parameters have commas inside them.
  defp without_brackets(text) do
    case Regex.replace(~r/\[[^\[\]]*\]/, text, "") do
      ^text -> text
      shorter -> without_brackets(shorter)
    end
  end

  test "what has no counterpart has a reason" do
    for %{elixir: [], python: python, note: note} <- PythonNames.rows() do
      assert note != "", "#{python} has neither a counterpart nor a reason"
    end
  end

  test "every counterpart exists" do
    for %{elixir: elixir, python: python} <- PythonNames.rows(), name <- elixir do
      assert exists?(parse(name)), "#{name}, the counterpart of #{python}, does not exist"
    end
  end

  test "the documentation of every counterpart names the Python function" do
    unnamed =
      for %{elixir: elixir, python: python} <- PythonNames.rows(),
          not protocol?(python),
          name <- elixir,
          not names?(counterparts(parse(name)), python),
          do: {name, python}

    assert unnamed == [], "documentation without a line that begins with Python: and has the name: #{inspect(unnamed)}"
  end

  test "what documentation calls a Python name is one" do
    listed = MapSet.new(PythonNames.rows(), & &1.python)
    {:ok, modules} = :application.get_key(:mlx, :modules)

    unknown =
      for module <- modules,
          {:docs_v1, _, _, _, moduledoc, _, docs} <- [Code.fetch_docs(module)],
          %{"en" => text} <- [moduledoc | Enum.map(docs, &elem(&1, 3))],
          [name] <- Regex.scan(~r/\bmlx\.(?:core|nn|optimizers|utils)(?:\.\w+)+/, text),
          name not in listed and not prefix?(name, listed),
          do: {module, name}

    assert unknown == [], """
    names in documentation that are neither python: of a description in test/descriptions nor in \
    guides/from_python_to_elixir.tsv: #{inspect(unknown)}
    """
  end

  test "the guide is what the table makes" do
    assert File.read!(FromPython.path()) == FromPython.text(), "the guide is not up to date: run mix guide"
  end

  @tag :oracle
  test "the guide's example gives the same in both languages" do
    [python, elixir] = for language <- ["python", "elixir"], do: example(language)
    {_result, bindings} = Code.eval_string(elixir)
    lines = python |> String.split("\n", trim: true) |> Enum.map_join(", ", &"exec(#{inspect(&1)}, scope)")
    names = Enum.map_join([:x, :y], ", ", &"scope['#{&1}']")
    expression = "(lambda scope: (#{lines}, [#{names}])[-1])({'mx': mx})"
    Mlx.Oracle.assert_oracle([bindings[:x], bindings[:y]], expression)
  end

  defp example(language) do
    [_, code] = Regex.run(~r/```#{language}\n(.*?)```/s, FromPython.text())
    code
  end

  # Modules such as `mlx.core.fft` have no row of their own.
  defp prefix?(name, listed), do: Enum.any?(listed, &String.starts_with?(&1, name <> "."))

  # Methods with two underscores stand for operators and protocols.
  defp protocol?(python), do: python =~ ~r/\.__\w+__$/

  defp parse(":" <> atom), do: String.to_atom(atom)

  defp parse(name) do
    case Regex.run(~r/^(.+)\.([a-z]\w*[?!]?)\/(\d)$/, name) do
      [_, module, function, arity] ->
        {Module.concat([module]), String.to_atom(function), String.to_integer(arity)}

      nil ->
        Module.concat([name])
    end
  end

  defp exists?({module, function, arity}) do
    Code.ensure_loaded?(module) and function_exported?(module, function, arity)
  end

  defp exists?(atom), do: if(module?(atom), do: Code.ensure_loaded?(atom), else: true)

  defp module?(atom), do: atom |> Atom.to_string() |> String.starts_with?("Elixir.")

  # The part of the documentation that starts with "Python:".
  defp counterparts({module, function, arity}) do
    {:docs_v1, _, _, _, _, _, docs} = Code.fetch_docs(module)

    {_, _, _, %{"en" => text}, _} =
      Enum.find(docs, fn {{kind, name, documented}, _, _, _, metadata} ->
        kind == :function and name == function and arity in (documented - Map.get(metadata, :defaults, 0))..documented
      end)

    behind_python(text)
  end

  defp counterparts(module) do
    if module?(module) do
      {:docs_v1, _, _, _, %{"en" => text}, _, _} = Code.fetch_docs(module)
      behind_python(text)
    end
  end

  defp behind_python(text) do
    case String.split(text, "Python:", parts: 2) do
      [_, names] -> names
      [_] -> ""
    end
  end

  # Atoms have no documentation. Names may be written without `mlx.core.`.
  defp names?(nil, _python), do: true

  defp names?(text, python) do
    member = python |> String.split(".") |> List.last()
    Enum.any?(Regex.scan(~r/[\w.]+/, text), fn [word] -> word |> String.split(".") |> List.last() == member end)
  end
end
