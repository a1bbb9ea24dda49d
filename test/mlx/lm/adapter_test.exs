defmodule Mlx.LM.AdapterTest do
  use ExUnit.Case, async: true

  import Mlx.Test.DecoderOutputs, only: [compiled: 3, distance: 2, one_by_one: 3]

  alias Mlx.LM.{Checkpoint, Decoder}
  alias Mlx.LM.Decoder.LoRALinear

  @moduletag :oracle
  @moduletag :tmp_dir

  @script Path.expand("../../oracle/adapters.py", __DIR__)
  @tolerance 1.0e-4

  setup %{tmp_dir: folder} do
    {output, status} = System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), [@script, folder], stderr_to_stdout: true)
    assert status == 0, output
    :ok
  end

  # How far the logits are from the expected ones, and whether the compiled step chooses the same tokens.
  defp compared(folder, kind, options) do
    expected = Mlx.IO.load(Path.join(folder, "expected.safetensors"))
    tokens = Mlx.to_list(expected["tokens"])
    model = load(folder, kind, options)
    {prompt, steps} = one_by_one(model, expected["ids"], tokens)
    distance = max(distance(prompt, expected["prompt"]), distance(steps, expected["steps"]))
    {distance, compiled(model, expected["ids"], length(tokens)) == tokens}
  end

  defp load(folder, kind, options) do
    Checkpoint.load(Path.join(folder, "model"), [adapter: Path.join(folder, kind)] ++ options)
  end

  test "models with adapters give what mlx-lm's do, beside the matrices and fused with them", %{tmp_dir: folder} do
    for name <- File.ls!(folder), case = Path.join(folder, name), kind <- File.ls!(case), kind in ["mlx_lm", "peft"] do
      # mlx-lm's adapters cannot hold this output matrix.
      if {name, kind} != {"saved", "mlx_lm"} do
        for options <- [[form: :quantized], [form: :dense], [form: :dense, fuse: true]] do
          {distance, same} = compared(case, kind, options)
          assert {name, kind, options, distance <= @tolerance, same} == {name, kind, options, true, true}, "#{distance}"
        end
      end
    end
  end

  test "without its adapter a model gives something else", %{tmp_dir: folder} do
    for name <- File.ls!(folder) do
      expected = Mlx.IO.load(Path.join([folder, name, "expected.safetensors"]))
      model = Checkpoint.load(Path.join([folder, name, "model"]))
      {logits, _caches} = Decoder.logits(model, expected["ids"], Decoder.caches(model))
      assert distance(Mlx.squeeze(logits, axes: [0]), expected["prompt"]) > 0.05
    end
  end

  test "layers of low rank stand over quantized ones, and fused ones are quantized anew", %{tmp_dir: folder} do
    case = Path.join(folder, "lora-4bit")
    [_first, second | _] = load(case, "mlx_lm", form: :quantized).model.layers
    assert %LoRALinear{linear: %{bits: 4, scales: _, bias: %Mlx.Array{}}} = second.self_attn.q_proj
    fused = load(case, "mlx_lm", form: :quantized, fuse: true)
    [_first, second | _] = fused.model.layers
    assert %{scales: _, bits: 4, group_size: 32} = second.self_attn.qkv_proj
    expected = Mlx.IO.load(Path.join(case, "expected.safetensors"))
    {logits, _caches} = Decoder.logits(fused, expected["ids"], Decoder.caches(fused))
    assert distance(Mlx.squeeze(logits, axes: [0]), expected["prompt"]) < 0.3
  end

  test "an embedding that PEFT changes stays as it is as the output matrix", %{tmp_dir: folder} do
    case = Path.join(folder, "lora-embedding")
    peft = Path.join(case, "peft")
    File.mkdir!(peft)
    config = %{"peft_type" => "LORA", "r" => 2, "lora_alpha" => 3}
    File.write!(Path.join(peft, "adapter_config.json"), JSON.encode!(config))
    [a, b] = for {shape, seed} <- [{{2, 128}, 1}, {{64, 2}, 2}], do: Mlx.Random.normal(shape, key: Mlx.Random.key(seed))
    path = "base_model.model.model.embed_tokens"
    tensors = %{"#{path}.lora_embedding_A" => a, "#{path}.lora_embedding_B" => b}
    Mlx.IO.save(Path.join(peft, "adapter_model.safetensors"), tensors)
    ids = Mlx.array([[3, 1, 4, 1, 5]])
    base = Checkpoint.tree(Path.join(case, "model"), type: :f32)
    embedding = base.model.embed_tokens
    packing = Mlx.NN.QuantizedMatrix.packing(embedding)
    matrix = Mlx.dequantize(embedding.weight, embedding.scales, embedding.biases, packing)
    changed = Mlx.add(matrix, Mlx.multiply(Mlx.transpose(Mlx.matmul(b, a)), 1.5))
    head = %Mlx.NN.Linear{weight: matrix, bias: nil}
    expected = put_in(%{base | lm_head: head}.model.embed_tokens, %Mlx.NN.Embedding{weight: changed})
    {expected, _caches} = Decoder.logits(expected, ids, Decoder.caches(expected))

    for options <- [[], [fuse: true], [form: :quantized]] do
      model = load(case, "peft", options)
      {logits, _caches} = Decoder.logits(model, ids, Decoder.caches(model))
      assert distance(logits, expected) < @tolerance
    end
  end

  describe "damage" do
    defp message(folder, kind) do
      message = assert_raise(Mlx.Error, fn -> load(folder, kind, []) end).message
      assert message =~ ~r/^Mlx.LM.Checkpoint.load: /
      message
    end

    defp with_tensors(folder, kind, file, change) do
      path = Path.join([folder, kind, file])
      tensors = path |> Mlx.IO.load() |> Mlx.eval()
      Mlx.IO.save(path, change.(tensors))
      message = message(folder, kind)
      Mlx.IO.save(path, tensors)
      message
    end

    test "arrays that do not fit are named", %{tmp_dir: folder} do
      case = Path.join(folder, "lora")
      layer = "model.layers.0.self_attn.q_proj"
      peft = "base_model.model.#{layer}"

      for {kind, change, expected} <- [
            {"mlx_lm", &Map.delete(&1, "#{layer}.lora_b"), ~r/q_proj has lora_a, no lora_b/},
            {"mlx_lm", &Map.put(&1, "#{layer}.lora_b", Mlx.zeros({4, 5})), ~r/\{4, 5\} for b, expected \{4, 64\}/},
            {"mlx_lm", &Map.put(&1, "#{layer}.lora_a", Mlx.zeros({4})), ~r/\{4\} for a/},
            {"mlx_lm", &Map.put(&1, "#{layer}.weight", Mlx.zeros({4})), ~r/q_proj\.weight is no array of an adapter/},
            {"mlx_lm", &Map.new(&1, fn {name, array} -> {"x." <> name, array} end), ~r/is no layer of the model/},
            {"mlx_lm", fn _all -> %{} end, ~r/holds no arrays of an adapter/},
            {"peft", &Map.delete(&1, "#{peft}.lora_A.weight"), ~r/q_proj has b \{64, 4\}, expected two/},
            {"peft", &Map.put(&1, "#{peft}.lora_A.weight", Mlx.zeros({3, 64})), ~r/for b, expected \{3, 64\}/},
            {"peft", &Map.put(&1, "#{peft}.lora_A.weight", Mlx.zeros({})), ~r/a \{\}/},
            {"peft", &Map.put(&1, "base_model.model.nothing.weight", Mlx.zeros({1})), ~r/nothing\.weight has no place/},
            {"peft", &Map.put(&1, "base_model.model.lm_head.weight", Mlx.zeros({1})),
             ~r/lm_head\.weight has the shape/},
            {"peft", &Map.put(&1, "what", Mlx.zeros({1})), ~r/what is no array of an adapter/}
          ] do
        file = if kind == "peft", do: "adapter_model.safetensors", else: "adapters.safetensors"
        assert with_tensors(case, kind, file, change) =~ expected
      end
    end

    test "settings that do not fit are named", %{tmp_dir: folder} do
      case = Path.join(folder, "lora")

      for {kind, config, expected} <- [
            {"mlx_lm", "{", ~r/adapter_config\.json is no JSON/},
            {"mlx_lm", "[]", ~r/expected a JSON object/},
            {"mlx_lm", "{}", ~r/lora_parameters is missing/},
            {"mlx_lm", ~s({"lora_parameters": {"alpha": 1}}), ~r/lora_parameters\.scale is missing/},
            {"mlx_lm", ~s({"fine_tune_type": "other"}), ~r/fine_tune_type is "other"/},
            {"mlx_lm", ~s({"fine_tune_type": "dora", "lora_parameters": {"scale": 1}}), ~r/no m, expected .* dora/},
            {"peft", ~s({"peft_type": "IA3"}), ~r/peft_type is "IA3"/},
            {"peft", ~s({"peft_type": "LORA", "lora_alpha": "x"}), ~r/lora_alpha is "x"/},
            {"peft", ~s({"peft_type": "LORA", "alpha_pattern": {"\(": 1}}), ~r/alpha_pattern/}
          ] do
        File.write!(Path.join([case, kind, "adapter_config.json"]), config)
        assert message(case, kind) =~ expected
      end

      assert_raise Mlx.Error, ~r/cannot read .*nowhere/, fn -> load(case, "nowhere", []) end
      File.write!(Path.join([folder, "dora", "peft", "adapter_model.safetensors"]), "broken")
      assert message(Path.join(folder, "dora"), "peft") =~ "adapter_model.safetensors"
    end
  end
end
