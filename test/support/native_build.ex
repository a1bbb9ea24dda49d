defmodule Mlx.NativeBuild do
  @moduledoc false
  # What the native library was built with.

  @doc "The folder that a variable of the build names: `MLX_DIR` or `MLX_C_DIR`."
  @spec folder(String.t()) :: Path.t()
  def folder(variable) do
    cache = File.read!(Path.join(Mix.Project.app_path(), "native/CMakeCache.txt"))
    [_, folder] = Regex.run(~r/^#{variable}:\w+=(.+)$/m, cache)
    folder
  end
end
