defmodule Mlx.IO.WholeFile do
  @moduledoc false
  # Files that are whole or not there.

  @doc "Has a file written under another name in the same folder, with this extension, and then renames it."
  @spec write(Path.t(), String.t(), (Path.t() -> term())) :: :ok
  def write(path, extension, write) do
    temporary = "#{path}.#{System.pid()}-#{System.unique_integer([:positive])}#{extension}"

    try do
      write.(temporary)
      File.rename!(temporary, path)
    after
      File.rm(temporary)
    end
  end
end
