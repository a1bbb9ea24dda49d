defmodule Mlx.LM.Server.TelemetryTest do
  use ExUnit.Case, async: false

  alias Mlx.{LM.Server, TelemetryEvents, TinyLlama}

  @tag :tmp_dir
  test "each stage of a request is an event", %{tmp_dir: folder} do
    TelemetryEvents.receive_all()
    path = Path.join(folder, "tiny.gguf")
    TinyLlama.save(path)
    server = start_supervised!({Server, model: path, prefill_step: 2})
    {:ok, _response} = Server.generate(server, [1, 2, 3, 4, 5], max_tokens: 4, ignore_eos: true)
    {:error, _error} = Server.generate(server, "")
    {:ok, response} = Server.generate(server, [1, 2, 3, 4, 5], max_tokens: 4, ignore_eos: true)

    assert_received {[:mlx, :server, :start], %{duration: waited, prompt_tokens: 5}, %{server: "tiny"}}
    assert waited > 0

    for tokens <- [2, 2, 1],
        do: assert_received({[:mlx, :server, :prefill], %{tokens: ^tokens, prompts: 1}, %{server: "tiny"}})

    assert_received {[:mlx, :server, :first_text], %{duration: first}, %{server: "tiny"}}
    for _step <- 1..3, do: assert_received({[:mlx, :server, :step], %{rows: 1, slots: 1}, %{server: "tiny"}})

    assert_received {[:mlx, :server, :stop],
                     %{duration: whole, prompt_tokens: 5, cached_tokens: 0, generated_tokens: 4}, %{reason: :length}}

    assert whole >= first
    assert_received {[:mlx, :server, :refused], %{waiting: 0}, %{server: "tiny", reason: :invalid}}
    assert_received {[:mlx, :server, :stop], %{cached_tokens: 4}, %{server: "tiny"}}
    assert response.cached_tokens == 4
  end

  @tag :tmp_dir
  test "drafted and accepted tokens are told, and how many prompts are read together", %{tmp_dir: folder} do
    TelemetryEvents.receive_all()
    path = Path.join(folder, "tiny.gguf")
    TinyLlama.save(path)
    server = start_supervised!({Server, model: path, draft: path, draft_tokens: 3})
    options = [max_tokens: 9, ignore_eos: true]
    refs = for seed <- 1..4, do: elem(Server.submit(server, [seed, 2, 3, 4, 5], options), 1)
    responses = for ref <- refs, do: assert_receive({Server, ^ref, {:done, response}}, 60_000) && response
    # The first token is the prompt's. The same model accepts all of its drafts, and each round gives one token more.
    for response <- responses, do: assert(response.speculation == %{rounds: 2, drafted: 6, accepted: 6})

    for _response <- responses do
      assert_received {[:mlx, :server, :stop], %{drafted_tokens: 6, accepted_tokens: 6, generated_tokens: 9}, _metadata}
    end

    # Of the model and of its drafts.
    assert (for {[:mlx, :server, :prefill], %{prompts: count, tokens: tokens}, _metadata} <- received() do
              assert tokens == 5 * count
              count
            end)
           |> Enum.sum() == 8
  end

  defp received do
    receive do
      event -> [event | received()]
    after
      0 -> []
    end
  end
end
