defmodule Mix.Tasks.MlxFineTuningTasksTest do
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  alias Mix.Tasks.Mlx.{Fuse, Generate, Lora}
  alias Mlx.TinyLlama

  @moduletag :tmp_dir
  @moduletag timeout: 300_000

  @owl Path.expand("../../livebooks/owl", __DIR__)

  setup %{tmp_dir: folder} do
    path = Path.join(folder, "tiny.gguf")
    TinyLlama.save(path)
    model = Path.join(folder, "model")
    Mlx.LM.convert(path, model, type: :f32)
    data = Path.join(folder, "data")
    File.mkdir!(data)

    for {name, count} <- [{"train", 24}, {"valid", 6}, {"test", 4}] do
      from = if name == "train", do: "train", else: "valid"
      lines = @owl |> Path.join("#{from}.jsonl") |> File.stream!() |> Enum.take(count)
      File.write!(Path.join(data, "#{name}.jsonl"), lines)
    end

    %{model: model, data: data}
  end

  defp refusal(task, arguments) do
    capture_io(:stderr, fn -> capture_io(fn -> assert catch_exit(task.run(arguments)) == {:shutdown, 1} end) end)
  end

  @training ["--rank", "4", "--mask-prompt", "--learning-rate", "0.003", "--report-every", "2", "--validate-every", "4"]

  test "mlx.lora trains an adapter, shows how, and goes on; mlx.fuse makes it a part of the model", context do
    %{model: model, data: data, tmp_dir: tmp} = context
    [adapter, other, fused, plot] = for name <- ~w(adapter other fused loss.svg), do: Path.join(tmp, name)
    arguments = ["-m", model, "--data", data, "-o", adapter, "--steps", "8", "--save-every", "4", "--test"] ++ @training

    output =
      capture_io(fn -> Lora.run(arguments ++ ["--plot", plot, "--warmup", "2", "--decay", "6", "--dropout", "0.1"]) end)

    assert output =~ ~r/Trained: \d+ of \d+ parameters \([\d.]+ %\), lora/
    assert output =~ ~r/Texts: 24 with \d+ tokens for the training and 6 for validations/
    assert output =~ ~r/step 2\/8  loss [\d.]+  [\d.]+ steps\/s  [\d.]+ tokens\/s  learning rate [\de.+-]+  .* s left/
    assert output =~ ~r/step 0\/8  validation loss ([\d.]+)/
    assert output =~ ~r/Test loss [\d.]+, perplexity [\d.]+/
    assert output =~ "* training  o validation"
    assert output =~ "#{adapter}: the adapter, after 8 steps"
    assert File.read!(plot) =~ "<polyline"

    assert Enum.sort(File.ls!(adapter)) ==
             ~w(adapter_config.json adapters.safetensors training.json training.safetensors)

    whole = json(Lora, ["-m", model, "--data", data, "-o", other, "--steps", "8"] ++ @training)

    assert %{"steps" => 8, "kind" => "lora", "adapter" => ^other, "losses" => losses, "validations" => validations} =
             whole

    assert [[2, _], [4, _], [6, _], [8, last]] = losses
    assert [[0, first], [4, _], [8, end_of_it]] = validations
    assert last < 20 and end_of_it < first
    bytes = File.read!(Path.join(other, "adapters.safetensors"))
    File.rm_rf!(other)
    half = ["-m", model, "--data", data, "-o", other] ++ @training
    json(Lora, half ++ ["--steps", "4"])
    assert %{"steps" => 8, "losses" => ^losses} = json(Lora, half ++ ["--steps", "8", "--resume"])
    assert File.read!(Path.join(other, "adapters.safetensors")) == bytes

    assert refusal(Lora, half ++ ["--steps", "8"]) =~ "#{other} has training.safetensors already"

    assert refusal(Lora, half ++ ["--resume", "--learning-rate", "0.01"]) =~
             "--learning-rate was 0.003 in the training of #{other}, which --resume goes on with, and is 0.01 now; give the same"

    assert capture_io(fn -> Fuse.run(["-m", model, "--adapter", other, "-o", fused]) end) =~
             "#{fused}: #{model} with #{other}"

    generate = fn arguments ->
      json(Generate, arguments ++ ["--max-tokens", "12", "What is the capital of Norway?"])["ids"]
    end

    assert generate.(["-m", fused]) == generate.(["-m", model, "--adapter", other])
    refute generate.(["-m", fused]) == generate.(["-m", model])
  end

  defp json(task, arguments), do: JSON.decode!(capture_io(fn -> task.run(arguments ++ ["--json"]) end))

  test "mlx.lora trains with pairs of answers", %{model: model, data: data, tmp_dir: tmp} do
    pair = JSON.encode!(%{prompt: "a", chosen: "b", rejected: "c"})
    for name <- ["train", "valid", "test"], do: File.write!(Path.join(data, "#{name}.jsonl"), [pair, "\n", pair])
    options = ["--objective", "dpo", "--beta", "0.5", "--steps", "2", "--batch-size", "2", "--validate-every", "2"]
    options = options ++ ["--layers", "1", "--learning-rate", "0.01", "--report-every", "1", "--test"]
    output = capture_io(fn -> Lora.run(["-m", model, "--data", data, "-o", Path.join(tmp, "dpo")] ++ options) end)
    assert output =~ "step 0/2  validation loss 0.6931  accuracy 0.0000  margin 0.0000"
    assert output =~ ~r/step 2\/2  validation loss 0\.[0-6]\d+  accuracy 1.0000  margin [\d.]+/
    assert output =~ ~r/Test loss [\d.]+\n/

    options = ["-m", model, "--data", data, "-o", Path.join(tmp, "none")]
    assert refusal(Lora, options) =~ ~s(expected lines without "chosen" and "rejected" for the objective :likelihood)
  end

  test "mlx.lora packs texts into rows", %{model: model, data: data, tmp_dir: tmp} do
    options = ["-m", model, "--data", data, "--mask-prompt", "--max-length", "512", "--test", "--validate-every", "2"]
    options = options ++ ["--batch-size", "2", "--steps", "2", "--learning-rate", "0.01", "--report-every", "1"]
    packed = json(Lora, options ++ ["-o", Path.join(tmp, "packed"), "--pack"])
    alone = json(Lora, options ++ ["-o", Path.join(tmp, "alone")])
    assert packed["tokens"] > 3 * alone["tokens"]
    # The same model has the same loss, whose tokens are all in the mean, in either form.
    assert [[0, loss], [2, after_it]] = packed["validations"]
    assert [[0, expected], _last] = alone["validations"]
    assert_in_delta loss, expected, 1.0e-4
    assert after_it < loss
    assert packed["test_loss"] < loss
  end

  test "two processes train to the adapter of one with the whole batches", %{model: model, data: data, tmp_dir: tmp} do
    options = ["-m", model, "--data", data, "--mask-prompt", "--max-length", "300", "--layers", "1", "--rank", "4"]
    options = options ++ ["--batch-size", "3", "--steps", "4", "--optimizer", "sgd", "--learning-rate", "0.1"]
    options = options ++ ["--report-every", "1", "--validate-every", "2", "--save-every", "2", "--pack"]
    [one, two] = for name <- ["one", "two"], do: Path.join(tmp, name)
    whole = json(Lora, options ++ ["-o", one])
    arguments = ["mlx.launch", "-n", "2", "mix", "mlx.lora" | options] ++ ["-o", two, "--json"]
    {output, status} = System.cmd("mix", arguments, stderr_to_stdout: true)
    assert status == 0, output
    # The first process alone speaks.
    assert [json] = for("[0] {" <> rest <- String.split(output, "\n"), do: "{" <> rest)
    refute output =~ "[1] {"
    parts = JSON.decode!(json)
    assert parts["tokens"] == whole["tokens"]
    [[0, first], _middle, [4, last]] = whole["validations"]
    assert abs(first - last) > 1.0e-3

    for name <- ["losses", "validations"],
        {[step, loss], [step, expected]} <- Enum.zip(parts[name], whole[name]),
        do: assert_in_delta(loss, expected, 1.0e-5)

    [of_one, of_two] = for folder <- [one, two], do: Mlx.IO.load(Path.join(folder, "adapters.safetensors"))
    assert Enum.sort(Map.keys(of_one)) == Enum.sort(Map.keys(of_two))

    for {name, array} <- of_one do
      assert Mlx.to_number(Mlx.reduce_max(Mlx.abs(Mlx.subtract(array, of_two[name])))) < 1.0e-5, name
    end
  end

  test "mlx.lora replaces nothing, and goes on with the same options only", %{model: model, data: data, tmp_dir: tmp} do
    output = Path.join(tmp, "adapter")
    options = ["-m", model, "--data", data, "-o", output, "--layers", "1", "--steps", "1"]
    json(Lora, options ++ ["--resume", "--key", "self_attn.q_proj"])
    files = for name <- File.ls!(output), into: %{}, do: {name, File.read!(Path.join(output, name))}

    for {more, message} <- [
          {[], "has training.safetensors already, which this training would replace; give --resume to go on"},
          {["--resume"], "--key was self_attn.q_proj in the training of"},
          {["--resume", "--key", "self_attn.q_proj", "--optimizer", "sgd"], "--optimizer was adam in the training"},
          {["--resume", "--key", "self_attn.q_proj", "--warmup", "3"], "--warmup was not given in the training"},
          {["--resume", "--key", "self_attn.q_proj", "--seed", "3"], "--seed was 0 in the training"}
        ] do
      assert refusal(Lora, options ++ more) =~ message
    end

    # What is the default may be given or not.
    json(
      Lora,
      options ++ ["--resume", "--key", "self_attn.q_proj", "--rank", "8", "--scale", "20", "--report-every", "5"]
    )

    assert files == for(name <- File.ls!(output), into: %{}, do: {name, File.read!(Path.join(output, name))})
    File.rm!(Path.join(output, "training.json"))
    assert refusal(Lora, options ++ ["--resume"]) =~ "has training.safetensors, and no training.json"
    File.rm!(Path.join(output, "training.safetensors"))
    assert refusal(Lora, options) =~ "has adapters.safetensors already"
    assert refusal(Lora, options ++ ["--resume"]) =~ "and no training.safetensors that --resume could go on from"
  end

  test "other optimizers and kinds train", %{model: model, data: data, tmp_dir: tmp} do
    for {optimizer, kind} <-
          [{"muon", "dora"}, {"adafactor", "full"}, {"lion", "lora"}] do
      options = ["--optimizer", optimizer, "--kind", kind, "--steps", "2", "--report-every", "1", "--accumulate", "2"]
      output = Path.join(tmp, optimizer)
      options = options ++ ["--layers", "1", "--validate-every", "2", "--gradient-checkpoint", "--clip-norm", "1"]
      figures = json(Lora, ["-m", model, "--data", data, "-o", output] ++ options)
      assert %{"steps" => 2, "kind" => ^kind, "losses" => [[1, one], [2, two]]} = figures
      assert is_float(one) and is_float(two)
    end
  end

  test "what is wrong is told", %{model: model, data: data, tmp_dir: tmp} do
    assert refusal(Lora, ["--data", data]) =~ "there is no --model\n\nUsage: mix mlx.lora"
    assert refusal(Lora, ["-m", model]) =~ "there is no --data"
    assert refusal(Lora, ["-m", model, "--data", tmp]) =~ "#{tmp} has no train.jsonl"
    assert refusal(Lora, ["-m", model, "--data", data, "--kind", "qlora"]) =~ "--kind does not take the value \"qlora\""
    assert refusal(Lora, ["-m", model, "--data", data, "--layers", "3"]) =~ "expected :layers to be at most 2"

    assert refusal(Lora, ["-m", Path.join(tmp, "tiny.gguf"), "--data", data]) =~
             "is no folder; Mlx.LM.convert/3 makes one"

    assert refusal(Lora, ["-m", model, "--data", data, "-o", Path.join(tmp, "no"), "--steps", "0"]) =~
             "expected :steps to be an integer of at least 1"

    File.write!(Path.join(data, "valid.jsonl"), "nothing\n")
    assert refusal(Lora, ["-m", model, "--data", data]) =~ "valid.jsonl, line 1: is no JSON"
    assert refusal(Fuse, ["-m", model, "-o", tmp]) =~ "there is no --adapter"
    assert refusal(Fuse, ["-m", model, "--adapter", tmp, "-o", Path.join(tmp, "new")]) =~ "adapter_config.json"
    assert capture_io(fn -> Lora.run(["--help"]) end) =~ "--mask-prompt"
    assert capture_io(fn -> Fuse.run(["--help"]) end) =~ "--dequantize"
  end
end
