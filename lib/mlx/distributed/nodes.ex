defmodule Mlx.Distributed.Nodes do
  @moduledoc false
  # The process by which the nodes of an Erlang cluster find together: each tells the others that it is there, with what a
  # ring has to know of it. From then on the process watches the nodes, and gives up the ring when one of them is gone.
  #
  # It runs on every node that has the library, so that nothing is lost that others say before this node is there.

  use GenServer

  alias Mlx.Native

  @typedoc "What a node says of itself; of any form."
  @type about :: term()

  @type problem :: {:missing, [node()]} | {:other_nodes, node(), [node()]} | {:ended, node()}

  # MLX itself learns of the end of a neighbour by its socket, and says so in less time. The last operation of a process
  # that has ended may still be under way.
  @patience 2_000

  defstruct here: %{}, waiting: %{}, ring: []

  @spec start_link(keyword()) :: GenServer.on_start()
  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "Waits until all nodes are there with the same list, and returns what each says of itself, in the order of the list."
  @spec meet([node()], about(), timeout()) :: {:ok, [about()]} | {:error, problem()}
  def meet(nodes, about, timeout) do
    Application.ensure_all_started(:mlx)
    GenServer.call(__MODULE__, {:meet, nodes, about, timeout}, :infinity)
  end

  @doc "Watches the nodes of a ring that was made."
  @spec watch([node()]) :: :ok
  def watch(nodes), do: GenServer.cast(__MODULE__, {:watch, nodes})

  @impl true
  def init(nil), do: {:ok, %__MODULE__{}}

  @impl true
  def handle_call({:meet, nodes, about, timeout}, from, state) do
    for other <- nodes, other != node() do
      Node.monitor(other, true)
      GenServer.cast({__MODULE__, other}, {:here, node(), nodes, about})
    end

    if timeout != :infinity, do: Process.send_after(self(), {:over, nodes, from}, timeout)
    {:noreply, state |> put_waiting(nodes, from) |> put_here(node(), nodes, about) |> settle()}
  end

  @impl true
  def handle_cast({:here, other, nodes, about}, state),
    do: {:noreply, state |> put_here(other, nodes, about) |> settle()}

  def handle_cast({:gone, other, nodes}, state), do: {:noreply, drop_here(state, other, nodes)}

  def handle_cast({:watch, nodes}, state) do
    for other <- nodes, other != node(), do: Node.monitor(other, true)
    {:noreply, %{state | ring: nodes}}
  end

  @impl true
  def handle_info({:over, nodes, from}, state) do
    case state.waiting do
      %{^nodes => ^from} -> {:noreply, give_up(state, nodes, {:missing, nodes -- Map.keys(here(state, nodes))})}
      _answered -> {:noreply, state}
    end
  end

  def handle_info({:nodedown, other}, state) do
    if other in state.ring, do: Process.send_after(self(), {:lost, other}, @patience)
    state = Enum.reduce(Map.keys(state.here), state, &drop_here(&2, other, &1))
    waiting = for nodes <- Map.keys(state.waiting), other in nodes, do: nodes
    {:noreply, Enum.reduce(waiting, state, &give_up(&2, &1, {:ended, other}))}
  end

  def handle_info({:lost, other}, state) do
    Native.distributed_lose("the node #{inspect(other)} has ended, or cannot be reached any more")
    {:noreply, state}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp here(state, nodes), do: Map.get(state.here, nodes, %{})
  defp put_waiting(state, nodes, from), do: put_in(state.waiting[nodes], from)

  defp put_here(state, other, nodes, about),
    do: put_in(state.here[nodes], state |> here(nodes) |> Map.put(other, about))

  defp drop_here(state, other, nodes), do: put_in(state.here[nodes], state |> here(nodes) |> Map.delete(other))

  # Answers whoever waits for nodes that are all there, or that are there with another list.
  defp settle(state) do
    Enum.reduce(Map.keys(state.waiting), state, fn nodes, state ->
      here = here(state, nodes)

      cond do
        Enum.all?(nodes, &is_map_key(here, &1)) -> answer(state, nodes, {:ok, Enum.map(nodes, &here[&1])})
        other = with_other_nodes(state, nodes) -> give_up(state, nodes, other)
        true -> state
      end
    end)
  end

  defp with_other_nodes(state, nodes) do
    Enum.find_value(state.here, fn {others, here} ->
      other = others != nodes && Enum.find(Map.keys(here), &(&1 in nodes and &1 != node()))
      other && {:other_nodes, other, others}
    end)
  end

  defp give_up(state, nodes, problem) do
    for other <- nodes, other != node(), do: GenServer.cast({__MODULE__, other}, {:gone, node(), nodes})
    answer(state, nodes, {:error, problem})
  end

  # Who comes later waits for all nodes anew.
  defp answer(state, nodes, reply) do
    {from, waiting} = Map.pop!(state.waiting, nodes)
    GenServer.reply(from, reply)
    state = %{state | waiting: waiting}

    if match?({:ok, _}, reply),
      do: %{state | here: Map.delete(state.here, nodes)},
      else: drop_here(state, node(), nodes)
  end
end
