defmodule Mlx.LM.Server.Group do
  @moduledoc false
  # Servers of the nodes of a cluster that answer the same requests, found by `:pg`.

  @doc "The process by which groups are known, of every node that has the library."
  @spec child_spec(term()) :: Supervisor.child_spec()
  def child_spec(_options), do: %{id: __MODULE__, start: {:pg, :start_link, [__MODULE__]}}

  @doc "The calling process is in a group until it ends."
  @spec join(term()) :: :ok
  def join(group), do: :pg.join(__MODULE__, group, self())

  @doc "The calling process is in a group no more."
  @spec leave(term()) :: :ok
  def leave(group) do
    :pg.leave(__MODULE__, group, self())
    :ok
  end

  @doc "Any server of a group, by preference one of this node; nil where there is none."
  @spec member(term()) :: pid() | nil
  def member(group) do
    with [] <- :pg.get_local_members(__MODULE__, group), [] <- :pg.get_members(__MODULE__, group) do
      nil
    else
      members -> Enum.random(members)
    end
  end

  @doc "All servers of a group."
  @spec members(term()) :: [pid()]
  def members(group), do: :pg.get_members(__MODULE__, group)
end
