defmodule Mix.Tasks.MlxQuantizeTest do
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  alias Mix.Tasks.Mlx.Quantize
  alias Mlx.TinyLlama

  @moduletag :tmp_dir
  @moduletag timeout: 300_000

  @text Path.expand("../../README.md", __DIR__)

  setup %{tmp_dir: folder} do
    path = Path.join(folder, "tiny.gguf")
    TinyLlama.save(path)
    %{model: path, new: Path.join(folder, "new")}
  end

  defp arguments(context, more) do
    ["-m", context.model, "-o", context.new, "--group-size", "32", "--window", "32", "--windows", "4"] ++ more
  end

  defp refusal(arguments) do
    capture_io(:stderr, fn -> capture_io(fn -> assert catch_exit(Quantize.run(arguments)) == {:shutdown, 1} end) end)
  end

  test "makes a folder by each method, and tells its figures", context do
    for {method, more} <- [
          gptq: [],
          awq: ["--no-clip", "--grid", "4"],
          dynamic: ["--bits-per-weight", "6.5"],
          round: []
        ] do
      File.rm_rf!(context.new)
      files = if method == :round, do: [], else: [@text]
      arguments = if method == :round, do: ["-m", context.model, "-o", context.new], else: arguments(context, more)
      output = capture_io(fn -> Quantize.run(arguments ++ ["--method", "#{method}", "--bits", "4"] ++ files) end)
      assert output =~ ~r/^#{context.new}: \d+ parameters, [\d.]+ MB, [\d.]+ bits per weight, by #{method}\n$/
      assert %Mlx.LM{} = Mlx.LM.load(context.new)
    end
  end

  test "trains scales, and tells the divergence", context do
    dwq = ["--method", "dwq", "--bits", "3", "--steps", "3", "--learning-rate", "0.001", "--start", "gptq", @text]
    output = capture_io(fn -> Quantize.run(arguments(context, dwq)) end)
    assert output =~ ~r/^Divergence from the model: [\d.]+ at the first step, [\d.]+ at the step 3\n/
    File.rm_rf!(context.new)
    output = capture_io(fn -> Quantize.run(arguments(context, ["--json" | dwq])) end)
    new = context.new
    assert %{"folder" => ^new, "method" => "dwq", "losses" => [[1, _], [2, _], [3, _]]} = JSON.decode!(output)
  end

  test "reads the standard input, and lists its options", context do
    output =
      capture_io(File.read!(@text), fn -> Quantize.run(arguments(context, ["--embedding-bits", "8", "--json"])) end)

    assert %{"method" => "gptq", "bits_per_weight" => bits} = JSON.decode!(output)
    assert bits > 4
    assert capture_io(fn -> Quantize.run(["--help"]) end) =~ ~r/Usage: mix mlx.quantize .*--\[no-\]clip/s
  end

  test "says what is wrong", context do
    assert refusal([]) =~ "there is no --model"
    assert refusal(["-m", context.model]) =~ "there is no --output"
    assert refusal(arguments(context, ["--method", "other"])) =~ "does not take the value \"other\""
    assert refusal(arguments(context, ["--steps", "3", @text])) =~ "the method :gptq has no option :steps"
    assert refusal(arguments(context, ["nothing.txt"])) =~ "cannot read nothing.txt: no such file"
    assert refusal(arguments(context, ["--bits", "7", @text])) =~ "expected :bits to be one of"
  end
end
