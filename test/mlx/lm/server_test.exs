defmodule Mlx.LM.ServerTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.{Response, Server}
  alias Mlx.LM.Server.Error
  alias Mlx.TinyLlama

  @moduletag :tmp_dir

  doctest Mlx.LM.Server
  doctest Mlx.LM.Server.Error

  setup %{tmp_dir: folder} do
    path = Path.join(folder, "tiny.gguf")
    TinyLlama.save(path)
    lm = Mlx.LM.load(path, type: :f32)
    %{lm: %{lm | tokenizer: %{lm.tokenizer | end_ids: MapSet.new()}}}
  end

  defp server(lm, options \\ []), do: start_supervised!({Server, [model: lm] ++ options})

  defp collect(ref, events \\ []) do
    receive do
      {Server, ^ref, {last, _} = event} when last in [:done, :error] -> Enum.reverse([event | events])
      {Server, ^ref, event} -> collect(ref, [event | events])
    after
      30_000 -> flunk("no last event after #{inspect(Enum.reverse(events))}")
    end
  end

  # What a generation gives that does not tell of times.
  defp told(response), do: Map.take(response, [:text, :ids, :finish_reason, :prompt_tokens, :generated_tokens])

  describe "a request" do
    test "has the answer that it has alone", %{lm: lm} do
      server = server(lm)

      for prompt <- ["abc", [1, 2, 3], [%{role: "user", content: "hello"}]],
          options <- [[], [max_tokens: 1], [stop: ["a"]], [temperature: 0.9, seed: 4, logprobs: 2], [stop_ids: [97]]] do
        assert {:ok, %Response{context: nil} = response} = Server.generate(server, prompt, [max_tokens: 20] ++ options)
        alone = Mlx.LM.generate(lm, prompt, [max_tokens: 20] ++ options)
        assert told(response) == told(alone)
        assert response.logprobs == alone.logprobs
      end
    end

    test "is a stream of strings, and one of events", %{lm: lm} do
      server = server(lm)
      alone = Mlx.LM.generate(lm, "abc", max_tokens: 20)
      assert server |> Server.stream("abc", max_tokens: 20) |> Enum.join() == alone.text
      events = server |> Server.events("abc", max_tokens: 20, logprobs: 1) |> Enum.to_list()
      assert {:done, response} = List.last(events)
      assert told(response) == told(alone)
      assert for({:token, token} <- events, do: token) == response.logprobs
      assert Enum.join(for {:text, text} <- events, do: text) == alone.text
    end

    test "is events as messages", %{lm: lm} do
      server = server(lm)
      {:ok, ref} = Server.submit(server, "abc", max_tokens: 20)
      events = collect(ref)
      assert {:done, response} = List.last(events)
      assert told(response) == told(Mlx.LM.generate(lm, "abc", max_tokens: 20))
    end
  end

  describe "refusals" do
    test "say what is wrong", %{lm: lm} do
      server = server(lm)

      for {prompt, options, words} <- [
            {"", [], "Mlx.LM.Server.generate: the prompt is empty"},
            {[5000], [], "Mlx.LM.Server.generate: expected the prompt to have tokens from 0 to 258, got: 5000"},
            {:text, [], "Mlx.LM.Server.generate: expected the prompt to be a string, messages or tokens, got: :text"},
            {"a", [max_tokens: 0], "Mlx.LM.Server.generate: expected :max_tokens to be a positive integer, got: 0"},
            {"a", [temperature: :hot], "Mlx.LM.Server.generate: expected :temperature"},
            {"a", [nothing: 1], "Mlx.LM.Server.generate: unknown option :nothing, expected one of :max_tokens"},
            {"a", :nothing, "Mlx.LM.Server.generate: expected options to be a keyword list, got: :nothing"},
            {"a", [logit_bias: %{900 => 1.0}], "Mlx.LM.Server.generate: expected the tokens of :logit_bias"}
          ] do
        assert {:error, %Error{reason: :invalid, message: message}} = Server.generate(server, prompt, options)
        assert String.starts_with?(message, words)
      end

      assert {:error, %Error{reason: :too_large}} = Server.generate(server, List.duplicate(1, 601))

      assert_raise Error, ~r/^Mlx.LM.Server.stream: the prompt is empty/, fn ->
        Enum.to_list(Server.stream(server, ""))
      end

      assert Server.info(server).counters.refused == 10
    end
  end
end
