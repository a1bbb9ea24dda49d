defmodule Mlx.Memory.Wired do
  @moduledoc false
  # The process that knows all tickets for wired memory, and has MLX wire what they come to. What it decides is in
  # `Mlx.Memory.Policy`. When it ends, all tickets end with it, and nothing stays wired for them.
  #
  # The reference of a ticket is the reference of the monitor that watches the owner of the ticket.

  use GenServer

  alias Mlx.Native
  alias Mlx.Arguments.{CalledFunction, Given}
  alias Mlx.Memory.{Policy, Ticket}

  @typep state :: %{held: [Ticket.t()], waiting: [{Ticket.t(), GenServer.from()}], wired: non_neg_integer()}

  # What a size is in C.
  @most_bytes 0xFFFFFFFFFFFFFFFF

  @spec start_link(keyword()) :: GenServer.on_start()
  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc """
  The ticket of the calling process, with its reference, when there is room for it.

  Raises `Mlx.Error`, for the public function `function`, when there is none within `timeout` milliseconds.
  """
  @spec wire(Ticket.t(), timeout(), String.t()) :: Ticket.t()
  def wire(%Ticket{} = ticket, timeout, function) do
    if not Policy.admits?(ticket, []) do
      raise Mlx.Error,
            "#{function}: #{ticket.bytes} bytes are more than the budget of #{ticket.budget} bytes; " <>
              "give a larger budget with the option :budget"
    end

    case call({:wire, ticket, timeout}) do
      {:ok, ticket} -> ticket
      {:error, %Mlx.Error{} = error} -> CalledFunction.name(function, ["Mlx.Memory.with_wired"], fn -> raise error end)
      {:error, reason} -> raise Mlx.Error, "#{function}: #{reason}"
    end
  end

  @doc "Ends the claim of a ticket, held or waiting; MLX wires no more for it when this returns."
  @spec release(Ticket.t()) :: :ok
  def release(%Ticket{ref: ref}), do: with({:error, _ended} <- call({:release, ref}), do: :ok)

  @doc "The tickets that are held and those that wait, each from the oldest to the newest."
  @spec tickets() :: %{held: [Ticket.t()], waiting: [Ticket.t()]}
  def tickets, do: with({:error, _ended} <- call(:tickets), do: %{held: [], waiting: []})

  # A script may use the library without having started the application.
  defp call(request) do
    if Process.whereis(__MODULE__) == nil, do: Application.ensure_all_started(:mlx)
    GenServer.call(__MODULE__, request, :infinity)
  catch
    :exit, {reason, {GenServer, :call, _arguments}} ->
      {:error, "the process that knows the tickets has ended (#{inspect(reason)}), and all tickets with it; try again"}
  end

  # What an earlier process that was killed had wired is not wired any more. A library that does not load says so in each
  # call.
  @impl GenServer
  def init(nil) do
    Process.flag(:trap_exit, true)
    Native.hold_wired_memory(0)
    {:ok, %{held: [], waiting: [], wired: 0}}
  rescue
    Mlx.Error -> :ignore
  end

  @impl GenServer
  def handle_call({:wire, ticket, timeout}, {owner, _tag} = from, state) do
    ticket = %{ticket | ref: Process.monitor(owner), owner: owner}
    if is_integer(timeout), do: Process.send_after(self(), {:late, ticket.ref, timeout}, timeout)
    {:noreply, admit(%{state | waiting: state.waiting ++ [{ticket, from}]})}
  end

  def handle_call({:release, ref}, _from, state) do
    {:reply, :ok, without(state, ref, "the ticket was released while it waited")}
  end

  def handle_call(:tickets, _from, state) do
    waiting = for {ticket, _from} <- state.waiting, do: ticket
    {:reply, %{held: state.held, waiting: waiting}, state}
  end

  @impl GenServer
  def handle_info({:DOWN, ref, :process, _pid, _reason}, state), do: {:noreply, without(state, ref, "its owner ended")}
  def handle_info({:late, ref, timeout}, state), do: {:noreply, expire(state, ref, timeout)}
  # Of whoever knows its name.
  def handle_info(_other, state), do: {:noreply, state}

  @impl GenServer
  def terminate(_reason, _state), do: Native.hold_wired_memory(0)

  @spec expire(state(), reference(), timeout()) :: state()
  defp expire(state, ref, timeout) do
    case Enum.find(state.waiting, fn {ticket, _from} -> ticket.ref == ref end) do
      {ticket, _from} -> without(state, ref, late(ticket, state.held, timeout))
      nil -> state
    end
  end

  defp late(ticket, held, timeout) do
    beside = Enum.filter(held, &(Policy.group(&1) == Policy.group(ticket)))
    owners = beside |> Enum.map(& &1.owner) |> Enum.uniq()

    "no room for #{ticket.bytes} bytes within #{timeout} ms: of the budget of #{ticket.budget} bytes, " <>
      "#{beside |> Enum.map(& &1.bytes) |> Enum.sum()} are held by #{Given.text(owners)}; " <>
      "have a ticket released (Mlx.Memory.tickets/0 lists them), or wait longer with the option :timeout"
  end

  # The state without a ticket, and with all those for which there is room then.
  defp without(state, ref, reason) do
    {refused, waiting} = Enum.split_with(state.waiting, fn {ticket, _from} -> ticket.ref == ref end)
    {released, held} = Enum.split_with(state.held, &(&1.ref == ref))
    if refused != [] or released != [], do: Process.demonitor(ref, [:flush])
    for {_ticket, from} <- refused, do: GenServer.reply(from, {:error, reason})
    state = %{state | held: held, waiting: waiting}

    case rewired(state) do
      {:ok, state} -> admit(state)
      # What is wired is lowered with the next ticket.
      {:error, _error} -> admit(state)
    end
  end

  # In the order in which they came: a small ticket does not pass by a large one of its group, which would wait for ever.
  @spec admit(state()) :: state()
  defp admit(state) do
    {state, _full} =
      Enum.reduce(state.waiting, {%{state | waiting: []}, []}, fn {ticket, _from} = claim, {state, full} ->
        group = Policy.group(ticket)

        if group not in full and Policy.admits?(ticket, state.held) do
          {hold(state, claim), full}
        else
          {%{state | waiting: state.waiting ++ [claim]}, [group | full]}
        end
      end)

    state
  end

  defp hold(state, {ticket, from}) do
    case rewired(%{state | held: state.held ++ [ticket]}) do
      {:ok, state} ->
        GenServer.reply(from, {:ok, ticket})
        state

      {:error, error} ->
        Process.demonitor(ticket.ref, [:flush])
        GenServer.reply(from, {:error, error})
        state
    end
  end

  defp rewired(state) do
    bytes = min(Policy.wired(state.held), @most_bytes)
    if bytes != state.wired, do: Native.hold_wired_memory(bytes)
    {:ok, %{state | wired: bytes}}
  rescue
    error in Mlx.Error -> {:error, error}
  end
end
