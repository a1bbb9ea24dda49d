defmodule Mlx.NxConformance.Library do
  @moduledoc "The libraries whose own tests are run, and where they lie."

  @enforce_keys [:application, :name]
  defstruct [:application, :name, :root, excluded: [], slow: []]

  @type t :: %__MODULE__{
          application: atom(),
          name: String.t(),
          root: Path.t() | nil,
          excluded: [atom()],
          slow: [atom()]
        }

  # `excluded`: tags of tests that cannot be run here. `slow`: tags of tests that the library's own helper leaves out, too,
  # because they take minutes.
  @libraries %{
    "nx" => [application: :nx, name: "Nx", excluded: [:distributed]],
    "axon" => [application: :axon, name: "Axon", slow: [:integration]],
    "polaris" => [application: :polaris, name: "Polaris"],
    "scholar" => [application: :scholar, name: "Scholar"]
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

  @doc "All test files, as paths from the root."
  @spec files(t()) :: [Path.t()]
  def files(library) do
    for file <- library.root |> Path.join("test/**/*_test.exs") |> Path.wildcard(),
        do: Path.relative_to(file, library.root)
  end

  @doc "The tags of the tests that are left out; `all` runs those that take minutes, too."
  @spec excluded(t(), boolean()) :: [atom()]
  def excluded(library, all?), do: library.excluded ++ if(all?, do: [], else: library.slow)
end
