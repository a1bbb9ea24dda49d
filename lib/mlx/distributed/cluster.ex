defmodule Mlx.Distributed.Cluster do
  @moduledoc false
  # Makes a ring of the nodes of an Erlang cluster. Erlang's distribution says who is there and at which address, and
  # carries the free ports; then MLX connects the nodes by its sockets.

  alias Mlx.Native
  alias Mlx.Arguments.Given
  alias Mlx.Distributed.{Group, Nodes, Ports}

  @name "Mlx.Distributed.init"
  @ring {__MODULE__, :ring}

  # In milliseconds: how long to connect takes at most where all nodes are there, how long a node takes to answer, and
  # after which time one that was not there is asked again.
  @connecting 10_000
  @answering 5_000
  @retry_after 100

  @doc "The ring of these nodes, in their order."
  @spec join([node()], String.t() | nil, timeout()) :: Group.t()
  def join(nodes, address, timeout) do
    check!(nodes, address)

    # One process of this virtual machine after the other.
    :global.trans({__MODULE__, self()}, fn -> once(nodes, address, timeout) end, [node()])
  end

  defp once(nodes, address, timeout) do
    case :persistent_term.get(@ring, nil) do
      {^nodes, group} -> group
      nil -> make(nodes, address, deadline(timeout))
      {others, _group} -> raise Mlx.Error, "#{@name}: this node is in a ring of #{inspect(others)} already"
    end
  end

  defp check!(nodes, address) do
    if not (is_list(nodes) and length(nodes) > 1 and Enum.all?(nodes, &is_atom/1) and Enum.uniq(nodes) == nodes) do
      raise ArgumentError, "#{@name}: expected :nodes to be a list of at least 2 nodes, got: #{Given.text(nodes)}"
    end

    if node() not in nodes do
      raise ArgumentError,
            "#{@name}: expected :nodes to hold this node, #{inspect(node())}, got: #{Given.text(nodes)}"
    end

    if not (is_nil(address) or
              (is_binary(address) and match?({:ok, _}, address |> to_charlist() |> :inet.parse_ipv4_address()))) do
      raise ArgumentError,
            "#{@name}: expected :address to be an address such as \"10.0.0.1\", got: #{Given.text(address)}"
    end
  end

  defp make(nodes, address, deadline) do
    for other <- nodes, other != node(), do: reach!(other, deadline)
    rank = Enum.find_index(nodes, &(&1 == node()))
    [port] = Ports.free(1, @name)
    about = %{port: port, address: address, next: address_of(Enum.at(nodes, rem(rank + 1, length(nodes))))}

    case Nodes.meet(nodes, about, left(deadline)) do
      {:ok, abouts} ->
        group = nodes |> hosts(abouts) |> connect(rank)
        :persistent_term.put(@ring, {nodes, group})
        Nodes.watch(nodes)
        group

      {:error, problem} ->
        raise Mlx.Error, "#{@name}: #{describe(problem)}"
    end
  end

  defp deadline(:infinity), do: :infinity
  defp deadline(timeout), do: System.monotonic_time(:millisecond) + timeout

  defp left(:infinity), do: :infinity
  defp left(deadline), do: max(deadline - System.monotonic_time(:millisecond), 0)

  # That it is there, and has a process for others to meet. It may be just starting.
  defp reach!(other, deadline) do
    problem = problem(other)

    cond do
      problem == nil ->
        :ok

      left(deadline) == 0 ->
        raise Mlx.Error, "#{@name}: the node #{inspect(other)} #{problem}"

      true ->
        Process.sleep(@retry_after)
        reach!(other, deadline)
    end
  end

  defp problem(other) do
    cond do
      not Node.connect(other) -> "cannot be reached; start it, with the same cookie"
      :erpc.call(other, Process, :whereis, [Nodes], @answering) == nil -> "has not started the application :mlx"
      true -> nil
    end
  rescue
    error in ErlangError -> "does not answer: #{inspect(error.original)}"
  end

  # At which this node sees the other, unless that is no address of version 4, which MLX needs.
  defp address_of(other) do
    case :net_kernel.node_info(other, :address) do
      {:ok, {:net_address, {ip, _port}, _host, _protocol, _family}} when tuple_size(ip) == 4 ->
        ip |> :inet.ntoa() |> to_string()

      _unknown ->
        nil
    end
  end

  # The node before it in the ring connects to a node, so that its view counts.
  defp hosts(nodes, abouts) do
    [last | others] = Enum.reverse(abouts)

    for {node, about, before} <- Enum.zip([nodes, abouts, [last | Enum.reverse(others)]]) do
      case about.address || before.next do
        nil ->
          raise Mlx.Error,
                "#{@name}: the address of #{inspect(node)} is unknown; give it there with the option :address"

        address ->
          "#{address}:#{about.port}"
      end
    end
  end

  defp connect(hosts, rank) do
    file = Path.join(System.tmp_dir!(), "mlx-ring-#{System.pid()}-#{System.unique_integer([:positive])}.json")
    File.write!(file, JSON.encode!(for host <- hosts, do: [host]))

    try do
      Group.wrap(Native.distributed_join_ring(file, rank, @connecting))
    after
      File.rm(file)
    end
  end

  defp describe({:missing, nodes}), do: "#{names(nodes)} did not call it with the same list in time"

  defp describe({:other_nodes, node, others}),
    do: "the node #{inspect(node)} called it with another list: #{inspect(others)}"

  defp describe({:ended, node}), do: "the node #{inspect(node)} has ended meanwhile"

  defp names([node]), do: "the node #{inspect(node)}"
  defp names(nodes), do: "the nodes #{inspect(nodes)}"
end
