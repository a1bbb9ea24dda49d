Code.require_file("mix/compile_native.exs", __DIR__)
Code.require_file("mix/compile_nx.exs", __DIR__)
Code.require_file("mix/load_native.exs", __DIR__)

defmodule Mlx.MixProject do
  use Mix.Project

  @version "0.7.0-dev"

  # Releases are at this address, and with them the precompiled libraries. `bin/release` compares it with where it pushes to.
  @source_url "https://github.com/mlx-elixir/mlx"

  def project do
    [
      app: :mlx,
      version: @version,
      elixir: "~> 1.18",
      compilers: [:mlx_native, :mlx_nx] ++ Mix.compilers() ++ [:mlx_load],
      elixirc_paths: elixirc_paths(Mix.env()),
      start_permanent: Mix.env() == :prod,
      # Tests implement protocols of Nx.
      consolidate_protocols: Mix.env() != :test,
      # Scripts, which bin/mac_check runs one by one.
      test_ignore_filters: [&String.starts_with?(&1, "test/mac/")],
      test_coverage: [summary: [threshold: 90], ignore_modules: uncovered()],
      deps: deps(),
      aliases: aliases(),
      description: description(),
      package: package(),
      name: "Mlx",
      source_url: @source_url,
      docs: &docs/0
    ]
  end

  # The descriptions of operations are compiled for tests.
  def cli, do: [preferred_envs: [guide: :test]]

  # Nx, Plug and telemetry are used where they are: as dependencies, or in a folder of ERL_LIBS.
  def application do
    [
      mod: {Mlx.Application, []},
      extra_applications: [:logger, :ssl, :public_key, nx: :optional, plug: :optional, telemetry: :optional]
    ]
  end

  # Without Hex nothing can be fetched, and nothing has to be.
  defp deps do
    if Code.ensure_loaded?(Hex), do: for({name, version} <- optional(), do: {name, version, optional: true}), else: []
  end

  defp optional, do: [nx: "~> 0.13", plug: "~> 1.14", telemetry: "~> 1.0"]

  defp aliases do
    [
      guide: "run --no-start --require guides/from_python.exs --eval Mlx.Guides.FromPython.write()",
      "mlx.precompile": &precompile/1
    ]
  end

  # What makes a release is loaded for that only.
  defp precompile(arguments) do
    Code.require_file("mix/package/precompile.exs", __DIR__)
    apply(Mlx.Package.Precompile, :run, [arguments])
  end

  defp elixirc_paths(:test), do: elixirc_paths(:dev) ++ ["test/support", "test/descriptions", "conformance/elixir"]

  # The topics of `Mlx` come first. It waits for them, takes the longest, and would be compiled alone after all others.
  defp elixirc_paths(_env), do: ["lib/mlx/ops", "lib/mlx/values", "lib/mlx/transforms", "lib"]

  # Stubs that native functions replace, what only runs at compile time, and what supports the tests.
  defp uncovered do
    support =
      ~w(Argument CallRunner ChildVM DarwinStacks FailureReport GeneratedCalls HTTPClient HubServer LayerCases LayerOracle) ++
        ~w(MemoryProbe NativeArguments NativeBuild NativePrototypes Oracle PreloadedLibrary PythonNames Samples) ++
        ~w(ScriptedServer TinyLlama ToolTexts Ulps)

    patterns = [~r/^Mlx\.(Differential|Descriptions?)(\.|$)/, ~r/^Mlx\.Conformance\./]
    [Mlx.Native, Mlx.Ops.Operation] ++ for(name <- support, do: Module.concat(Mlx, name)) ++ patterns
  end

  defp docs do
    [
      main: "readme",
      extras:
        ["README.md"] ++
          guides() ++ livebooks() ++ ["ARCHITECTURE.md", "CONTRIBUTING.md", "MAC.md", "CHANGELOG.md", "LICENSE"],
      groups_for_extras: [Guides: ~r/^guides\//, Livebooks: ~r/^livebooks\//],
      filter_modules: fn _module, %{source_path: path} -> List.starts_with?(path, ~c"#{__DIR__}/lib/") end,
      groups_for_modules: [
        Arrays: [Mlx, Mlx.Array, Mlx.Type, Mlx.Constants, Mlx.Operators, Mlx.PrintOptions, Mlx.Tree],
        Operations: [Mlx.FFT, Mlx.Fast, Mlx.Linalg, Mlx.Random],
        "Neural networks": ~r/^Mlx\.NN(\.|$)/,
        Training: ~r/^Mlx\.(Optimizers|Training)(\.|$)/,
        "Language models": ~r/^Mlx\.(Hub|LM)/,
        Files: ~r/^Mlx\.IO/,
        Observing: [Mlx.NonFinite, Mlx.Telemetry],
        Machines: ~r/^Mlx\.(CUDA|Device|Distributed|Memory|Metal|Stream|Unsafe)/,
        Nx: [Mlx.Backend, Mlx.Compiler, Mlx.Nx, Mlx.Nx.Fast, Mlx.Nx.MixedPrecision]
      ],
      groups_for_docs: for(title <- Mlx.__topics__() ++ ["Choosing devices"], do: {title, &(&1[:topic] == title)})
    ]
  end

  defp guides do
    names =
      ~w(introduction lazy_evaluation devices_streams_and_processes memory transforms neural_networks language_models fine_tuning) ++
        ~w(production serving mlx_for_nx_users from_python_to_elixir from_swift_to_elixir emlx_and_emily)

    for name <- names, do: "guides/#{name}.md"
  end

  defp livebooks, do: for(name <- ~w(first_hour training fine_tuning), do: "livebooks/#{name}.livemd")

  defp description do
    "MLX for Elixir: lazy arrays, random numbers, linear algebra, neural networks and language models on MLX's official C API."
  end

  defp package do
    [
      licenses: ["Apache-2.0"],
      files:
        ~w(lib mix setup c_src bin guides livebooks mix.exs archives.txt .formatter.exs README.md CHANGELOG.md LICENSE) ++
          ~w(ARCHITECTURE.md CONTRIBUTING.md MAC.md)
    ]
  end
end
