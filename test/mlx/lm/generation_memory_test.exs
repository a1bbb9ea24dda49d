defmodule Mlx.LM.GenerationMemoryTest do
  # What a generation holds comes back however it ends. Nothing else computes meanwhile.
  use ExUnit.Case, async: false

  alias Mlx.{Memory, TinyLlama}

  @moduletag :tmp_dir

  @options [temperature: 1.0, seed: 5, max_tokens: 60, logprobs: 2, presence_penalty: 0.1]

  # A prompt whose caches take 512 positions: 2 layers, keys and values, 2 heads, 16 features, 4 bytes.
  @prompt Enum.map(1..400, &rem(&1 * 37, 256))
  @caches 2 * 2 * 512 * 2 * 16 * 4

  setup %{tmp_dir: folder} do
    # MLX may use a free buffer again that is larger than what is asked for, and counts all of it.
    limit = Memory.set_cache_limit(0)
    on_exit(fn -> Memory.set_cache_limit(limit) end)
    path = Path.join(folder, "tiny.gguf")
    TinyLlama.save(path)
    lm = Mlx.LM.load(path, type: :f32)
    # A test that does not use the model any more holds it all the same.
    start_supervised!({Agent, fn -> lm end})
    # What is compiled stays.
    Mlx.LM.generate(lm, @prompt, @options)
    %{lm: lm}
  end

  # How many more bytes are alive after `fun` than before.
  defp left(fun) do
    before = settled()
    fun.()
    settled() - before
  end

  # With garbage.
  defp held do
    Mlx.Stream.synchronize()
    Memory.active()
  end

  # MLX may still compute what was scheduled.
  defp settled do
    :erlang.garbage_collect()
    Mlx.Stream.synchronize()
    active = Memory.active()
    Process.sleep(20)
    :erlang.garbage_collect()
    if Memory.active() == active, do: active, else: settled()
  end

  defp events(lm, options \\ []), do: Mlx.LM.events(lm, @prompt, @options ++ options)

  # Runs until the first event, tells the test, and waits.
  defp hold(lm, test) do
    Enum.each(events(lm), fn _event ->
      send(test, {:held, self(), Memory.active()})
      Process.sleep(:infinity)
    end)
  end

  test "a generation holds its caches", %{lm: lm} do
    before = settled()
    [{:done, response}] = lm |> events() |> Enum.filter(&match?({:done, _}, &1))
    assert (settled() - before) in @caches..(@caches + 1000)
    assert length(response.context.ids) > 400
  end

  test "after its end", %{lm: lm} do
    assert left(fn -> Enum.each(events(lm), fn _event -> :ok end) end) in -1000..1000
  end

  test "when the consumer takes no more, at once", %{lm: lm} do
    # The results are kept, and no garbage of this process is collected between the two looks.
    kept = lm |> events() |> Stream.map(&{&1, held()}) |> Enum.take(3)
    {_event, held} = List.last(kept)
    assert (held - held()) in (@caches - 1000)..(@caches + 1000)
    assert left(fn -> lm |> events() |> Stream.take(3) |> Stream.run() end) in -1000..1000
  end

  test "when the consumer raises, throws or exits", %{lm: lm} do
    for stop <- [fn -> raise "enough" end, fn -> throw(:enough) end, fn -> exit(:enough) end] do
      assert left(fn ->
               try do
                 Enum.each(events(lm), fn _event -> stop.() end)
               rescue
                 RuntimeError -> :ok
               catch
                 _kind, :enough -> :ok
               end
             end) in -1000..1000
    end
  end

  test "when the function that is told of the progress raises", %{lm: lm} do
    for last <- [100, 400] do
      stop = fn {:prefill, done, 400} -> if done >= last, do: raise("enough") end

      assert left(fn ->
               assert_raise RuntimeError, fn -> Enum.to_list(events(lm, progress: stop, prefill_step: 100)) end
             end) in -1000..1000
    end
  end

  test "when the process is killed in the middle", %{lm: lm} do
    test = self()
    before = settled()

    for _round <- 1..3 do
      {pid, monitor} = spawn_monitor(fn -> hold(lm, test) end)
      assert_receive {:held, ^pid, active}, 60_000
      assert active - before >= @caches
      Process.exit(pid, :kill)
      assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
    end

    assert (settled() - before) in -1000..1000
  end

  test "when the process is killed while the prompt is read", %{lm: lm} do
    test = self()

    assert left(fn ->
             wait = fn {:prefill, done, _total} ->
               if done == 200, do: send(test, {:read, self()}) && Process.sleep(:infinity)
             end

             {pid, monitor} = spawn_monitor(fn -> Enum.to_list(events(lm, progress: wait, prefill_step: 100)) end)
             assert_receive {:read, ^pid}, 60_000
             Process.exit(pid, :kill)
             assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
           end) in -1000..1000
  end

  test "with drafts, of which a model has caches of its own", %{lm: lm} do
    for draft <- [lm, :prompt] do
      # What is compiled stays.
      lm |> events(draft: draft) |> Stream.run()
      kept = lm |> events(draft: draft) |> Stream.map(&{&1, held()}) |> Enum.take(5)
      {_event, held} = List.last(kept)
      caches = if draft == lm, do: 2 * @caches, else: @caches
      assert (held - held()) in (caches - 4000)..(caches + 4000)
      assert left(fn -> lm |> events(draft: draft) |> Stream.take(5) |> Stream.run() end) in -1000..1000
      assert left(fn -> lm |> events(draft: draft) |> Stream.run() end) in -1000..1000
    end
  end

  test "with functions of the user's own, whose step ends with the generation", %{lm: lm} do
    generate = fn ->
      bias = Mlx.Random.normal({1, 259}) |> Mlx.eval()
      options = [logits_processors: [fn _tokens, logits -> Mlx.add(logits, bias) end], max_tokens: 3]
      lm |> Mlx.LM.stream("abc", options) |> Stream.run()
    end

    generate.()
    assert left(fn -> for _ <- 1..5, do: generate.() end) in -1000..1000
  end
end
