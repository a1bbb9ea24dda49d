defmodule Mlx.MemoryProbe do
  @moduledoc "The memory of this virtual machine, and how smoothly its processes run, for tests in a child."

  alias Mlx.Native

  @doc "Collects garbage until MLX has freed what nobody holds, and gives its free buffers back to the system."
  @spec settle() :: :ok
  def settle do
    Enum.each(Process.list(), &:erlang.garbage_collect/1)
    Native.synchronize(nil)
    :ok = settle(Native.get_active_memory(), 20)
    Native.clear_cache()
  end

  # Large graphs are freed by a thread of the library.
  defp settle(_active, 0), do: :ok

  defp settle(active, tries) do
    Process.sleep(200)
    now = Native.get_active_memory()
    if now == active and tries < 18, do: :ok, else: settle(now, tries - 1)
  end

  @doc "MLX's active memory and the resident set, in bytes."
  @spec figures() :: {integer(), integer()}
  def figures, do: {Native.get_active_memory(), resident()}

  @doc "Prints what has been added since `before`."
  @spec report({integer(), integer()}) :: :ok
  def report({active, resident}) do
    {now_active, now_resident} = figures()
    IO.puts("active #{now_active - active} resident #{now_resident - resident}")
  end

  @doc """
  Calls `work` with a number of rounds, and prints what `count` rounds have added once `first` rounds have filled caches
  and the heap of malloc.
  """
  @spec measure(pos_integer(), pos_integer(), (pos_integer() -> term())) :: :ok
  def measure(first, count, work) do
    work.(first)
    settle()
    before = figures()
    work.(count)
    settle()
    report(before)
  end

  @doc "Makes a call that has to raise an error of this library."
  @spec must_fail((-> term())) :: :ok
  def must_fail(call) do
    call.()
    raise "the call did not fail"
  rescue
    _ in [Mlx.Error, ArgumentError] -> :ok
  end

  defp resident do
    case File.read("/proc/self/status") do
      {:ok, status} ->
        status |> number(~r/VmRSS:\s+(\d+) kB/) |> Kernel.*(1024)

      {:error, _} ->
        "ps" |> System.cmd(["-o", "rss=", "-p", System.pid()]) |> elem(0) |> number(~r/(\d+)/) |> Kernel.*(1024)
    end
  end

  defp number(text, pattern), do: pattern |> Regex.run(text, capture: :all_but_first) |> hd() |> String.to_integer()

  @doc "Starts a process that sleeps for a millisecond again and again."
  @spec start_jitter() :: pid()
  def start_jitter, do: spawn(fn -> jitter(System.monotonic_time(:millisecond), 0) end)

  @doc "The most milliseconds by which one of its sleeps was longer."
  @spec stop_jitter(pid()) :: non_neg_integer()
  def stop_jitter(pid) do
    send(pid, {:stop, self()})
    receive do: ({:jitter, longest} -> longest)
  end

  defp jitter(last, longest) do
    receive do
      {:stop, parent} -> send(parent, {:jitter, longest})
    after
      1 ->
        now = System.monotonic_time(:millisecond)
        jitter(now, max(longest, now - last - 1))
    end
  end
end
