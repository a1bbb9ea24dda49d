defmodule Mlx.Memory.WiredTest do
  # Tickets are those of the whole virtual machine.
  use ExUnit.Case, async: false

  alias Mlx.Memory
  alias Mlx.Memory.{Ticket, Wired}

  setup do
    assert Memory.tickets() == %{held: [], waiting: []}
    assert Memory.wired_limit() == 0

    on_exit(fn -> wait_until(fn -> Memory.tickets() == %{held: [], waiting: []} and Memory.wired_limit() == 0 end) end)
  end

  defp wait_until(condition, tries \\ 500) do
    cond do
      condition.() -> :ok
      tries == 0 -> flunk("what was waited for did not come")
      true -> Process.sleep(10) && wait_until(condition, tries - 1)
    end
  end

  # A process that has a ticket, or waits for one, until it is told to stop.
  defp owner(bytes, options) do
    test = self()

    spawn(fn ->
      ticket = Memory.wire(bytes, options)
      send(test, {:held, self(), ticket})
      receive do: (:stop -> :ok)
    end)
  end

  defp owner_of_ticket(bytes, options) do
    owner = owner(bytes, options)
    assert_receive {:held, ^owner, ticket}, 2_000
    {owner, ticket}
  end

  defp wait_for_waiting(count), do: wait_until(fn -> length(Memory.tickets().waiting) == count end)

  describe "what tickets come to" do
    test "is by the policy" do
      for {policy, limits} <- [{:sum, [300, 1000, 1200]}, {:max, [300, 700, 700]}, {{:fixed, 5000}, [5000, 5000, 5000]}] do
        tickets =
          for {bytes, limit} <- Enum.zip([300, 700, 200], limits) do
            ticket = Memory.wire(bytes, policy: policy)
            assert {policy, Memory.wired_limit()} == {policy, limit}
            ticket
          end

        assert Memory.tickets().held == tickets
        for ticket <- tickets, do: assert(Memory.release(ticket) == :ok)
        assert Memory.wired_limit() == 0
      end
    end

    test "is the largest of several groups, and of the limit that was set" do
      Memory.set_wired_limit(500)
      a = for bytes <- [100, 300], do: Memory.wire(bytes, policy: :sum, group: :a)
      assert Memory.wired_limit() == 500
      b = for bytes <- [400, 200], do: Memory.wire(bytes, policy: :sum, group: :b)
      assert Memory.wired_limit() == 600
      c = Memory.wire(700)
      assert Memory.wired_limit() == 700
      Memory.release(c)
      assert Memory.wired_limit() == 600
      for ticket <- b, do: Memory.release(ticket)
      assert Memory.wired_limit() == 500
      assert Memory.set_wired_limit(0) == 500
      assert Memory.wired_limit() == 400
      for ticket <- a, do: Memory.release(ticket)
    end

    test "counts what is reserved only beside what is active" do
      weights = Memory.wire(1000, policy: :sum, kind: :reserved)
      assert Memory.wired_limit() == 0
      assert Memory.with_wired(200, [policy: :sum], &Memory.wired_limit/0) == 1200
      assert Memory.with_wired(200, [policy: :sum, group: :other], &Memory.wired_limit/0) == 200
      assert Memory.wired_limit() == 0
      Memory.release(weights)
      assert Memory.with_wired(200, [policy: :sum], &Memory.wired_limit/0) == 200
    end

    test "is what C can count at most" do
      tickets = for _ <- 1..3, do: Memory.wire(2 ** 70, policy: :sum, budget: :infinity)
      assert Memory.wired_limit() == 2 ** 64 - 1
      for ticket <- tickets, do: Memory.release(ticket)
    end

    test "is by default what Metal recommends, and is counted without" do
      ticket = Memory.wire()
      assert Memory.tickets().held == [ticket]
      if Mlx.Metal.available?(), do: assert(ticket.bytes > 0), else: assert(ticket.bytes == 0)
      assert Memory.wired_limit() == ticket.bytes
      Memory.release(ticket)
    end
  end

  describe "a budget" do
    @full [policy: :sum, budget: 1000]

    test "that is spent has the next wait for it, in order" do
      first = Memory.wire(700, @full)
      large = owner(600, @full)
      wait_for_waiting(1)
      # It would fit, and waits behind the large one.
      small = owner(200, @full)
      wait_for_waiting(2)
      assert [%Ticket{bytes: 600, owner: ^large}, %Ticket{bytes: 200, owner: ^small}] = Memory.tickets().waiting
      refute_received {:held, _owner, _ticket}

      # Those of another group do not wait.
      Memory.release(Memory.wire(800, [group: :other] ++ @full))

      Memory.release(first)
      assert_receive {:held, ^large, _ticket}
      assert_receive {:held, ^small, _ticket}
      assert Memory.wired_limit() == 800
      for owner <- [large, small], do: send(owner, :stop)
    end

    test "that is spent raises after the timeout, and says who holds it" do
      {owner, _ticket} = owner_of_ticket(700, @full)

      for timeout <- [0, 20] do
        message =
          "Mlx.Memory.wire: no room for 400 bytes within #{timeout} ms: of the budget of 1000 bytes, 700 are held by " <>
            "[#{inspect(owner)}]; have a ticket released (Mlx.Memory.tickets/0 lists them), or wait longer with the " <>
            "option :timeout"

        assert_raise Mlx.Error, message, fn -> Memory.wire(400, [timeout: timeout] ++ @full) end
      end

      assert_raise Mlx.Error, ~r/^Mlx.Memory.with_wired: no room for 400 bytes/, fn ->
        Memory.with_wired(400, [timeout: 0] ++ @full, fn -> :ok end)
      end

      assert Memory.tickets().waiting == []
      send(owner, :stop)
    end

    test "is larger than each ticket" do
      for {bytes, options} <- [{1001, @full}, {6, [policy: :max, budget: 5]}, {301, [policy: {:fixed, 300}]}] do
        message = ~r/^Mlx.Memory.wire: #{bytes} bytes are more than the budget of \d+ bytes; give a larger budget/
        assert_raise Mlx.Error, message, fn -> Memory.wire(bytes, options) end
      end
    end

    test "that is fixed is divided" do
      fixed = [policy: {:fixed, 1000}, timeout: 0]
      ticket = Memory.wire(700, fixed)
      assert_raise Mlx.Error, ~r/no room for 400 bytes/, fn -> Memory.wire(400, fixed) end
      assert Memory.with_wired(300, fixed, &Memory.wired_limit/0) == 1000
      Memory.release(ticket)
    end

    test "counts what is reserved" do
      ticket = Memory.wire(700, [kind: :reserved] ++ @full)
      assert_raise Mlx.Error, ~r/700 are held/, fn -> Memory.wire(400, [timeout: 0] ++ @full) end
      Memory.release(ticket)
    end
  end

  describe "a ticket" do
    test "is released with the end of its owner, for those who wait" do
      for stop <- [&send(&1, :stop), &Process.exit(&1, :kill)] do
        {owner, ticket} = owner_of_ticket(700, @full)
        assert {ticket.owner, ticket.bytes, ticket.kind} == {owner, 700, :active}
        waiting = owner(600, @full)
        wait_for_waiting(1)
        stop.(owner)
        assert_receive {:held, ^waiting, %Ticket{bytes: 600}}, 2_000
        Process.exit(waiting, :kill)
        wait_until(fn -> Memory.tickets().held == [] end)
        assert Memory.wired_limit() == 0
      end
    end

    test "that is waited for is forgotten with the end of its owner" do
      first = Memory.wire(700, @full)
      killed = owner(900, @full)
      wait_for_waiting(1)
      behind = owner(300, @full)
      wait_for_waiting(2)
      Process.exit(killed, :kill)
      assert_receive {:held, ^behind, _ticket}, 2_000
      assert Memory.tickets().waiting == []
      Memory.release(first)
      send(behind, :stop)
    end

    test "is released by any process, and a second time" do
      ticket = Memory.wire(100)
      assert Task.await(Task.async(fn -> Memory.release(ticket) end)) == :ok
      assert Memory.wired_limit() == 0
      other = Memory.wire(200)
      assert Memory.release(ticket) == :ok
      assert Memory.wired_limit() == 200
      Memory.release(other)
    end

    test "that is released while a process waits for it raises there" do
      first = Memory.wire(700, @full)
      task = Task.async(fn -> catch_error(Memory.wire(600, @full)) end)
      wait_for_waiting(1)
      [waiting] = Memory.tickets().waiting
      Memory.release(waiting)
      assert Task.await(task) == %Mlx.Error{message: "Mlx.Memory.wire: the ticket was released while it waited"}
      Memory.release(first)
    end

    test "is inspected with its bytes and its owner" do
      ticket = Memory.wire(100, kind: :reserved)
      assert inspect(ticket) == "#Mlx.Memory.Ticket<100 bytes, reserved, owned by #{inspect(self())}>"
      Memory.release(ticket)
    end

    test "needs arguments of the right kind" do
      message = "Mlx.Memory.release: expected a ticket of Mlx.Memory.wire/2, got: 1000"
      assert_raise ArgumentError, message, fn -> Memory.release(1000) end

      for {bytes, options, message} <- [
            {-1, [], "expected a number of bytes or :recommended, got: -1"},
            {:all, [], "expected a number of bytes or :recommended, got: :all"},
            {1.5, [], "expected a number of bytes or :recommended, got: 1.5"},
            {1, [policy: :least], "expected :policy to be :max, :sum or {:fixed, bytes}, got: :least"},
            {1, [policy: nil], "expected :policy to be :max, :sum or {:fixed, bytes}, got: nil"},
            {1, [policy: {:fixed, -1}], "expected :policy to be :max, :sum or {:fixed, bytes}, got: {:fixed, -1}"},
            {1, [budget: "1 GB"], ~s(expected :budget to be a number of bytes or :infinity, got: "1 GB")},
            {1, [kind: :passive], "expected :kind to be :active or :reserved, got: :passive"},
            {1, [timeout: nil], "expected :timeout to be milliseconds or :infinity, got: nil"},
            {1, [timeout: -5], "expected :timeout to be milliseconds or :infinity, got: -5"},
            {1, [limit: 5], "unknown option :limit, expected one of :policy, :budget, :group, :kind, :timeout"},
            {1, :sum, "expected options to be a keyword list, got: :sum"}
          ] do
        assert_raise ArgumentError, "Mlx.Memory.wire: " <> message, fn -> Memory.wire(bytes, options) end

        assert_raise ArgumentError, "Mlx.Memory.with_wired: " <> message, fn ->
          Memory.with_wired(bytes, options, fn -> :ok end)
        end
      end
    end
  end

  test "the process of the tickets heeds no messages of others" do
    ticket = Memory.wire(100)
    send(Wired, :stop)
    assert Memory.tickets().held == [ticket]
    Memory.release(ticket)
  end

  describe "when the process of the tickets ends" do
    # Until the supervisor has started another one.
    defp kill_server do
      server = Process.whereis(Wired)
      Process.exit(server, :kill)
      wait_until(fn -> Process.whereis(Wired) not in [nil, server] end)
    end

    test "nothing stays wired for its tickets, and others are given" do
      Memory.set_wired_limit(50)
      ticket = Memory.wire(700)
      assert Memory.wired_limit() == 700
      kill_server()
      wait_until(fn -> Memory.wired_limit() == 50 end)
      assert Memory.tickets() == %{held: [], waiting: []}
      assert Memory.release(ticket) == :ok
      assert Memory.with_wired(300, fn -> Memory.wired_limit() end) == 300
      assert Memory.set_wired_limit(0) == 50
    end

    test "with the application, nothing stays wired either" do
      ticket = Memory.wire(700)
      :ok = Supervisor.terminate_child(Mlx.Supervisor, Wired)
      assert Memory.wired_limit() == 0
      assert Memory.tickets() == %{held: [], waiting: []}
      assert Memory.release(ticket) == :ok
      assert_raise Mlx.Error, ~r/^Mlx.Memory.wire: the process that knows the tickets/, fn -> Memory.wire(1) end
    after
      {:ok, _server} = Supervisor.restart_child(Mlx.Supervisor, Wired)
    end

    test "who waits for a ticket hears of it" do
      ticket = Memory.wire(700, policy: :sum, budget: 1000)

      waiting =
        Task.async(fn ->
          assert_raise Mlx.Error, ~r/^Mlx.Memory.wire: the process that knows the tickets has ended \(:killed\)/, fn ->
            Memory.wire(700, policy: :sum, budget: 1000, timeout: :infinity)
          end
        end)

      wait_for_waiting(1)
      kill_server()
      assert %Mlx.Error{} = Task.await(waiting)
      assert Memory.release(ticket) == :ok
    end
  end

  # Steps of one test process on owners that it can kill, beside a model: the tickets in a list.
  test "random steps leave what a model has" do
    for _ <- 1..20, do: steps(60, [])
  end

  @policies [:sum, :max, {:fixed, 1500}]

  defp steps(0, held) do
    for {owner, _ticket} <- held, do: Process.exit(owner, :kill)
    wait_until(fn -> Memory.tickets().held == [] end)
    assert Memory.wired_limit() == 0
  end

  defp steps(left, held) do
    held =
      case Enum.random([:wire, :wire, :release, :kill]) do
        :wire -> wired(held, Enum.random(0..1200), Enum.random(@policies), Enum.random([:active, :reserved]))
        :release when held != [] -> ended(held, fn {_owner, ticket} -> Memory.release(ticket) end)
        :kill when held != [] -> ended(held, fn {owner, _ticket} -> Process.exit(owner, :kill) end)
        _nothing_to_end -> held
      end

    wait_until(fn -> Enum.sort(Memory.tickets().held) == held |> Enum.map(&elem(&1, 1)) |> Enum.sort() end)
    assert Memory.wired_limit() == limit(for {_owner, ticket} <- held, do: ticket)
    steps(left - 1, held)
  end

  defp wired(held, bytes, policy, kind) do
    spent = for {_owner, %Ticket{policy: ^policy, bytes: bytes}} <- held, do: bytes
    claimed = if policy == :max, do: Enum.max([bytes | spent]), else: Enum.sum([bytes | spent])
    options = [policy: policy, kind: kind, budget: 1500, timeout: 0]

    if claimed <= 1500 do
      [owner_of_ticket(bytes, options) | held]
    else
      assert_raise Mlx.Error, ~r/no room/, fn -> Memory.wire(bytes, options) end
      held
    end
  end

  defp ended(held, stop) do
    {_owner, _ticket} = one = Enum.random(held)
    stop.(one)
    List.delete(held, one)
  end

  defp limit(tickets) do
    limits =
      for policy <- @policies,
          tickets = Enum.filter(tickets, &(&1.policy == policy)),
          Enum.any?(tickets, &(&1.kind == :active)) do
        sizes = Enum.map(tickets, & &1.bytes)
        %{sum: Enum.sum(sizes), max: Enum.max(sizes)}[policy] || elem(policy, 1)
      end

    Enum.max(limits, fn -> 0 end)
  end

  test "many processes at once stay within the budget, also when some are killed" do
    held = fn -> Memory.tickets().held |> Enum.map(& &1.bytes) |> Enum.sum() end

    processes =
      for _ <- 1..30 do
        spawn_monitor(fn ->
          for _ <- 1..20 do
            Memory.with_wired(Enum.random(1..1000), [timeout: :infinity] ++ @full, fn ->
              if held.() > 1000, do: exit(:beyond_the_budget)
              if :rand.uniform(40) == 1, do: Process.exit(self(), :kill)
            end)
          end
        end)
      end

    for {process, monitor} <- processes do
      assert_receive {:DOWN, ^monitor, :process, ^process, reason} when reason in [:normal, :killed], 30_000
    end
  end
end
