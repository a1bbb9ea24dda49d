defmodule Mlx.Stress.Soak.Figures do
  @moduledoc false
  # What is in use while nobody asks.

  alias Mlx.Stress.Report

  @doc "The figures, when they have stopped going down."
  @spec settled() :: map()
  def settled, do: settled(now(), 20)

  defp settled(figures, 0), do: figures

  defp settled(figures, tries) do
    Process.sleep(300)
    next = now()
    if lower?(next, figures), do: settled(next, tries - 1), else: next
  end

  defp lower?(next, figures) do
    next.processes < figures.processes or next.ports < figures.ports or next.active < figures.active or
      next.beam < figures.beam - 500_000
  end

  defp now do
    for pid <- Process.list(), do: :erlang.garbage_collect(pid)

    %{
      active: Mlx.Memory.active(),
      beam: :erlang.memory(:total),
      atoms: :erlang.system_info(:atom_count),
      processes: :erlang.system_info(:process_count),
      ports: :erlang.system_info(:port_count),
      resident: Report.resident()
    }
  end

  @spec text(map()) :: String.t()
  def text(figures) do
    "active #{Report.megabytes(figures.active)}, BEAM #{Report.megabytes(figures.beam)}, #{figures.processes} processes, " <>
      "#{figures.ports} ports, #{figures.atoms} atoms" <>
      if(figures.resident, do: ", resident #{Report.megabytes(figures.resident)}", else: "")
  end
end
