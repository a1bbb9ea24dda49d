defmodule Mlx.IO.WholeFile do
  @moduledoc false
  # Files that are whole or not there: written under another name in the same folder, brought to the disk, and then
  # renamed. The other name begins with a dot and has an extension of its own, so that nobody takes what a machine that
  # was killed leaves behind for a file.

  @large 1_048_576

  @doc """
  Writes pieces, one after the other: each is asked for when the one before it is written.

  Raises `File.Error`.
  """
  @spec write(Path.t(), Enumerable.t(iodata())) :: :ok
  def write(path, pieces) do
    replace(path, fn _temporary, file -> Enum.each(pieces, &put(file, &1, path)) end)
  end

  # The elements of an array that is not row after row are a copy: it does not wait for the next garbage collection.
  defp put(file, piece, path) do
    size = :erlang.iolist_size(piece)
    ok!(:file.write(file, piece), path)
    if size >= @large, do: :erlang.garbage_collect(self(), type: :minor)
  end

  @doc """
  Has a function write a file that is there already, empty, under the name that it is given.

  Raises `File.Error`.
  """
  @spec write_by_name(Path.t(), (Path.t() -> term())) :: :ok
  def write_by_name(path, write), do: replace(path, fn temporary, _file -> write.(temporary) end)

  defp replace(path, write) do
    {temporary, file} = create(path)

    try do
      try do
        write.(temporary, file)
        ok!(:file.sync(file), path)
      after
        :file.close(file)
      end

      ok!(:file.rename(temporary, path), path)
    after
      :file.delete(temporary)
    end
  end

  # A virtual machine in another container may have the same process number.
  defp create(path) do
    name = ".mlx-#{System.pid()}-#{System.unique_integer([:positive])}.tmp"
    temporary = path |> Path.dirname() |> Path.join(name)

    case :file.open(temporary, [:write, :exclusive, :raw, :binary]) do
      {:error, :eexist} -> create(path)
      result -> {temporary, ok!(result, path)}
    end
  end

  defp ok!(:ok, _path), do: :ok
  defp ok!({:ok, result}, _path), do: result
  defp ok!({:error, reason}, path), do: raise(File.Error, reason: reason, action: "write to file", path: path)
end
