defmodule Mix.Tasks.MlxLMTasksTest do
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  alias Mix.Tasks.Mlx.{Bench, Convert, Families, Perplexity}
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

  defp json(task, arguments), do: JSON.decode!(capture_io(fn -> task.run(arguments ++ ["--json"]) end))

  describe "mix mlx.convert" do
    test "writes a folder with the same model", %{path: path, tmp_dir: tmp} do
      folder = Path.join(tmp, "new/folder")
      output = capture_io(fn -> Convert.run(["-m", path, "-o", folder, "--type", "f32"]) end)
      assert output =~ ~r/^#{folder}: \d+ parameters, [\d.]+ MB, 32\.0 bits per weight\n$/
      [from, to] = for model <- [path, folder], do: Mlx.LM.load(model)
      messages = [%{role: "user", content: "Hello"}]
      assert Mlx.LM.encode(to, messages) == Mlx.LM.encode(from, messages)
      assert Mlx.LM.generate(to, messages, max_tokens: 40).ids == Mlx.LM.generate(from, messages, max_tokens: 40).ids
      assert Enum.sort(File.ls!(tmp)) == ["new", "tiny.gguf"]
    end

    test "quantizes, takes it back, and tells of it in JSON", %{path: path, tmp_dir: tmp} do
      [quantized, dense, mixed] = for name <- ~w(quantized dense mixed), do: Path.join(tmp, name)
      four = json(Convert, ["-m", path, "-o", quantized, "--bits", "4", "--group-size", "32"])
      assert %{"folder" => ^quantized, "parameters" => count, "bits_per_weight" => bits} = four
      assert bits > 5 and bits < 6

      assert %{"parameters" => ^count, "bits_per_weight" => 16.0} =
               json(Convert, ["-m", quantized, "-o", dense, "--dequantize"])

      settings = fn folder -> JSON.decode!(File.read!(Path.join(folder, "config.json")))["quantization"] end
      assert %{"bits" => 4, "group_size" => 32, "mode" => "affine"} = settings.(quantized)
      assert settings.(dense) == nil
      json(Convert, ["-m", dense, "-o", mixed, "--recipe", "mixed_2_6", "--group-size", "32"])
      assert settings.(mixed)["bits"] in [2, 6]
      again = json(Convert, ["-m", quantized, "-o", Path.join(tmp, "again"), "--dequantize", "--mode", "mxfp8"])
      assert again["bits_per_weight"] > 8
    end

    test "says what is wrong", %{path: path, tmp_dir: tmp} do
      folder = Path.join(tmp, "folder")
      assert refusal(Convert, ["-o", folder]) =~ "there is no --model\n\nUsage: mix mlx.convert"
      assert refusal(Convert, ["-m", path]) =~ "there is no --output"
      assert refusal(Convert, ["-m", path, "-o", tmp]) =~ "#{tmp} is there already; choose another folder"
      assert refusal(Convert, ["-m", "nowhere.gguf", "-o", folder]) =~ "nowhere.gguf: no such file"

      assert refusal(Convert, ["-m", path, "-o", folder, "--bits", "7"]) =~
               "expected :bits to be one of 2, 3, 4, 5, 6, 8"

      assert refusal(Convert, ["-m", path, "-o", folder, "--mode", "thin"]) =~ ~s(--mode does not take the value "thin")
      assert refusal(Convert, ["-m", path, "-o", folder, "--recipe", "mixed_3_6", "--bits", "4"]) =~ "leave out :bits"
      assert refusal(Convert, ["-m", path, "-o", folder, "more"]) =~ "unexpected argument: more"
      capture_io(fn -> Convert.run(["-m", path, "-o", folder, "-q", "--group-size", "32"]) end)

      assert refusal(Convert, ["-m", folder, "-o", folder <> "2", "-q"]) =~
               "is quantized already; give dequantize: true"

      # Nothing is left of what failed.
      assert Enum.sort(File.ls!(tmp)) == ["folder", "tiny.gguf"]
      assert capture_io(fn -> Convert.run(["-h"]) end) =~ ~r/^  --recipe NAME +more bits .*mixed_2_6, mixed_3_4/m
    end
  end

  describe "mix mlx.perplexity" do
    test "gives the figures of a file, and of the standard input", %{path: path, tmp_dir: tmp} do
      text = String.duplicate("The sun rises in the east. ", 12)
      file = Path.join(tmp, "text.txt")
      File.write!(file, text)
      expected = Mlx.LM.perplexity(Mlx.LM.load(path), text, window: 64, windows: 3, batch_size: 2)
      arguments = ["-m", path, "--window", "64", "--windows", "3", "--batch-size", "2"]
      values = json(Perplexity, arguments ++ [file])
      assert values == Map.new(expected, fn {key, value} -> {Atom.to_string(key), value} end)
      output = capture_io(text, fn -> Perplexity.run(arguments) end)
      assert output =~ "Perplexity: #{Float.round(expected.perplexity, 4)} ± "
      assert output =~ "for each of 189 tokens, in windows: 3\n"
    end

    test "says what is wrong", %{path: path} do
      assert refusal(Perplexity, ["-m", path, "nowhere.txt"]) =~ "cannot read nowhere.txt: no such file"
      assert refusal(Perplexity, ["-m", path, "a", "b"]) =~ "unexpected argument: b\n\nUsage: mix mlx.perplexity"
      assert refusal(Perplexity, ["-m", path, "--window", "1", path]) =~ "expected :window to be"
    end
  end

  describe "mix mlx.bench" do
    test "measures rounds", %{path: path} do
      arguments = ["-m", path, "--prompt-tokens", "20", "--generation-tokens", "6", "--rounds", "2"]
      values = json(Bench, arguments)
      assert %{"prompt_tokens" => 20, "generation_tokens" => 6, "model" => "tiny", "rounds" => [one, two]} = values

      for key <- ~w(prompt_tokens_per_second generation_tokens_per_second peak_memory) do
        assert one[key] > 0
        assert_in_delta values["mean"][key], (one[key] + two[key]) / 2, 1.0e-6 * values["mean"][key]
      end

      output = capture_io(fn -> Bench.run(arguments) end)

      assert output =~
               ~r/^Round 1: prompt [\d.]+, generation [\d.]+ tokens per second, peak memory [\d.]+ MB\nRound 2: /

      assert output =~ ~r/\nMean: prompt [\d.]+/
    end

    test "says what is wrong", %{path: path} do
      assert refusal(Bench, ["-m", path, "--rounds", "0"]) =~ "expected --rounds to be at least 1, got: 0"
      assert refusal(Bench, ["-m", path]) =~ "the model's context length is 600, less than 512 + 128 tokens"
      assert refusal(Bench, ["x"]) =~ "unexpected argument: x\n\nUsage: mix mlx.bench"
    end
  end

  test "mix mlx.families lists the types" do
    types = Mlx.LM.Families.types()
    assert capture_io(fn -> Families.run([]) end) == Enum.map_join(types, &(&1 <> "\n"))
    assert json(Families, []) == types
    assert refusal(Families, ["x"]) =~ "unexpected argument: x"
  end
end
