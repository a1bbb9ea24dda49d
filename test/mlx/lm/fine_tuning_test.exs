defmodule Mlx.LM.FineTuningTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.{Checkpoint, Decoder, FineTuning}
  alias Mlx.LM.FineTuning.Places
  alias Mlx.TuningOracle

  @moduletag :oracle
  @moduletag :tmp_dir
  @moduletag timeout: 600_000

  # Of losses around 5.5 in :f32: the last bits of a few sums.
  @tolerance 2.0e-6
  @logits 1.0e-4

  # All cases are made once, because Python takes half a minute.
  setup_all do
    folder = Path.join(System.tmp_dir!(), "mlx-tuning-#{System.unique_integer([:positive])}")
    File.mkdir_p!(folder)
    on_exit(fn -> File.rm_rf!(folder) end)
    TuningOracle.run!("train", folder)
    %{cases: folder}
  end

  defp arrays(decoder), do: decoder |> Places.parts() |> Mlx.Tree.flatten() |> Map.new()

  defp most(arrays), do: arrays |> Enum.map(&(&1 |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number())) |> Enum.max()

  defp distance(a, b), do: most([Mlx.subtract(a, b)]) / most([b])

  defp differences(ours, theirs), do: Enum.zip_with(ours, theirs, fn a, b -> abs(a - b) / b end) |> Enum.max()

  defp losses(training), do: training.losses |> Enum.reverse() |> Enum.map(&elem(&1, 1))

  defp logits(decoder, folder) do
    ids = Mlx.IO.load(Path.join(folder, "batches.safetensors"))["validation.0.ids"]
    decoder |> Mlx.NN.eval() |> Decoder.training_logits(ids)
  end

  test "trainings have the losses of mlx-lm's and end with its arrays, and mlx-lm loads what they save", %{cases: cases} do
    names = cases |> File.ls!() |> Enum.sort()
    assert length(names) == 18

    expected =
      for name <- names, into: %{} do
        folder = Path.join(cases, name)
        result = folder |> Path.join("result.safetensors") |> Mlx.IO.load() |> Mlx.eval()
        {tuning, training} = TuningOracle.train(folder, name)
        accumulated = TuningOracle.settings(name)[:accumulate]

        theirs =
          result["losses"] |> Mlx.to_list() |> Enum.chunk_every(accumulated) |> Enum.map(&(Enum.sum(&1) / accumulated))

        assert length(losses(training)) == length(theirs)
        assert differences(losses(training), theirs) < @tolerance, "the losses of #{name}"

        # Python validates before each step, and not after the last one.
        validations = for {_step, values} <- Enum.reverse(training.validations), do: values.loss
        theirs = result["validations"] |> Mlx.to_list() |> Enum.take_every(accumulated)
        assert length(validations) == length(theirs) + 1
        assert differences(validations, theirs) < @tolerance, "the validations of #{name}"
        assert training.losses != [] and hd(validations) != List.last(validations)

        ours = arrays(tuning.decoder)
        trained = Map.drop(result, ["losses", "validations"])

        for {path, array} <- trained, path = String.replace_prefix(path, "backbone.", "model.") do
          # Adam makes a step of a gradient of any size, so that what is next to nothing tells in single numbers.
          assert distance(ours[path], array) < 1.0e-2, "#{path} of #{name}"
        end

        adapter = Path.join(folder, "adapter")
        FineTuning.save(tuning, adapter)
        FineTuning.fuse(Path.join(folder, "model"), adapter, Path.join(folder, "fused"))
        fused = Checkpoint.tree(Path.join(folder, "fused"))
        loaded = Checkpoint.tree(Path.join(folder, "model"), adapter: adapter)
        logits = logits(tuning.decoder, folder)
        assert distance(logits(loaded, folder), logits) < @logits, "the adapter of #{name}"

        # What is quantized anew is rounded.
        most = if String.starts_with?(name, "q"), do: 1.0, else: @logits
        assert distance(logits(fused, folder), logits) < most, "the fused model of #{name}"
        {name, %{"adapter" => Mlx.eval(logits), "fused" => Mlx.eval(logits(fused, folder))}}
      end

    TuningOracle.run!("load", cases)

    for name <- names, {what, logits} <- expected[name] do
      theirs = Mlx.IO.load(Path.join([cases, name, "logits.safetensors"]))
      assert distance(theirs[what], logits) < @logits, "mlx-lm's logits of the #{what} of #{name}"
    end
  end

  test "a model is fused without quantized matrices", %{cases: cases, tmp_dir: folder} do
    for name <- ["qlora", "qdora", "qlora-experts", "qlora-mxfp4"] do
      case = Path.join(cases, name)
      start = random(FineTuning.load(Path.join(case, "model"), adapter: Path.join(case, "start")))
      [adapter, fused] = for what <- ["adapter", "fused"], do: Path.join(folder, "#{name}-#{what}")
      FineTuning.save(start, adapter)
      FineTuning.fuse(Path.join(case, "model"), adapter, fused, dequantize: true)
      decoder = Checkpoint.tree(fused)
      assert for({path, _array} <- arrays(decoder), path =~ "scales", do: path) == []
      assert distance(logits(decoder, case), logits(start.decoder, case)) < @logits
    end
  end

  # Adapters that change something.
  defp random(tuning) do
    decoder =
      Mlx.Tree.map_with_path(Places.parts(tuning.decoder), fn path, array ->
        if String.ends_with?(path, "lora_b"),
          do: Mlx.multiply(Mlx.Random.normal(array.shape, key: Mlx.Random.key(:erlang.phash2(path))), 0.05),
          else: array
      end)

    %{tuning | decoder: Map.merge(tuning.decoder, decoder)}
  end

  test "a training that was killed and goes on ends with the same bytes", %{cases: cases, tmp_dir: folder} do
    for name <- ["lora", "qdora"] do
      case = Path.join(cases, name)
      [whole, killed] = for what <- ["whole", "killed"], do: Path.join(folder, "#{name}-#{what}.safetensors")
      options = [epochs: 2, seed: 7, checkpoint_every: 2]
      {one, _training} = TuningOracle.train(case, name, [checkpoint: whole] ++ options)
      test = self()

      {pid, monitor} =
        spawn_monitor(fn ->
          wait = fn
            :report, %{step: 5} -> send(test, :reached) && Process.sleep(:infinity)
            _event, _training -> :ok
          end

          TuningOracle.train(case, name, [checkpoint: killed, callbacks: [wait]] ++ options)
        end)

      assert_receive :reached, 60_000
      Process.exit(pid, :kill)
      assert_receive {:DOWN, ^monitor, _kind, ^pid, :killed}
      assert Mlx.to_list(Mlx.IO.load(killed)["counts"]) == [0, 4, 4, 0]
      {other, training} = TuningOracle.train(case, name, [checkpoint: killed, resume: true] ++ options)
      assert training.step == 16
      bytes = fn decoder -> for {path, array} <- arrays(decoder), do: {path, Mlx.to_binary(array)} end
      assert bytes.(one.decoder) == bytes.(other.decoder)
      assert File.read!(whole) == File.read!(killed)
    end
  end

  test "gradients that compute blocks anew are the same", %{cases: cases} do
    for name <- ["lora", "qlora-experts", "lora-mamba", "full"] do
      case = Path.join(cases, name)
      {_tuning, one} = TuningOracle.train(case, name)
      {_tuning, other} = TuningOracle.train(case, name, gradient_checkpoint: true)
      assert differences(losses(one), losses(other)) < @tolerance
    end
  end

  test "processes with a part of the rows each find the loss of the batch as their mean", %{cases: cases} do
    case = Path.join(cases, "lora")
    tuning = FineTuning.load(Path.join(case, "model"), adapter: Path.join(case, "start"))
    [batch | _] = TuningOracle.batches(case, "train")
    loss = fn rows -> FineTuning.loss(tuning, [Mlx.Tree.map(batch, & &1[rows])]) end
    whole = loss.(0..3)
    assert_in_delta (loss.(0..1) + loss.(2..3)) / 2, whole, 1.0e-5
    # As Mlx.Training weighs unequal parts of two processes: rows * 2 / 4.
    assert_in_delta (loss.(0..0) * 0.5 + loss.(1..3) * 1.5) / 2, whole, 1.0e-5
    assert abs(loss.(0..1) - loss.(2..3)) > 1.0e-3
  end

  test "a training may be computed in :bf16", %{cases: cases} do
    for name <- ["lora", "full"] do
      case = Path.join(cases, name)
      {_tuning, one} = TuningOracle.train(case, name)
      {tuning, other} = TuningOracle.train(case, name, type: :bf16)
      assert differences(losses(other), losses(one)) < 0.03
      refute losses(one) == losses(other)
      assert Enum.all?(arrays(tuning.decoder), fn {_path, array} -> array.type == :f32 end)
    end
  end

  test "dropout is for training alone", %{cases: cases} do
    case = Path.join(cases, "lora")
    options = [layers: 2, dropout: 0.5, seed: 1]
    start = random(FineTuning.load(Path.join(case, "model"), options))
    batches = TuningOracle.batches(case, "train")
    validation = TuningOracle.batches(case, "validation")
    optimizer = Mlx.Optimizers.SGD.new(0.0)
    settings = [report_every: 1, progress: nil, validation: validation, validate_every: 4]
    {_tuning, one} = FineTuning.train(start, batches, optimizer, [seed: 1] ++ settings)
    {_tuning, two} = FineTuning.train(start, batches, optimizer, [seed: 2] ++ settings)
    refute losses(one) == losses(two)
    assert one.validations == two.validations
    assert [{_step, %{loss: loss}} | _] = one.validations
    assert_in_delta FineTuning.loss(start, validation), loss, 1.0e-5
    assert one.counted == Enum.sum_by(batches, &Mlx.to_number(&1.tokens[0]))
  end

  test "an adapter of PEFT is trained further, and saved as mlx-lm has it", %{cases: cases, tmp_dir: folder} do
    case = Path.join(cases, "lora")
    layers = [{"model.layers.1.self_attn.q_proj", 2, 64, 64}, {"model.layers.2.mlp.up_proj", 3, 64, 128}]

    tensors =
      for {path, rank, inputs, outputs} <- layers,
          {part, shape} <- [{"lora_A", {rank, inputs}}, {"lora_B", {outputs, rank}}],
          into: %{} do
        array = Mlx.multiply(Mlx.Random.normal(shape, key: Mlx.Random.key(rank)), 0.2)
        {"base_model.model.#{path}.#{part}.weight", array}
      end

    peft = Path.join(folder, "peft")
    File.mkdir!(peft)
    config = %{"peft_type" => "LORA", "r" => 2, "lora_alpha" => 3, "alpha_pattern" => %{"up_proj" => 9}}
    File.write!(Path.join(peft, "adapter_config.json"), JSON.encode!(config))
    Mlx.IO.save(Path.join(peft, "adapter_model.safetensors"), tensors)

    tuning = FineTuning.load(Path.join(case, "model"), adapter: peft)
    expected = logits(Checkpoint.tree(Path.join(case, "model"), adapter: peft), case)
    assert distance(logits(tuning.decoder, case), expected) < 1.0e-6
    assert distance(logits(Checkpoint.tree(Path.join(case, "model")), case), expected) > 0.01

    own = Path.join(case, "adapter")
    File.rm_rf!(own)
    File.rm_rf!(Path.join(case, "fused"))
    FineTuning.save(tuning, own)
    saved = JSON.decode!(File.read!(Path.join(own, "adapter_config.json")))

    assert %{"num_layers" => 2, "lora_parameters" => %{"rank" => 3, "keys" => ["self_attn.q_proj", "mlp.up_proj"]}} =
             saved

    assert distance(logits(Checkpoint.tree(Path.join(case, "model"), adapter: own), case), expected) < 1.0e-5
    TuningOracle.run!("load", cases)
    assert distance(Mlx.IO.load(Path.join(case, "logits.safetensors"))["adapter"], expected) < @logits
    before = FineTuning.loss(tuning, TuningOracle.batches(case, "train"))

    {tuning, _training} =
      FineTuning.train(tuning, TuningOracle.batches(case, "train"), Mlx.Optimizers.Adam.new(1.0e-3), progress: nil)

    assert FineTuning.loss(tuning, TuningOracle.batches(case, "train")) < before
  end

  test "new adapters change nothing, and count what they train", %{cases: cases} do
    for {name, kind} <- [
          {"lora", :lora},
          {"dora-embedding", :dora},
          {"qlora-experts", :lora},
          {"qdora", :dora},
          {"full", :full}
        ] do
      case = Path.join(cases, name)
      tuning = FineTuning.load(Path.join(case, "model"), kind: kind, layers: 2, rank: 3, seed: 4)
      plain = Checkpoint.tree(Path.join(case, "model"))
      assert distance(logits(tuning.decoder, case), logits(plain, case)) < 1.0e-5
      count = FineTuning.parameter_count(tuning)
      assert count.trained > 0 and count.all > count.trained
    end

    # Two blocks with seven layers: rank * (inputs + outputs) of each.
    tuning = FineTuning.load(Path.join([cases, "lora", "model"]), layers: 2, rank: 3)
    assert FineTuning.parameter_count(tuning).trained == 2 * 3 * (2 * 128 + 2 * 96 + 3 * 192)
  end

  test "wrong options are told", %{cases: cases, tmp_dir: folder} do
    model = Path.join([cases, "lora", "model"])

    for {options, message} <- [
          {[kind: :qlora], ~r/expected :kind to be :lora, :dora or :full, got: :qlora/},
          {[layers: 4], ~r/expected :layers to be at most 3, the blocks of the model, got: 4/},
          {[layers: 0], ~r/expected :layers to be a positive integer, or :all, or nil, got: 0/},
          {[keys: ["q_proj"]], ~r/got: "q_proj"\. There are lm_head, .*self_attn\.q_proj/},
          {[keys: []], ~r/expected :keys to be a list of names/},
          {[kind: :full, keys: ["lm_head"]], ~r/:keys is for adapters/},
          {[rank: 0], ~r/expected :rank to be an integer of at least 1, got: 0/},
          {[dropout: 1], ~r/expected :dropout to be a number of at least 0 and below 1/}
        ] do
      assert_raise ArgumentError, ~r/^Mlx\.LM\.FineTuning\.load: .*#{message.source}/s, fn ->
        FineTuning.load(model, options)
      end
    end

    experts = Path.join([cases, "lora-experts", "model"])

    assert_raise ArgumentError, ~r/is a layer of experts, which can have the kind :lora/, fn ->
      FineTuning.load(experts, kind: :dora, keys: ["mlp.switch_mlp.up_proj"])
    end

    tuning = FineTuning.load(model, keys: ["lm_head"])
    assert_raise Mlx.Error, ~r/has no tokenizer\.json/, fn -> FineTuning.lm(tuning) end
    FineTuning.save(tuning, Path.join(folder, "adapter"))
    File.mkdir!(Path.join(folder, "taken"))
    File.touch!(Path.join([folder, "taken", "file"]))

    assert_raise Mlx.Error, ~r/^Mlx\.LM\.FineTuning\.fuse: .*taken is there already/, fn ->
      FineTuning.fuse(model, Path.join(folder, "adapter"), Path.join(folder, "taken"))
    end
  end
end
