# Runs the tests of Nx and of libraries on it with Mlx.Backend: see bin/nx_conformance.
Code.require_file("library.exs", __DIR__)

alias Mlx.NxConformance.{Exceptions, Library, Suite, Verdict}

{options, files} =
  OptionParser.parse!(System.argv(), strict: [library: :string, compiler: :boolean, all: :boolean, verbose: :boolean])

options = Enum.into(options, %{library: "nx", compiler: false, all: false, verbose: false})

case Library.find(options.library) do
  {:ok, library} ->
    # These need Nx to be compiled.
    for file <- ~w(equality doctests defaults exceptions results suite verdict),
        do: Code.require_file("#{file}.exs", __DIR__)

    File.cd!(library.root)
    named = files != []
    Suite.load(if(named, do: files, else: Library.files(library)), Library.excluded(library, named or options.all))
    results = Suite.run(options.compiler)
    exceptions = Exceptions.read(library.application, if(options.compiler, do: "compiler", else: "backend"))
    Verdict.print(results, exceptions, options.verbose)
    passed = Verdict.expected?(results, exceptions) and (named or Verdict.few?(results, exceptions))
    System.halt(if passed, do: 0, else: 1)

  {:error, reason} ->
    IO.puts(reason)
end
