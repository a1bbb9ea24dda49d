defmodule Mlx.Memory.Policy do
  @moduledoc false
  # What tickets for wired memory come to. Tickets of the same group, policy and budget are decided on together, and of
  # several such groups the largest is wired: MLX has one limit.

  alias Mlx.Memory.Ticket

  @doc "The bytes that stay wired for tickets."
  @spec wired([Ticket.t()]) :: non_neg_integer()
  def wired(tickets) do
    tickets
    |> Enum.group_by(&group/1)
    |> Enum.map(fn {_group, [%Ticket{policy: policy} | _] = tickets} ->
      if Enum.any?(tickets, &(&1.kind == :active)), do: wired(policy, sizes(tickets)), else: 0
    end)
    |> Enum.max(fn -> 0 end)
  end

  defp wired({:fixed, bytes}, _sizes), do: bytes
  defp wired(policy, sizes), do: claimed(policy, sizes)

  @doc "Whether there is room for a ticket beside those that are held."
  @spec admits?(Ticket.t(), [Ticket.t()]) :: boolean()
  def admits?(%Ticket{policy: policy} = ticket, held) do
    beside = Enum.filter(held, &(group(&1) == group(ticket)))
    # An atom is greater than every number.
    claimed(policy, sizes([ticket | beside])) <= ticket.budget
  end

  @doc "What tickets have in common that are decided on together."
  @spec group(Ticket.t()) :: term()
  def group(%Ticket{group: group, policy: policy, budget: budget}), do: {group, policy, budget}

  defp claimed(:max, sizes), do: Enum.max(sizes)
  defp claimed(_sum_or_fixed, sizes), do: Enum.sum(sizes)

  defp sizes(tickets), do: Enum.map(tickets, & &1.bytes)
end
