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
        assert refusal(Generate, ["-p", "Hello"]) =~ "/nowhere/#{model}"
      end)
    end

    for {name, arguments, problem} <- [
          {"an unknown option", ["--nonsense"], "unknown option or missing value: --nonsense"},
          {"a value of another kind", ["-p", "x", "--temp", "warm"], ~s(--temp does not take the value "warm")},
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
      heading = "tiny: /reset starts a new conversation, /exit ends it.\n"
      assert output == heading <> "> #{first}\n\n> > #{second}\n\n> > #{first}\n\n> "
    end

    test "ends with the input", %{path: path} do
      assert capture_io("", fn -> Chat.run(["-m", path, "--system", "Be brief."]) end) =~ "> "
    end

    test "shows its usage" do
      assert refusal(Chat, ["--prompt", "x"]) =~ "Usage: mix mlx.chat"
      assert refusal(Chat, ["hello"]) =~ "unexpected argument: hello"
    end
  end
end
