defmodule Mlx.Memory.Room do
  @moduledoc false
  # The memory that Linux lets the virtual machine have, where that is less than the machine has: a container's limit, which
  # ends the process that goes beyond it, and that of `ulimit -v`. MLX knows neither.

  alias Mlx.Native.RawFile

  # See Mlx.Native.
  require RawFile

  # Where the first or the second version of control groups is mounted, and the files with their limits. In the second
  # version a process that goes beyond `memory.high` is slowed down until hardly anything happens.
  @hierarchies [
    {~r/^0::(.*)$/m, ["sys/fs/cgroup", "sys/fs/cgroup/unified"], ["memory.max", "memory.high"]},
    {~r/^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$/m, ["sys/fs/cgroup/memory"], ["memory.limit_in_bytes"]}
  ]

  @doc """
  The bytes, or nil where there is no limit. `root` is the folder that stands for `/`.

  The limits of all groups count that the process's own is part of. In a container its own may look like the outermost.
  """
  @spec bytes(Path.t()) :: non_neg_integer() | nil
  def bytes(root \\ "/") do
    limits = [address_space(root) | groups(root)]
    limits |> Enum.reject(&is_nil/1) |> Enum.min(fn -> nil end)
  end

  defp groups(root) do
    own = read(root, "proc/self/cgroup")

    for {line, mounts, files} <- @hierarchies,
        [_line, group] <- [Regex.run(line, own)],
        mount <- mounts,
        folder <- folders(Path.join(root, mount), group),
        file <- files do
      folder |> read(file) |> number()
    end
  end

  # From the outermost group to the process's own. What it is named outside of the container may not be there.
  defp folders(mount, group) do
    group
    |> Path.split()
    |> Enum.reject(&(&1 in ["/", ".."]))
    |> Enum.scan(mount, &Path.join(&2, &1))
    |> then(&[mount | &1])
  end

  # What the virtual machine has reserved of its address space is gone.
  defp address_space(root) do
    limit = first(~r/^Max address space +(\d+)/m, read(root, "proc/self/limits"))
    used = first(~r/^VmSize:\s+(\d+) kB/m, read(root, "proc/self/status"))
    if limit, do: max(limit - 1024 * (used || 0), 0)
  end

  defp first(pattern, text) do
    with [_line, digits] <- Regex.run(pattern, text), do: number(digits)
  end

  # "max", and files that are not there, are no limit.
  defp number(text) do
    case Integer.parse(text) do
      {number, _rest} -> number
      :error -> nil
    end
  end

  defp read(folder, file), do: folder |> Path.join(file) |> RawFile.read() || ""
end
