defmodule Mlx.LM.DeepseekV4Test do
  use ExUnit.Case, async: true

  alias Mlx.LM.{Checkpoint, Decoder}
  alias Mlx.Test.DecoderOutputs

  @moduletag :oracle
  @moduletag :tmp_dir
  @moduletag timeout: 900_000

  @script Path.expand("../../oracle/deepseek_v4.py", __DIR__)
  @tolerance 1.0e-4

  defp logits(folder, form) do
    ids = Mlx.Random.randint(0, 128, shape: {1, 60}, key: Mlx.Random.key(1))
    model = Checkpoint.load(folder, form: form, type: :f32)
    {logits, _caches} = Decoder.logits(model, ids, Decoder.caches(model))
    logits
  end

  test "models are those of the definition, in one go, in parts, step by step, compiled and quantized", %{tmp_dir: tmp} do
    {output, status} = System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), [@script, tmp], stderr_to_stdout: true)
    assert status == 0, output
    cases = Enum.sort(File.ls!(tmp))
    assert length(cases) == 5
    for name <- cases, do: assert({name, DecoderOutputs.problems(Path.join(tmp, name), @tolerance)} == {name, []})

    # What is saved is the same model, also with the names of DeepSeek's files, and quantized.
    [source, copy, packed, unpacked] = for name <- ~w(names copy packed unpacked), do: Path.join(tmp, name)
    Mlx.LM.convert(source, copy)
    assert DecoderOutputs.distance(logits(copy, :quantized), logits(source, :quantized)) <= 1.0e-6
    Mlx.LM.convert(source, packed, quantize: [group_size: 32])
    Mlx.LM.convert(packed, unpacked, dequantize: true)
    assert DecoderOutputs.distance(logits(packed, :quantized), logits(unpacked, :dense)) <= @tolerance
    assert DecoderOutputs.distance(logits(packed, :quantized), logits(source, :dense)) > 1.0e-3

    layers = for {path, _array} <- Checkpoint.tensors(packed), String.ends_with?(path, ".scales"), do: path
    assert Enum.any?(layers, &(&1 =~ "o_a_proj")) and Enum.any?(layers, &(&1 =~ "switch_mlp.gate_proj"))
    assert Enum.filter(layers, &(&1 =~ "mlp.gate.")) == []
  end
end
