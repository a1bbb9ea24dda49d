defmodule Mlx.FileTree do
  @moduledoc "Files and the folders that they lie in."

  @doc "Writes each of the files, a map or list of paths in the folder and contents, and returns the folder."
  @spec write!(Path.t(), Enumerable.t({Path.t(), iodata()})) :: Path.t()
  def write!(folder, files) do
    for {name, content} <- files do
      path = Path.join(folder, name)
      File.mkdir_p!(Path.dirname(path))
      File.write!(path, content)
    end

    folder
  end
end
