defmodule Mlx.LM.ServerTest do
  use ExUnit.Case, async: true

  import Mlx.ServedModels, only: [alone: 2, mixed: 2, together: 3, told: 1]

  alias Mlx.LM.{Grammar, Response, Server}
  alias Mlx.LM.Server.Error
  alias Mlx.ServedModels

  @moduletag :tmp_dir

  doctest Mlx.LM.Server
  doctest Mlx.LM.Server.Error

  setup %{tmp_dir: folder}, do: %{lm: ServedModels.llama(folder)}

  defp server(lm, options \\ []), do: start_supervised!({Server, [model: lm] ++ options})

  defp collect(ref, events \\ []) do
    receive do
      {Server, ^ref, {last, _} = event} when last in [:done, :error] -> Enum.reverse([event | events])
      {Server, ^ref, event} -> collect(ref, [event | events])
    after
      120_000 -> flunk("no last event after #{inspect(Enum.reverse(events))}")
    end
  end

  # They differ in the last bits, where a prompt was read in other parts.
  defp assert_same_logprobs(nil, nil), do: :ok

  defp assert_same_logprobs(given, expected) do
    assert length(given) == length(expected)

    for {token, other} <- Enum.zip(given, expected) do
      assert {token.id, length(token.top)} == {other.id, length(other.top)}
      assert_in_delta token.logprob, other.logprob, 1.0e-4
      for {{_, a}, {_, b}} <- Enum.zip(token.top, other.top), do: assert_in_delta(a, b, 1.0e-4)
    end
  end

  describe "a request" do
    test "has the answer that it has alone", %{lm: lm} do
      server = server(lm)

      for prompt <- ["abc", [1, 2, 3], [%{role: "user", content: "hello"}]],
          options <- [[], [max_tokens: 1], [stop: ["a"]], [temperature: 0.9, seed: 4, logprobs: 2], [stop_ids: [97]]] do
        assert {:ok, %Response{context: nil} = response} = Server.generate(server, prompt, options ++ [max_tokens: 20])
        alone = Mlx.LM.generate(lm, prompt, options ++ [max_tokens: 20])
        assert told(response) == told(alone)
        assert_same_logprobs(response.logprobs, alone.logprobs)
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

  describe "many requests at once" do
    @tag timeout: 600_000
    test "have the answers that they have alone", %{lm: lm} do
      server = server(lm, prefill_step: 50)
      requests = mixed(200, 257)
      alone = alone(lm, requests)
      for at_once <- [1, 4, 16, 32], do: assert(together(server, requests, at_once) == alone)
      assert %{active: 0, waiting: 0, memory: %{reserved: 0}, counters: %{answered: 800}} = Server.info(server)
    end

    test "have their own samplers, and the tokens of their seeds", %{lm: lm} do
      server = server(lm, slots: 4)

      settings = [
        [temperature: 1.0, seed: 1],
        [temperature: 0.7, top_p: 0.9, seed: 2],
        [],
        [temperature: 1.3, top_k: 5, min_p: 0.05, seed: 3, logprobs: 3],
        [repetition_penalty: 1.4, presence_penalty: 0.5, frequency_penalty: 0.3],
        [logit_bias: %{7 => 9.0}, temperature: 0.5, seed: 4],
        [temperature: 1.0, xtc_probability: 0.5, xtc_threshold: 0.05, seed: 5],
        [logits_processors: [fn _tokens, logits -> Mlx.negate(logits) end]],
        [sampler: fn logprobs -> Mlx.argmin(logprobs, axis: -1) end]
      ]

      answers =
        settings
        |> Task.async_stream(&Server.generate(server, "abcabc", [max_tokens: 16] ++ &1),
          max_concurrency: 9,
          timeout: 120_000
        )
        |> Enum.map(fn {:ok, {:ok, response}} -> {response.ids, response.logprobs} end)

      for {options, {ids, logprobs}} <- Enum.zip(settings, answers) do
        alone = Mlx.LM.generate(lm, "abcabc", [max_tokens: 16] ++ options)
        assert ids == alone.ids

        assert_same_logprobs(logprobs, alone.logprobs)
      end
    end

    test "do not suffer from one whose function raises", %{lm: lm} do
      server = server(lm)
      raising = fn _tokens, _logits -> raise "broken" end
      other = Task.async(fn -> Server.generate(server, "abc", max_tokens: 100) end)

      assert {:error, %Error{reason: :failed, message: message}} =
               Server.generate(server, "abc", logits_processors: [raising])

      assert message == "Mlx.LM.Server.generate: broken"
      assert {:ok, response} = Task.await(other)
      assert told(response) == told(Mlx.LM.generate(lm, "abc", max_tokens: 100))
    end
  end

  describe "requests with a grammar" do
    # Grammars beside options: such of one text, of many, of text without an end, and of what a client compiled.
    defp grammars(lm) do
      schema = %{
        type: "object",
        properties: [{"name", %{type: "string", maxLength: 9}}, {"age", %{type: "integer"}}],
        required: ["name", "age"],
        additionalProperties: false
      }

      hello = Grammar.choices(["hello", "hello world, how are you?"])

      [
        [grammar: hello],
        [grammar: hello, temperature: 1.0, seed: 2],
        [],
        [grammar: Grammar.regex("[0-9]{20}"), logprobs: 1],
        [grammar: Grammar.choices(["ends"]), stop_ids: [9]],
        [temperature: 0.8, seed: 3],
        [grammar: Grammar.choices(["hello"]), max_tokens: 3],
        [grammar: Grammar.json_schema(schema), temperature: 0.7, seed: 5],
        [grammar: Grammar.json_schema(schema, whitespace: :none) |> Grammar.compile(lm), temperature: 1.0, seed: 6],
        [grammar: Grammar.choices(["hello"]), stop: ["lo"]],
        [grammar: Grammar.ebnf("root ::= [a-f]+ [0-9] | root root"), min_p: 0.1, temperature: 1.5, seed: 8],
        [repetition_penalty: 1.2]
      ]
    end

    test "have the texts that they have alone, at once with each other and with others", %{lm: lm} do
      for lm <- [lm, %{lm | tokenizer: %{lm.tokenizer | end_ids: MapSet.new([258])}}] do
        requests = for options <- grammars(lm), do: Keyword.put_new(options, :max_tokens, 60)
        alone = for options <- requests, do: Mlx.LM.generate(lm, "abc", options)
        server = start_supervised!({Server, model: lm, slots: 8}, id: make_ref())

        for at_once <- [3, 12] do
          answers =
            requests
            |> Task.async_stream(&Server.generate(server, "abc", &1), max_concurrency: at_once, timeout: 60_000)
            |> Enum.map(fn {:ok, {:ok, response}} -> response end)

          for {{answer, expected}, options} <- answers |> Enum.zip(alone) |> Enum.zip(requests) do
            assert {options, told(answer)} == {options, told(expected)}
            assert_same_logprobs(answer.logprobs, expected.logprobs)
          end
        end

        texts = for response <- alone, do: response.text
        assert hd(texts) in ["hello", "hello world, how are you?"]
        assert Enum.at(texts, 3) =~ ~r/\A\d{20}\z/
        assert ["ends", "hel", "hel"] == for(index <- [4, 6, 9], do: Enum.at(texts, index))
        assert [:stop, :length, :stop] == for(index <- [4, 6, 9], do: Enum.at(alone, index).finish_reason)
      end
    end

    test "that is none are refused", %{lm: lm} do
      server = server(lm)

      for grammar <- ["text", %{}, MapSet.new()] do
        assert {:error, %Error{reason: :invalid, message: message}} = Server.generate(server, "abc", grammar: grammar)
        expected = "expected :grammar to be a Mlx.LM.Grammar or a compiled one, or nil, got: "
        assert message =~ "Mlx.LM.Server.generate: " <> expected
      end

      never = Grammar.choices([""])
      assert {:error, %Error{reason: :invalid, message: message}} = Server.generate(server, "abc", grammar: never)
      assert message =~ "Mlx.LM.Server.generate: expected :grammar to have a text beside the empty one"
    end
  end

  defp eventually(server, wanted, tries \\ 6000) do
    info = Server.info(server)

    cond do
      match?(^wanted, Map.take(info, Map.keys(wanted))) -> info
      tries == 0 -> flunk("expected #{inspect(wanted)}, got: #{inspect(info)}")
      true -> Process.sleep(10) && eventually(server, wanted, tries - 1)
    end
  end

  # A request that goes on until it is left.
  defp endless(server, options \\ []) do
    {:ok, ref} = Server.submit(server, "abc", [max_tokens: 590] ++ options)
    ref
  end

  describe "a request that is left" do
    test "by cancel/2 has an error as its last event, and its slot is free", %{lm: lm} do
      server = server(lm, slots: 1)
      {active, waiting} = {endless(server), endless(server)}
      assert_receive {Server, ^active, {:text, _text}}, 60_000
      assert %{active: 1, waiting: 1} = Server.info(server)
      assert Server.cancel(server, waiting) == :ok
      assert Server.cancel(server, active) == :ok
      for ref <- [active, waiting], do: assert({:error, %Error{reason: :cancelled}} = List.last(collect(ref)))
      assert %{active: 0, waiting: 0, memory: %{reserved: 0}} = Server.info(server)
      assert Server.cancel(server, active) == :ok
      assert {:ok, _response} = Server.generate(server, "abc", max_tokens: 2)
      refute_received {Server, _ref, _event}
    end

    test "by a client that ends is no more", %{lm: lm} do
      server = server(lm)
      test = self()

      {client, monitor} =
        spawn_monitor(fn ->
          ref = endless(server)
          receive do: ({Server, ^ref, {:text, _text}} -> send(test, :started))
          Process.sleep(:infinity)
        end)

      assert_receive :started, 60_000
      assert %{active: 1} = Server.info(server)
      Process.exit(client, :kill)
      assert_receive {:DOWN, ^monitor, _, _, _}
      assert %{counters: %{cancelled: 1}} = eventually(server, %{active: 0, waiting: 0})
    end

    test "by a stream that is not read to its end is no more, and sends nothing more", %{lm: lm} do
      server = server(lm)
      assert [_one, _two] = server |> Server.stream("abc", max_tokens: 590) |> Enum.take(2)
      eventually(server, %{active: 0, waiting: 0})
      Process.sleep(50)
      assert Process.info(self(), :messages) == {:messages, []}
    end

    test "after its deadline has an error", %{lm: lm} do
      server = server(lm, slots: 1)
      endless(server)
      assert {:error, %Error{reason: :deadline, message: message}} = Server.generate(server, "abc", deadline: 30)
      assert message == "Mlx.LM.Server.generate: there was no whole answer within 30 ms"
      raised = assert_raise Error, fn -> server |> Server.stream("abc", deadline: 1) |> Enum.to_list() end
      assert raised.reason == :deadline
    end
  end

  describe "requests that wait" do
    test "are as many as may, and those of a higher priority go first", %{lm: lm} do
      server = server(lm, slots: 1, queue: 3)
      first = endless(server)
      assert_receive {Server, ^first, {:text, _text}}, 60_000
      test = self()

      for {name, priority} <- [low: -1, normal: 0, high: 5] do
        spawn_link(fn ->
          {:ok, _response} = Server.generate(server, "abc", max_tokens: 2, priority: priority)
          send(test, {:answered, name})
        end)

        eventually(server, %{waiting: %{low: 1, normal: 2, high: 3}[name]})
      end

      # One more may come, which would have the slot.
      assert {:error, %Error{reason: :queue_full}} = Server.generate(server, "abc", queue: false)
      Server.cancel(server, first)

      answered =
        for _answer <- 1..3 do
          assert_receive {:answered, name}, 60_000
          name
        end

      assert answered == [:high, :normal, :low]
    end

    test "are refused when there are too many", %{lm: lm} do
      server = server(lm, slots: 1, queue: 2)
      refs = for _request <- 1..3, do: endless(server)
      eventually(server, %{active: 1, waiting: 2})
      assert {:error, %Error{reason: :queue_full, message: message}} = Server.submit(server, "abc")
      assert message == "Mlx.LM.Server.submit: 2 requests wait already, which is the most; try again later"
      for ref <- refs, do: Server.cancel(server, ref)
    end

    test "wait for memory, and what never fits is refused", %{lm: lm} do
      # Keys and values of 2 layers with 2 heads of 16 features, in steps of 256 positions.
      step = 2 * 2 * 2 * 16 * 4 * 256
      server = server(lm, memory: 2 * step)
      assert {:error, %Error{reason: :too_large, message: message}} = Server.generate(server, "abc", max_tokens: 600)
      assert message =~ "needs #{3 * step} bytes for its caches, with 2 tokens of the prompt and up to 599"
      {:ok, one} = Server.submit(server, "abc", max_tokens: 240)
      {:ok, two} = Server.submit(server, "abc", max_tokens: 240)
      {:ok, three} = Server.submit(server, "abc", max_tokens: 240)
      eventually(server, %{active: 2, waiting: 1, memory: %{limit: 2 * step, reserved: 2 * step}})
      for ref <- [one, two, three], do: assert({:done, _response} = List.last(collect(ref)))
    end
  end

  describe "a server" do
    test "that stops refuses those that wait, and goes on with the others", %{lm: lm} do
      {:ok, server} = Server.start_link(model: lm, slots: 1)
      {:ok, active} = Server.submit(server, "abc", max_tokens: 60)
      assert_receive {Server, ^active, {:text, _text}}, 60_000
      {:ok, waiting} = Server.submit(server, "abc", max_tokens: 60)
      eventually(server, %{active: 1, waiting: 1})
      assert Server.stop(server) == :ok
      assert {:done, %Response{generated_tokens: 60}} = List.last(collect(active))
      assert [{:error, %Error{reason: :shutdown}}] = collect(waiting)
      assert {:error, %Error{reason: :shutdown}} = Server.generate(server, "abc")
      assert_raise Error, fn -> Server.info(:nobody) end
    end

    test "that stops ends what takes longer than it may", %{lm: lm} do
      {:ok, server} = Server.start_link(model: lm, drain: 20)
      ref = endless(server)
      assert_receive {Server, ^ref, {:text, _text}}, 60_000
      assert Server.stop(server) == :ok
      assert {:error, %Error{reason: :shutdown}} = List.last(collect(ref))
    end

    @tag :capture_log
    test "goes on when the computation breaks down, and starts anew when that happens often", %{lm: lm} do
      server = server(lm, slots: 1, name: :breaking_server)
      runner = fn pid -> :sys.get_state(pid).runner end
      {active, waiting} = {endless(server), endless(server)}
      assert_receive {Server, ^active, {:text, _text}}, 60_000
      Process.exit(runner.(server), :kill)
      assert {:error, %Error{reason: :failed, message: message}} = List.last(collect(active))
      assert message =~ "Mlx.LM.Server.submit: the computation broke down: :killed"
      assert_receive {Server, ^waiting, {:text, _text}}, 60_000
      Server.cancel(server, waiting)
      monitor = Process.monitor(server)
      client = Task.async(fn -> Server.generate(server, "abc", max_tokens: 590) end)

      for _time <- 1..3, Process.alive?(server) do
        Process.exit(runner.(server), :kill)
        Process.sleep(20)
      end

      assert_receive {:DOWN, ^monitor, :process, ^server, {:runner, :killed}}, 5000
      assert {:error, %Error{reason: :failed}} = Task.await(client)
      assert {:ok, _response} = wait_for(:breaking_server, 100)
    end

    defp wait_for(name, tries) do
      case Server.generate(name, "abc", max_tokens: 2) do
        {:error, %Error{reason: :shutdown}} when tries > 0 -> Process.sleep(20) && wait_for(name, tries - 1)
        answer -> answer
      end
    end

    @tag :capture_log
    test "that is killed is told of to those that wait for an answer", %{lm: lm} do
      Process.flag(:trap_exit, true)
      {:ok, server} = Server.start_link(model: lm)
      client = Task.async(fn -> Server.generate(server, "abc", max_tokens: 590) end)
      eventually(server, %{active: 1})
      Process.exit(server, :kill)
      assert {:error, %Error{reason: :failed, message: message}} = Task.await(client)
      assert message =~ "the server has failed (:killed)"
    end

    test "that ends while a prompt is read leaves nothing in the log" do
      log =
        ExUnit.CaptureLog.capture_log(fn ->
          # Of this process nothing is known, as of a server that has ended.
          {pid, reading} = Server.Intake.start(make_ref(), "abc", [], "a test")
          assert_receive {:DOWN, ^reading, :process, ^pid, :normal}, 5000
        end)

      assert log == ""
    end

    test "tells of its model, and is found by its name and its group", %{lm: lm} do
      server = server(lm, name: :named_server, group: {:tiny, 1})
      assert %{name: "tiny", context_length: 600, tokenizer: tokenizer, template: %{}} = Server.model(server)
      assert Mlx.LM.Tokenizer.size(tokenizer) == 259
      assert Server.model(:named_server).name == "tiny"

      for found <- [:named_server, {:named_server, node()}, {:group, {:tiny, 1}}] do
        assert {:ok, %Response{}} = Server.generate(found, "abc", max_tokens: 2)
        assert %{model: "tiny"} = Server.info(found)
      end

      {:ok, ref} = Server.submit({:group, {:tiny, 1}}, "abc", max_tokens: 590)
      assert Server.cancel({:group, {:tiny, 1}}, ref) == :ok
      assert {:error, %Error{reason: :cancelled}} = List.last(collect(ref))
      assert {:error, %Error{reason: :shutdown}} = Server.generate({:group, :nobody}, "abc")
    end

    test "refuses options that it does not have", %{lm: lm} do
      assert_raise ArgumentError, ~r/^Mlx.LM.Server.start_link: unknown option :modell, expected one of :model/, fn ->
        Server.start_link(modell: lm)
      end

      assert_raise ArgumentError, ~r/^Mlx.LM.Server.start_link: expected :model to be an Mlx.LM, or a path/, fn ->
        Server.start_link([])
      end

      assert_raise ArgumentError, ~r/^Mlx.LM.Server.child_spec: expected :slots to be an integer from 1 to 256/, fn ->
        Server.child_spec(model: lm, slots: 0)
      end
    end
  end
end
