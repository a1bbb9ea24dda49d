defmodule Mlx.Hub.FreeSpace do
  @moduledoc false
  # Whether a disk has room for a download, where the system tells: `df` knows it.

  @doc "Raises where the disk of a folder has less room than that."
  @spec check!(Path.t(), non_neg_integer()) :: :ok
  def check!(folder, needed) do
    case free(existing(folder)) do
      free when is_integer(free) and free < needed ->
        raise Mlx.Error,
              "the download needs #{megabytes(needed)} MB, and the disk of #{folder} has #{megabytes(free)} MB left; free " <>
                "some of it, or give another folder as :cache or HF_HUB_CACHE"

      _enough_or_unknown ->
        :ok
    end
  end

  defp existing(folder), do: if(File.dir?(folder) or folder == "/", do: folder, else: existing(Path.dirname(folder)))

  @doc "The bytes that are free on the disk of a folder, or nil."
  @spec free(Path.t()) :: non_neg_integer() | nil
  def free(folder) do
    with df when df != nil <- System.find_executable("df"),
         {text, 0} <- System.cmd(df, ["-Pk", folder], stderr_to_stdout: true, env: [{"LC_ALL", "C"}]),
         [_, free] <- Regex.run(~r/\s\d+\s+\d+\s+(\d+)\s+\d+%\s[^\n]*\n?\z/, text) do
      String.to_integer(free) * 1024
    else
      _unknown -> nil
    end
  end

  defp megabytes(bytes), do: div(bytes, 1_000_000)
end
