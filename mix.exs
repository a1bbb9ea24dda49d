Code.require_file("mix/compile_native.exs", __DIR__)

defmodule Mlx.MixProject do
  use Mix.Project

  @version "0.7.0-dev"

  def project do
    [
      app: :mlx,
      version: @version,
      elixir: "~> 1.17",
      compilers: [:mlx_native | Mix.compilers()],
      elixirc_paths: elixirc_paths(Mix.env()),
      start_permanent: Mix.env() == :prod,
      test_coverage: [summary: [threshold: 90], ignore_modules: uncovered()],
      deps: [],
      aliases: aliases(),
      description: description(),
      package: package(),
      name: "Mlx",
      docs: [main: "readme", extras: ["README.md", "guides/from_python_to_elixir.md", "CHANGELOG.md", "LICENSE"]]
    ]
  end

  def application do
    [extra_applications: [:logger]]
  end

  defp aliases do
    [guide: "run --no-start --require guides/from_python.exs --eval Mlx.Guides.FromPython.write()"]
  end

  defp elixirc_paths(:test), do: ["lib", "test/support", "conformance/elixir"]
  defp elixirc_paths(_env), do: ["lib"]

  # Stubs that native functions replace, what only runs at compile time, and what supports the tests.
  defp uncovered do
    [Mlx.Native, Mlx.Operation, Mlx.Argument, Mlx.CallRunner, Mlx.ChildVM, Mlx.GeneratedCalls, Mlx.MemoryProbe] ++
      [Mlx.NativeBuild, Mlx.NativeExamples, Mlx.NativeSignatures, Mlx.Oracle, Mlx.Samples, Mlx.TinyLlama] ++
      [Mlx.Ulps, ~r/^Mlx\.Differential/] ++
      [~r/^Mlx\.Conformance\./]
  end

  defp description do
    "MLX for Elixir: lazy arrays, random numbers, linear algebra and language models on MLX's official C API."
  end

  defp package do
    [
      licenses: ["Apache-2.0"],
      files: ~w(lib mix setup c_src bin guides mix.exs .formatter.exs README.md CHANGELOG.md LICENSE)
    ]
  end
end
