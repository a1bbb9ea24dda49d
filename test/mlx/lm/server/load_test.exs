defmodule Mlx.LM.Server.LoadTest do
  # Many clients that ask, cancel, end, ask for nonsense and are late: every one is answered, and nothing is left behind.
  use ExUnit.Case, async: false

  alias Mlx.LM.Server
  alias Mlx.LM.Server.Error
  alias Mlx.ServedModels

  @moduletag :tmp_dir
  @moduletag timeout: 600_000

  setup %{tmp_dir: folder}, do: %{lm: ServedModels.llama(folder)}

  defp prompt, do: for(_token <- 1..Enum.random(1..120), do: Enum.random(0..256))

  # What a client may do, and what may come of it.
  defp behave(:asks, server) do
    case Server.generate(server, prompt(), max_tokens: Enum.random(1..20), priority: Enum.random(-2..2)) do
      {:ok, response} -> assert response.generated_tokens in 1..20
      {:error, error} -> assert error.reason == :queue_full
    end
  end

  defp behave(:cancels, server) do
    with {:ok, ref} <- Server.submit(server, prompt(), max_tokens: 300) do
      Process.sleep(Enum.random(0..30))
      Server.cancel(server, ref)
      assert last(ref) in [:done, :cancelled]
    end
  end

  defp behave(:takes_some, server) do
    server |> Server.stream(prompt(), max_tokens: 300) |> Enum.take(Enum.random(1..3))
  rescue
    error in Error -> assert error.reason == :queue_full
  end

  defp behave(:dies, server) do
    {pid, monitor} = spawn_monitor(fn -> Server.generate(server, prompt(), max_tokens: 300) end)
    Process.sleep(Enum.random(0..30))
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, _reason}, 60_000
  end

  defp behave(:is_late, server) do
    result = Server.generate(server, prompt(), max_tokens: 300, deadline: Enum.random(1..40))
    assert match?({:ok, _}, result) or elem(result, 1).reason in [:deadline, :queue_full]
  end

  defp behave(:asks_for_nonsense, server) do
    nonsense = Enum.random([{"", []}, {[999], []}, {nil, []}, {"a", [top_p: 3]}, {"a", [nothing: 1]}, {"a", :nothing}])
    {:error, error} = Server.generate(server, elem(nonsense, 0), elem(nonsense, 1))
    assert error.reason in [:invalid, :queue_full]
  end

  defp last(ref) do
    receive do
      {Server, ^ref, {:done, _response}} -> :done
      {Server, ^ref, {:error, error}} -> error.reason
      {Server, ^ref, _event} -> last(ref)
    after
      60_000 -> flunk("no last event")
    end
  end

  defp load(server, clients) do
    kinds = [:asks, :asks, :cancels, :takes_some, :dies, :is_late, :asks_for_nonsense]

    1..clients
    |> Task.async_stream(fn client -> behave(Enum.at(kinds, rem(client, length(kinds))), server) end,
      max_concurrency: 64,
      timeout: 300_000
    )
    |> Stream.run()

    idle(server)
  end

  defp idle(server) do
    case Server.info(server) do
      %{active: 0, waiting: 0, memory: %{reserved: 0}} = info -> info
      _busy -> Process.sleep(10) && idle(server)
    end
  end

  test "all are answered, and slots, monitors and memory are free again", %{lm: lm} do
    server = start_supervised!({Server, model: lm, slots: 8, queue: 40, prompt_cache: 0, prefill_step: 32})
    load(server, 70)
    # Collects what no process reaches.
    {_array, _taken} = Mlx.Memory.measure(fn -> Mlx.array(0) end)
    before = Mlx.Memory.active()
    info = load(server, 280)
    {_array, _taken} = Mlx.Memory.measure(fn -> Mlx.array(0) end)

    # No more than a step of a batch, where the caches of a batch of 8 rows take 4 MiB.
    assert Mlx.Memory.active() - before < 1_000_000
    assert %{requests: requests, answered: answered, refused: refused, cancelled: cancelled, failed: 0} = info.counters
    assert answered > 0 and refused > 0 and cancelled > 0
    assert requests == answered + refused + cancelled
    state = :sys.get_state(server)
    assert {state.requests, state.monitors, state.active} == {%{}, %{}, 0}
    assert {:ok, response} = Server.generate(server, "abc", max_tokens: 20)
    assert response.ids == Mlx.LM.generate(lm, "abc", max_tokens: 20).ids
  end

  # Until the server has learned of the end of a runner.
  defp await_another(server, runner) do
    if :sys.get_state(server).runner == runner do
      Process.sleep(1)
      await_another(server, runner)
    end
  end

  @tag :capture_log
  test "requests end when the runner is killed again and again, and later ones are answered", %{lm: lm} do
    server = start_supervised!({Server, model: lm, slots: 4})

    killer =
      spawn_link(fn ->
        for _time <- 1..3 do
          Process.sleep(60)
          runner = :sys.get_state(server).runner
          Process.exit(runner, :kill)
          await_another(server, runner)
        end
      end)

    results =
      1..40
      |> Task.async_stream(fn _client -> Server.generate(server, prompt(), max_tokens: 20) end,
        max_concurrency: 16,
        timeout: 300_000
      )
      |> Enum.map(fn {:ok, result} -> result end)

    for result <- results, do: assert(match?({:ok, _}, result) or elem(result, 1).reason == :failed)
    monitor = Process.monitor(killer)
    assert_receive {:DOWN, ^monitor, _, _, reason} when reason in [:normal, :noproc], 60_000
    assert {:ok, _response} = Server.generate(server, "abc", max_tokens: 2)
    assert :sys.get_state(server).monitors == %{}
  end
end
