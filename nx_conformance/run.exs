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
    Suite.load(if(files == [], do: Library.files(library), else: files), Library.excluded(library, options.all or files != []))
    results = Suite.run(options.compiler)
    exceptions = Exceptions.read(library.application, if(options.compiler, do: "compiler", else: "backend"))
    Verdict.print(results, exceptions, options.verbose)
    passed = Verdict.expected?(results, exceptions) and (files != [] or Verdict.few?(results, exceptions))
    System.halt(if passed, do: 0, else: 1)

  {:error, reason} ->
    IO.puts(reason)
end
