defmodule Mlx.Hub.Lock do
  @moduledoc false
  # One process at a time, of all virtual machines that share a folder, also over a network.
  #
  # A lock is a file that only one can create. A keeper touches it every few seconds and deletes it when its process is done
  # or dead. A file that was not touched for long is that of a machine that died; where it was on this system, its process
  # is looked for, and nobody has to wait. Nothing is damaged where two hold a lock for all that: what they download is placed
  # by a rename, after its checksum was right.

  @beat 3_000
  @stale 20_000
  @poll 100

  @doc """
  Calls `fun` while no other process holds the lock, with whether it does. Where no file can be made, as on a disk that
  others own, it is not held. `waiting` is called each time that another is seen to hold it.
  """
  @spec with(Path.t(), (-> :ok), (held :: boolean() -> result)) :: result when result: term()
  def with(path, waiting, fun) do
    keeper = keeper(path)

    try do
      fun.(await(keeper, waiting))
    after
      release(keeper)
    end
  end

  defp await({_pid, monitor, ref} = keeper, waiting) do
    receive do
      {^ref, held} ->
        held

      {:DOWN, ^monitor, :process, _pid, _reason} ->
        false
    after
      @poll ->
        waiting.()
        await(keeper, waiting)
    end
  end

  defp release({pid, monitor, ref}) do
    send(pid, {ref, :release})

    receive do
      {:DOWN, ^monitor, :process, ^pid, _reason} -> :ok
    end
  end

  defp keeper(path) do
    owner = self()
    ref = make_ref()
    {pid, monitor} = spawn_monitor(fn -> keep(path, Process.monitor(owner), owner, ref) end)
    {pid, monitor, ref}
  end

  # The release is seen by the monitor, also where none could be held.
  defp keep(path, monitor, owner, ref) do
    case acquire(path, monitor, ref) do
      :ended ->
        :ok

      held ->
        send(owner, {ref, held})
        beat(path, held, monitor, ref)
        if held, do: File.rm(path)
    end
  end

  defp beat(path, held, monitor, ref) do
    receive do
      {^ref, :release} -> :ok
      {:DOWN, ^monitor, :process, _pid, _reason} -> :ok
    after
      @beat ->
        if held, do: File.touch(path)
        beat(path, held, monitor, ref)
    end
  end

  defp acquire(path, monitor, ref) do
    File.mkdir_p(Path.dirname(path))

    case create(path) do
      :ok ->
        true

      {:error, :eexist} ->
        remove_if_stale(path)
        wait(path, monitor, ref)

      {:error, _impossible} ->
        false
    end
  end

  defp wait(path, monitor, ref) do
    receive do
      {^ref, :release} -> :ended
      {:DOWN, ^monitor, :process, _pid, _reason} -> :ended
    after
      @poll -> acquire(path, monitor, ref)
    end
  end

  defp create(path) do
    with {:ok, file} <- :file.open(path, [:write, :raw, :exclusive]) do
      :file.write(file, identity())
      :file.close(file)
    end
  end

  # It is moved away before it is deleted: only one can move it. If another one has made a new lock meanwhile, it gets it back.
  defp remove_if_stale(path) do
    with {:ok, content} <- File.read(path), true <- stale?(path, content) do
      aside = "#{path}.#{unique()}"
      File.rename(path, aside)
      if match?({:ok, other} when other != content, File.read(aside)), do: File.ln(aside, path)
      File.rm(aside)
    end
  end

  # The time of the disk, which may be that of another machine, is compared with itself.
  defp stale?(path, content) do
    dead?(content) or
      with {:ok, %{mtime: touched}} <- File.stat(path, time: :posix), {:ok, now} <- time_of_disk(path) do
        (now - touched) * 1000 > @stale
      else
        _gone -> false
      end
  end

  defp time_of_disk(path) do
    probe = "#{path}.#{unique()}"

    with :ok <- File.write(probe, ""), {:ok, %{mtime: now}} <- File.stat(probe, time: :posix) do
      File.rm(probe)
      {:ok, now}
    end
  end

  # Whether the process of a lock was one of this system and is gone.
  defp dead?(content) do
    with [system, process, started] <- String.split(content, "\n"),
         true <- system == system(),
         true <- process =~ ~r/\A\d+\z/ do
      started(process) != started
    else
      _of_another_system -> false
    end
  end

  defp identity, do: Enum.join([system(), System.pid(), started(System.pid())], "\n")

  # A system is a host since it was started, and the container in it.
  defp system do
    {:ok, host} = :inet.gethostname()
    boot = with {:error, _none} <- File.read("/proc/sys/kernel/random/boot_id"), do: {:ok, ""}
    container = with {:error, _none} <- File.read_link("/proc/self/ns/pid"), do: {:ok, ""}
    Enum.map_join([{:ok, host}, boot, container], " ", fn {:ok, text} -> text |> to_string() |> String.trim() end)
  end

  # When a process was started, which tells it from a later one with its number. Empty where it is gone.
  defp started(process) do
    case File.read("/proc/#{process}/stat") do
      # The name of the program stands in parentheses, and may hold any.
      {:ok, stat} -> stat |> String.split(")") |> List.last() |> String.split() |> Enum.at(19)
      {:error, _none} -> started_by_ps(process)
    end
  end

  defp started_by_ps(process) do
    case File.dir?("/proc/self") || System.find_executable("ps") do
      ps when is_binary(ps) ->
        {text, _status} = System.cmd(ps, ["-o", "lstart=", "-p", process], env: [{"LC_ALL", "C"}, {"TZ", "UTC"}])
        String.trim(text)

      _none ->
        ""
    end
  end

  defp unique, do: Base.encode16(:crypto.strong_rand_bytes(6), case: :lower)
end
