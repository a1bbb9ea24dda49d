defmodule Mlx.NxConformance.Library do
  @moduledoc "The libraries whose own tests are run, and where they lie."

  @enforce_keys [:application, :name]
  defstruct [:application, :name, :root, excluded: [], slow: [], unreachable: nil, own: []]

  @type t :: %__MODULE__{
          application: atom(),
          name: String.t(),
          root: Path.t() | nil,
          excluded: [atom()],
          slow: [atom()],
          unreachable: Regex.t() | nil,
          own: [Path.t()]
        }

  # `excluded`: tags of tests that cannot be run here. `slow`: tags of tests that the library's own helper leaves out, too,
  # because they take minutes. `unreachable`: what a file mentions whose tests need the network, or what is not there.
  # `own`: files of tests beside this one that are run with those of the library.
  @libraries %{
    "nx" => [application: :nx, name: "Nx", excluded: [:distributed]],
    "axon" => [application: :axon, name: "Axon", slow: [:integration]],
    "polaris" => [application: :polaris, name: "Polaris"],
    "scholar" => [application: :scholar, name: "Scholar"],
    "bumblebee" => [
      application: :bumblebee,
      name: "Bumblebee",
      unreachable: ~r/\{:hf,|Bypass|StbImage/,
      own: ["own/bumblebee_test.exs"]
    ]
  }

  @doc "The library of this name, started, with the folder of its tests; or why it cannot be had."
  @spec find(String.t()) :: {:ok, t()} | {:error, String.t()}
  def find(name) do
    library = struct!(__MODULE__, @libraries[name] || raise(ArgumentError, "no library #{name}: #{names()}"))

    with {:ok, root} <- start(library.application),
         true <- File.dir?(Path.join(root, "test")) || {:error, "they are not in #{root}"} do
      {:ok, %{library | root: root}}
    else
      {:error, reason} -> {:error, "#{library.name}'s own tests are left out: #{reason}"}
    end
  end

  defp names, do: "it is one of " <> Enum.join(Map.keys(@libraries), ", ")

  defp start(application) do
    case missing(application) do
      nil ->
        {:ok, _started} = Application.ensure_all_started([:mlx, application])
        {:ok, Application.app_dir(application)}

      missing ->
        {:error, "the application #{missing} could not be loaded"}
    end
  end

  # Of the application and what it depends on.
  defp missing(application) do
    case Application.load(application) do
      {:error, {reason, _}} when reason != :already_loaded -> application
      _loaded -> application |> dependencies() |> Enum.find_value(&missing/1)
    end
  end

  defp dependencies(application) do
    Application.spec(application, :applications) -- Application.spec(application, :optional_applications)
  end

  @doc "All test files that can be run here, as paths from the root, and from there those that are not the library's."
  @spec files(t()) :: [Path.t()]
  def files(library) do
    theirs =
      for file <- library.root |> Path.join("test/**/*_test.exs") |> Path.wildcard(),
          is_nil(library.unreachable) or not (File.read!(file) =~ library.unreachable),
          do: Path.relative_to(file, library.root)

    theirs ++ Enum.map(library.own, &Path.expand(&1, __DIR__))
  end

  @doc "The tags of the tests that are left out; `all` runs those that take minutes, too."
  @spec excluded(t(), boolean()) :: [atom()]
  def excluded(library, all?), do: library.excluded ++ if(all?, do: [], else: library.slow)
end
