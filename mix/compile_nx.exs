defmodule Mix.Tasks.Compile.MlxNx do
  @moduledoc """
  Has the Elixir sources compiled again when Nx or Plug has come or gone since they were compiled: some modules are for them
  only.
  """

  use Mix.Task.Compiler

  @recursive true

  @impl true
  def run(args) do
    now = Enum.map_join([Nx, Plug.Conn], " ", &to_string(Code.ensure_loaded?(&1)))

    case File.read(manifest()) do
      {:ok, ^now} -> {:noop, []}
      before -> compile(match?({:ok, _other}, before), args, now)
    end
  end

  # The task of the Elixir compiler does not run a second time then.
  defp compile(again, args, now) do
    result = if again, do: Mix.Task.run("compile.elixir", ["--force" | args]), else: {:noop, []}
    File.mkdir_p!(Path.dirname(manifest()))
    File.write!(manifest(), now)
    result
  end

  @impl true
  def manifests, do: [manifest()]

  @impl true
  def clean do
    File.rm(manifest())
    :ok
  end

  defp manifest, do: Path.join(Mix.Project.manifest_path(), "compile.mlx_nx")
end
