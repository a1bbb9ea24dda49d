defmodule Mlx.Transforms.KernelFolder do
  @moduledoc false
  # The folder in which MLX keeps the kernels that it made for a CPU: a source and a library each. MLX never removes any,
  # and other virtual machines, other versions of MLX and Python use the folder, too.

  alias Mlx.Native

  @most_files 2_000
  @most_bytes 128 * 1024 * 1024

  # What a kernel and the compiler that makes it need at the least.
  @probe_bytes 1024 * 1024

  @doc "The folder of this version of MLX, or nil where the folder for temporary files is missing."
  @spec path() :: String.t() | nil
  def path, do: Native.kernel_folder()

  @doc """
  Removes the files that were used the longest time ago, until no more than `most_files` and `most_bytes` are there, for
  all versions of MLX together.

  A kernel that a virtual machine has loaded stays with it. One that it is about to load is missed there for a while, see
  `c_src/core/kernels/fused_kernel.cpp`.
  """
  @spec prune(String.t(), non_neg_integer(), non_neg_integer()) :: :ok
  def prune(folder, most_files \\ @most_files, most_bytes \\ @most_bytes) do
    folder |> files() |> Enum.sort(:desc) |> drop_kept(most_files, most_bytes) |> Enum.each(&File.rm(elem(&1, 2)))
  end

  # {last use, bytes, path} of each. Systems that keep no time of reading have that of the making.
  defp files(folder) do
    versions = folder |> Path.dirname() |> Path.dirname()

    for version <- list(versions),
        folder = Path.join([versions, version, "cpu"]),
        name <- list(folder),
        path = Path.join(folder, name),
        {:ok, %File.Stat{type: :regular} = stat} <- [File.lstat(path, time: :posix)],
        do: {max(stat.atime, stat.mtime), stat.size, path}
  end

  defp list(folder) do
    case File.ls(folder) do
      {:ok, names} -> names
      {:error, _reason} -> []
    end
  end

  defp drop_kept([{_last_use, bytes, _path} | rest], files, left) when files > 0 and bytes <= left,
    do: drop_kept(rest, files - 1, left - bytes)

  defp drop_kept(files, _files, _left), do: files

  @doc "What keeps kernels from being written, or nil."
  @spec problem() :: String.t() | nil
  def problem do
    case path() do
      nil -> "the folder for temporary files is missing (TMPDIR is #{System.get_env("TMPDIR", "not set")})"
      folder -> problem(folder)
    end
  end

  defp problem(folder) do
    probe = Path.join(folder, "probe-#{System.pid()}")
    written = with :ok <- File.mkdir_p(folder), do: File.write(probe, :binary.copy(<<0>>, @probe_bytes))
    _ = File.rm(probe)

    case written do
      :ok -> nil
      {:error, reason} -> "no kernels can be written into #{folder}: #{:file.format_error(reason)}"
    end
  end
end
