defmodule Mix.Tasks.MlxEmbedTest do
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  alias Mix.Tasks.Mlx.Embed
  alias Mlx.LM.Embedder
  alias Mlx.TinyEncoder

  @moduletag :tmp_dir

  # What it says on standard error when it ends with exit status 1.
  defp refusal(arguments) do
    capture_io(:stderr, fn -> assert catch_exit(Embed.run(arguments)) == {:shutdown, 1} end)
  end

  for {name, arguments, problem} <- [
        {"an unknown option", ["--nonsense"], "unknown option or missing value: --nonsense"},
        {"a value of another kind", ["-m", "x", "--batch-size", "many"],
         ~s(--batch-size does not take the value "many")},
        {"no model", ["a text"], "there is no --model"},
        {"an unknown pooling", ["-m", "x", "--pooling", "median"],
         ~s(--pooling does not take the value "median", but cls, last)},
        {"an unknown type", ["-m", "x", "--type", "s32"], ~s(--type does not take the value "s32", but f32, f16, bf16)},
        {"two prompts", ["-m", "x", "-p", "a", "--prompt-name", "b"], "there are a --prompt and a --prompt-name"}
      ] do
    test "shows its usage for #{name}" do
      said = refusal(unquote(arguments))
      assert said =~ unquote(problem)
      assert said =~ "Usage: mix mlx.embed --model MODEL"
    end
  end

  test "lists its options" do
    help = capture_io(fn -> Embed.run(["--help"]) end)
    assert help =~ "Usage: mix mlx.embed --model MODEL [OPTIONS] [TEXT ...]\n"
    assert help =~ ~r/^  --model, -m MODEL +a folder/m
    assert help =~ ~r/^  --pooling POOLING +cls, last, mean, max, mean_sqrt_len, weighted_mean;/m
    assert help =~ ~r/^  --\[no-\]normalize +whether/m
    assert help =~ ~r/^  --json +write JSON$/m
  end

  test "says what is wrong with the model or the values", %{tmp_dir: folder} do
    assert refusal(["-m", folder <> "/none", "a"]) =~
             "Mlx.LM.Embedder.load: cannot read #{folder}/none: no such file or folder"

    TinyEncoder.save(folder)
    assert refusal(["-m", folder, "a"]) =~ "there is no tokenizer.json in the folder of the model"

    assert refusal(["-m", folder, "--max-length", "1000", "a"]) =~
             "expected :max_length to be an integer from 1 to 40, got: 1000"

    assert refusal(["-m", folder, "--prompt-name", "query", "a"]) =~
             ~s(the model has no prompt of the name "query"; it has none)
  end

  defp save(folder) do
    letters = for {letter, id} <- Enum.with_index(?a..?z), into: %{}, do: {<<letter>>, id + 5}

    tokenizer = %{
      "model" => %{
        "type" => "WordLevel",
        "vocab" => Map.merge(letters, %{"[UNK]" => 1, "[CLS]" => 2, "[SEP]" => 3}),
        "unk_token" => "[UNK]"
      },
      "pre_tokenizer" => %{"type" => "Whitespace"},
      "post_processor" => %{"type" => "BertProcessing", "sep" => ["[SEP]", 3], "cls" => ["[CLS]", 2]}
    }

    settings = %{"prompts" => %{"query" => "q "}}
    TinyEncoder.save(folder, %{}, %{"tokenizer.json" => tokenizer, "config_sentence_transformers.json" => settings})
  end

  defp numbers(output) do
    for line <- String.split(output, "\n", trim: true), do: line |> String.split(" ") |> Enum.map(&String.to_float/1)
  end

  defp assert_close(rows, vectors) do
    assert {length(rows), length(hd(rows))} == vectors.shape
    difference = Mlx.subtract(Mlx.array(rows, type: :f32), vectors)
    assert difference |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number() == 0.0
  end

  test "writes a line of numbers for each text", %{tmp_dir: folder} do
    texts = ["a b", "c", ""]
    embedder = folder |> save() |> Embedder.load()
    output = capture_io(fn -> Embed.run(["-m", folder | texts]) end)
    assert_close(numbers(output), Embedder.embed(embedder, texts))

    input = capture_io(Enum.map_join(texts, &(&1 <> "\n")), fn -> Embed.run(["-m", folder]) end)
    assert input == output
    assert capture_io("", fn -> Embed.run(["-m", folder]) end) == ""
  end

  test "writes objects of JSON", %{tmp_dir: folder} do
    embedder = folder |> save() |> Embedder.load()
    output = capture_io(fn -> Embed.run(["-m", folder, "--json", "a b", "c"]) end)
    objects = for line <- String.split(output, "\n", trim: true), do: JSON.decode!(line)
    assert Enum.map(objects, & &1["text"]) == ["a b", "c"]
    assert_close(Enum.map(objects, & &1["embedding"]), Embedder.embed(embedder, ["a b", "c"]))
  end

  test "passes the options on", %{tmp_dir: folder} do
    embedder = folder |> save() |> Embedder.load(type: :bf16)
    sizes = ~w(--pooling max --normalize --max-length 4 --batch-size 1 --type bf16)
    output = capture_io(fn -> Embed.run(["-m", folder, "--prompt-name", "query", "a b c d"] ++ sizes) end)
    options = [pooling: :max, normalize: true, max_length: 4]
    assert_close(numbers(output), Embedder.embed(embedder, "a b c d", [prompt: :query] ++ options))
    output = capture_io(fn -> Embed.run(["-m", folder, "-p", "z ", "a b c d"] ++ sizes) end)
    assert_close(numbers(output), Embedder.embed(embedder, "a b c d", [prompt: "z "] ++ options))
  end
end
