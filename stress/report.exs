defmodule Mlx.Stress.Report do
  @moduledoc false
  # What a part found out: figures as they come, and a line for each thing that has to be so.

  @type outcome :: :pass | :fail | :skip

  @spec figure(String.t()) :: :ok
  def figure(text), do: IO.puts("      " <> text)

  @spec check(String.t(), boolean(), String.t()) :: outcome()
  def check(what, true, detail), do: verdict(:pass, what, detail)
  def check(what, false, detail), do: verdict(:fail, what, detail)

  @spec skip(String.t(), String.t()) :: outcome()
  def skip(what, reason), do: verdict(:skip, what, reason)

  defp verdict(outcome, what, detail) do
    IO.puts("#{outcome |> to_string() |> String.upcase()}  #{what}: #{detail}")
    outcome
  end

  @doc "Errors and how often each came, for the text of a check."
  @spec errors(:ets.table()) :: {non_neg_integer(), String.t()}
  def errors(table) do
    counted = table |> :ets.tab2list() |> Enum.sort_by(fn {_message, count} -> -count end)
    total = counted |> Enum.map(fn {_message, count} -> count end) |> Enum.sum()
    lines = for {message, count} <- Enum.take(counted, 12), do: "\n      #{count} x #{String.slice(message, 0, 400)}"
    {total, "#{total}#{lines}"}
  end

  @spec count_error(:ets.table(), String.t()) :: integer()
  def count_error(table, message), do: :ets.update_counter(table, message, 1, {message, 0})

  @spec megabytes(integer()) :: String.t()
  def megabytes(bytes), do: "#{Float.round(bytes / 1.0e6, 1)} MB"

  @spec memory() :: String.t()
  def memory do
    info = Mlx.Memory.info()
    "active #{megabytes(info.active)}, cache #{megabytes(info.cache)}, peak #{megabytes(info.peak)}"
  end

  @doc "The bytes of memory that the process of the virtual machine has, or nil where there is no /proc."
  @spec resident() :: non_neg_integer() | nil
  def resident do
    with {:ok, status} <- File.read("/proc/#{System.pid()}/status"),
         [_all, kilobytes] <- Regex.run(~r/^VmRSS:\s+(\d+) kB/m, status) do
      String.to_integer(kilobytes) * 1024
    else
      _none -> nil
    end
  end

  @doc "Waits until MLX's active memory has come down to this, for at most 20 s, and returns what it is."
  @spec settle_memory(integer(), non_neg_integer()) :: integer()
  def settle_memory(wanted, tries \\ 100) do
    for pid <- Process.list(), do: :erlang.garbage_collect(pid)
    active = Mlx.Memory.active()

    if active <= wanted or tries == 0 do
      active
    else
      Process.sleep(200)
      settle_memory(wanted, tries - 1)
    end
  end
end
