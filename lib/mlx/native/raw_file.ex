defmodule Mlx.Native.RawFile do
  @moduledoc false
  # Small files that are read as the native library is loaded. In a release that is before the processes run through which
  # Erlang reads files otherwise; and files of Linux's kernel have no size.

  @most_bytes 65_536

  @doc "What the file holds, or nil where it cannot be read."
  @spec read(Path.t()) :: binary() | nil
  def read(path) do
    with {:ok, file} <- :file.open(path, [:raw, :read, :binary]) do
      result = :file.read(file, @most_bytes)
      :ok = :file.close(file)
      content(result)
    else
      {:error, _reason} -> nil
    end
  end

  defp content({:ok, bytes}), do: bytes
  defp content(:eof), do: ""
  defp content({:error, _reason}), do: nil
end
