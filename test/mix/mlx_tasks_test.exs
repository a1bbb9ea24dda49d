defmodule Mix.Tasks.MlxTasksTest do
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  alias Mix.Tasks.Mlx.{Chat, Generate}
  alias Mlx.TinyLlama

  @moduletag :tmp_dir

  setup %{tmp_dir: folder} do
    path = Path.join(folder, "tiny.gguf")
    TinyLlama.save(path)
    %{path: path}
  end

  # What a task says on standard error when it ends with exit status 1.
  defp refusal(task, arguments) do
    capture_io(:stderr, fn -> assert catch_exit(task.run(arguments)) == {:shutdown, 1} end)
  end

  defp with_environment(variables, fun) do
    previous = Map.new(variables, fn {name, _value} -> {name, System.get_env(name)} end)
    System.put_env(variables)

    try do
      fun.()
    after
      System.put_env(previous)
    end
  end

  describe "mix mlx.generate" do
    test "writes the text and then the figures", %{path: path} do
      arguments = ["--model", path, "--max-tokens", "20", "--temp", "1", "--seed", "5"]
      output = capture_io(fn -> Generate.run(["--prompt", "Hello" | arguments]) end)

      lm = Mlx.LM.load(path)
      options = [max_tokens: 20, temperature: 1.0, seed: 5]
      expected = Mlx.LM.generate(lm, [%{role: "user", content: "Hello"}], options)
      assert [text, figures] = String.split(output, "\n\nPrompt: ")
      assert text == expected.text
      assert figures =~ ~r/^#{expected.prompt_tokens} tokens, [\d.]+ tokens per second\n/
      assert figures =~ ~r/\nGeneration: 20 tokens, [\d.]+ tokens per second\n/
      assert figures =~ ~r/\nPeak memory: [\d.]+ MB\n$/

      assert capture_io(fn -> Generate.run(["Hello" | arguments]) end) =~ expected.text
    end

    test "passes the options on", %{path: path} do
      lm = Mlx.LM.load(path)
      sampling = ~w(--temp 0.9 --top-p 0.9 --top-k 40 --min-p 0.01 --repetition-penalty 1.2 --seed 3 --max-tokens 10)
      options = [temperature: 0.9, top_p: 0.9, top_k: 40, min_p: 0.01, repetition_penalty: 1.2, seed: 3, max_tokens: 10]

      raw = capture_io(fn -> Generate.run(["-m", path, "-p", "Hello", "--raw" | sampling]) end)
      assert String.starts_with?(raw, Mlx.LM.generate(lm, "Hello", options).text <> "\n\nPrompt: 5 tokens")

      system = capture_io(fn -> Generate.run(["-m", path, "-p", "Hello", "--system", "Be brief." | sampling]) end)
      messages = [%{role: "system", content: "Be brief."}, %{role: "user", content: "Hello"}]
      assert String.starts_with?(system, Mlx.LM.generate(lm, messages, options).text)
    end

    test "passes all switches of sampling on, and those of the template", %{tmp_dir: folder} do
      path = Path.join(folder, "switches.gguf")
      TinyLlama.save(path, %{"tokenizer.chat_template" => "{{ messages[0]['content'] }}{{ a }}{{ b }}{{ c | length }}"})

      arguments =
        ~w(--temp 0.9 --min-p 0.01 --min-tokens-to-keep 3 --xtc-probability 0.5 --xtc-threshold 0.02 --repetition-context 9
           --repetition-penalty 1.2 --presence-penalty 0.3 --presence-context 7 --frequency-penalty 0.2 --frequency-context 5
           --logit-bias 65=3 --logit-bias 66=-2.5 --seed 3 --max-tokens 20 --prefill-step 4 --ignore-eos --stop zzzz --json) ++
          ["--template", "a=true", "--template", "b=text", "--template", "c=[1, 2]"]

      options = [
        temperature: 0.9,
        min_p: 0.01,
        min_tokens_to_keep: 3,
        xtc_probability: 0.5,
        xtc_threshold: 0.02,
        repetition_context: 9,
        repetition_penalty: 1.2,
        presence_penalty: 0.3,
        presence_context: 7,
        frequency_penalty: 0.2,
        frequency_context: 5,
        logit_bias: %{65 => 3.0, 66 => -2.5},
        seed: 3,
        max_tokens: 20,
        prefill_step: 4,
        ignore_eos: true,
        stop: ["zzzz"],
        template: [a: true, b: "text", c: [1, 2]]
      ]

      values = JSON.decode!(capture_io(fn -> Generate.run(["-m", path, "Hello" | arguments]) end))
      lm = Mlx.LM.load(path)
      expected = Mlx.LM.generate(lm, [%{role: "user", content: "Hello"}], options)
      assert values["text"] == expected.text
      assert values["ids"] == expected.ids
      assert values["prompt_tokens"] == length(Mlx.LM.encode(lm, "HelloTruetext2"))
      assert %{"finish_reason" => "length", "generated_tokens" => 20, "generation_tokens_per_second" => _} = values
    end

    test "drafts with a model or from the prompt", %{path: path} do
      lm = Mlx.LM.load(path)
      expected = Mlx.LM.generate(lm, "Hello", max_tokens: 20)

      for draft <- [path, "prompt"] do
        arguments = ["-m", path, "-p", "Hello", "--raw", "--max-tokens", "20", "--draft", draft, "--draft-tokens", "3"]
        values = JSON.decode!(capture_io(fn -> Generate.run(["--json" | arguments]) end))
        assert values["ids"] == expected.ids
        assert %{"drafted" => drafted, "accepted" => accepted, "rounds" => _} = values["speculation"]
        output = capture_io(fn -> Generate.run(arguments) end)
        assert output =~ ~r/^Drafts: #{drafted} tokens?, #{accepted} accepted$/m
      end
    end

    test "lists its options" do
      help = capture_io(fn -> Generate.run(["--help"]) end)
      assert help =~ "Usage: mix mlx.generate [OPTIONS] PROMPT\n"
      assert help =~ ~r/^  --prompt, -p TEXT +the prompt/m
      assert help =~ ~r/^  --ignore-eos +go on/m
    end

    test "a single token has no generation speed", %{path: path} do
      output = capture_io(fn -> Generate.run(["-m", path, "-p", "Hello", "--max-tokens", "1", "--raw"]) end)
      assert output =~ "Generation: 1 token, - tokens per second"
    end

    test "takes the model of the environment, or else the one in the cache folder of the set-up", %{path: path} do
      with_environment(%{"MLX_TEST_MODEL" => path}, fn ->
        assert capture_io(fn -> Generate.run(["-p", "Hello", "--max-tokens", "1", "--raw"]) end) =~ "Peak memory"
      end)

      model = "models/SmolLM2-135M-Instruct.Q4_1.gguf: no such file"

      with_environment(%{"MLX_TEST_MODEL" => nil, "MLX_CACHE" => "nowhere"}, fn ->
        assert refusal(Generate, ["-p", "Hello"]) =~ "cannot read #{Path.expand("nowhere")}/#{model}"
      end)
    end

    for {name, arguments, problem} <- [
          {"an unknown option", ["--nonsense"], "unknown option or missing value: --nonsense"},
          {"the name of another place", ["--temperature", "1"], "--temperature; did you mean --temp?\n\nUsage"},
          {"a missing value", ["--temp"], "unknown option or missing value: --temp\n\nUsage"},
          {"a value of another kind", ["-p", "x", "--temp", "warm"], ~s(--temp does not take the value "warm")},
          {"a bias without a token", ["x", "--logit-bias", "a=1"], ~s(--logit-bias does not take the value "a=1")},
          {"a form that there is not", ["x", "--form", "thin"],
           ~s(--form does not take the value "thin", but quantized, dense)},
          {"no prompt", [], "there is no prompt"},
          {"several prompts", ["two", "words"], "several prompts"},
          {"an argument too many", ["-p", "x", "more"], "unexpected argument: more"}
        ] do
      test "shows its usage for #{name}" do
        said = refusal(Generate, unquote(arguments))
        assert said =~ unquote(problem)
        assert said =~ "Usage: mix mlx.generate"
      end
    end

    test "says what is wrong with the model or the values", %{path: path} do
      assert refusal(Generate, ["-m", "nowhere.gguf", "-p", "x"]) =~ "nowhere.gguf: no such file"
      assert refusal(Generate, ["-m", path, "-p", "x", "--top-p", "2"]) =~ "expected :top_p to be"
      assert refusal(Generate, ["-m", path, "-p", "", "--raw"]) =~ "the prompt is empty"
    end
  end

  describe "mix mlx.chat" do
    @sampling ~w(--temp 1 --seed 5 --max-tokens 12)

    test "answers each line in the light of those before", %{path: path} do
      output =
        capture_io("Hello\n\nAnd then?\n/reset\nHello\n/exit\nignored\n", fn -> Chat.run(["-m", path | @sampling]) end)

      lm = Mlx.LM.load(path)
      options = [temperature: 1.0, seed: 5, max_tokens: 12]
      first = Mlx.LM.generate(lm, [%{role: "user", content: "Hello"}], options).text

      messages = [
        %{role: "user", content: "Hello"},
        %{role: "assistant", content: first},
        %{role: "user", content: "And then?"}
      ]

      second = Mlx.LM.generate(lm, messages, options).text
      heading = "tiny: /help lists the commands, /exit ends it.\n"
      cut = "\n[cut off after 12 tokens]\n\n"
      assert output == heading <> "> #{first}#{cut}> > #{second}#{cut}> A new conversation.\n> #{first}#{cut}> "
    end

    test "takes messages back", %{path: path, tmp_dir: folder} do
      file = Path.join(folder, "chat.json")
      input = "/undo\nHello\nAnd then?\n/undo\n/save #{file}\n/undo\n/undo\n"
      output = capture_io(input, fn -> Chat.run(["-m", path, "--system", "Be brief." | @sampling]) end)
      assert length(String.split(output, "There is nothing to take back.")) == 3
      assert length(String.split(output, "The last message and its answer are taken back.")) == 3

      assert [%{"role" => "system"}, %{"content" => "Hello"}, %{"role" => "assistant"}] =
               JSON.decode!(File.read!(file))["messages"]
    end

    test "shows the channels of gpt-oss apart", %{tmp_dir: folder} do
      path = Path.join(folder, "channels.gguf")
      tokens = TinyLlama.metadata()["tokenizer.ggml.tokens"] |> Enum.drop(-2)
      marks = ["<|channel|>", "<|message|>"]
      template = "x{# #{Enum.join(marks)} #}"
      TinyLlama.save(path, %{"tokenizer.ggml.tokens" => tokens ++ marks, "tokenizer.chat_template" => template})
      lm = Mlx.LM.load(path)
      options = [temperature: 1.0, max_tokens: 40, ignore_eos: true]

      # A text with such a token is shown with it, and is given without it unless it is asked for.
      seed =
        Enum.find(1..200, fn seed ->
          ids = Mlx.LM.generate(lm, [%{role: "user", content: "Hello"}], [seed: seed] ++ options).ids
          257 in ids
        end)

      text = fn more -> Mlx.LM.generate(lm, "x", [seed: seed] ++ more ++ options).text end
      assert text.(special: true) =~ "<|channel|>"
      refute text.([]) =~ "<|channel|>"
      arguments = ["-m", path, "--temp", "1", "--seed", "#{seed}", "--max-tokens", "40", "--ignore-eos"]
      assert capture_io("Hello\n", fn -> Chat.run(arguments) end) =~ "<|channel|>"
    end

    test "has commands that show, save and load the conversation", %{path: path, tmp_dir: folder} do
      file = Path.join(folder, "chat.json")

      input = """
      /help
      /system
      /system Be brief.
      /system
      /stats
      Hello
      /stats
      /save #{file}
      /clear
      /load #{file}
      /load nowhere.json
      /load #{path}
      /save
      /save #{folder}
      /nonsense
      //exit
      /save #{file}
      /exit
      """

      output = capture_io(input, fn -> Chat.run(["-m", path | @sampling]) end)
      lm = Mlx.LM.load(path)
      system = %{role: "system", content: "Be brief."}
      options = [temperature: 1.0, seed: 5, max_tokens: 12]
      first = Mlx.LM.generate(lm, [system, %{role: "user", content: "Hello"}], options).text

      for said <- [
            "/save FILE    writes the conversation",
            "There is no system message.",
            "The system message is set.",
            "> Be brief.\n",
            "There is no answer yet.",
            "> #{first}\n[cut off after 12 tokens]\n\n",
            "Generation: 12 tokens",
            "Conversation: 3 messages, ",
            "Saved 3 messages in #{file}.",
            "A new conversation.",
            "Loaded 3 messages from #{file}.",
            "cannot read nowhere.json: no such file or directory",
            "#{path} is no conversation: expected",
            "expected the name of a file: /save FILE",
            "cannot write #{folder}: ",
            "there is no command /nonsense; /help lists the commands",
            "Saved 5 messages in #{file}."
          ],
          do: assert(output =~ said)

      assert [
               %{"role" => "system", "content" => "Be brief."},
               %{"role" => "user", "content" => "Hello"},
               %{"role" => "assistant", "content" => ^first},
               %{"role" => "user", "content" => "/exit"},
               %{"role" => "assistant"}
             ] = JSON.decode!(File.read!(file))["messages"]
    end

    test "takes messages of several lines", %{path: path, tmp_dir: folder} do
      file = Path.join(folder, "chat.json")
      input = ~s(\"""\nfirst\n\n  second\n\"""\n/save #{file}\n)
      capture_io(input, fn -> Chat.run(["-m", path | @sampling]) end)
      assert [%{"content" => "first\n\n  second"}, _answer] = JSON.decode!(File.read!(file))["messages"]
    end

    test "goes on after a message that is too long", %{path: path} do
      input = String.duplicate("word ", 200) <> "\nHello\n/stats\n"

      error =
        capture_io(:stderr, fn ->
          output = capture_io(input, fn -> Chat.run(["-m", path | @sampling]) end)
          assert output =~ "Conversation: 2 messages"
        end)

      assert error =~ "more than the model's context length of 600"
    end

    test "shows thinking apart, and forgets it", %{tmp_dir: folder} do
      path = Path.join(folder, "thinking.gguf")
      template = "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if think %}<think>{% endif %}"
      TinyLlama.save(path, %{"tokenizer.chat_template" => template})
      file = Path.join(folder, "chat.json")
      input = "Hello\n/save #{file}\n"
      output = capture_io(input, fn -> Chat.run(["-m", path, "--template", "think=true" | @sampling]) end)
      assert output =~ "> [thinking]\n"
      assert [_question, %{"content" => ""}] = JSON.decode!(File.read!(file))["messages"]

      refute capture_io(input, fn -> Chat.run(["-m", path, "--template", "think=false" | @sampling]) end) =~
               "[thinking]"
    end

    test "ends with the input", %{path: path} do
      assert capture_io("", fn -> Chat.run(["-m", path, "--system", "Be brief."]) end) =~ "> "
    end

    test "shows its usage" do
      assert refusal(Chat, ["--prompt", "x"]) =~ "Usage: mix mlx.chat"
      assert refusal(Chat, ["hello"]) =~ "unexpected argument: hello"

      assert refusal(Chat, ["--template", "thinking"]) =~
               "--template does not take the value \"thinking\", but NAME=VALUE"
    end
  end
end
