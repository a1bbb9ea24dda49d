defmodule Mlx.LM.FineTuning.PackingTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.{Decoder, FineTuning, TrainingData}
  alias Mlx.Optimizers.SGD
  alias Mlx.TinyLlama

  @moduletag :tmp_dir

  @owl Path.expand("../../../../livebooks/owl/valid.jsonl", __DIR__)

  setup %{tmp_dir: folder} do
    TinyLlama.save(Path.join(folder, "tiny.gguf"))
    model = Path.join(folder, "model")
    Mlx.LM.convert(Path.join(folder, "tiny.gguf"), model, type: :f32)
    tuning = FineTuning.load(model, layers: 2, rank: 4, seed: 1)
    # Adapters that change something.
    decoder = Mlx.Tree.map_with_path(FineTuning.Places.parts(tuning.decoder), &noisy/2)
    %{tuning: %{tuning | decoder: Map.merge(tuning.decoder, decoder)}}
  end

  defp noisy(path, array) do
    if String.ends_with?(path, "lora_b"),
      do: Mlx.multiply(Mlx.Random.normal(array.shape, key: Mlx.Random.key(:erlang.phash2(path))), 0.05),
      else: array
  end

  defp adapters(tuning) do
    for {path, array} <- Mlx.Tree.flatten(FineTuning.Places.parts(tuning.decoder)), path =~ "lora_", do: {path, array}
  end

  test "packed texts have the loss of the same texts alone, and train to the same adapters", %{tuning: tuning} do
    for mask_prompt <- [false, true] do
      data = TrainingData.open(@owl, tuning, mask_prompt: mask_prompt, max_length: 500)
      [packed, alone] = for pack <- [true, false], do: TrainingData.batches(data, data.count, pack: pack)
      assert [%{ids: %{shape: {rows, _length}}}] = Enum.to_list(packed)
      assert rows < data.count / 2
      loss = FineTuning.loss(tuning, alone)
      assert_in_delta FineTuning.loss(tuning, packed), loss, 1.0e-5
      assert_in_delta FineTuning.loss(tuning, TrainingData.batches(data, 2, pack: true, mean_of: :all)), loss, 1.0e-5

      options = [steps: 3, shuffle: false, report_every: 1, validation: data, validate_every: 3, progress: nil]

      [{one, of_one}, {other, of_other}] =
        for {size, more} <- [{rows, [pack: true]}, {rows, [pack: true, gradient_checkpoint: true]}],
            do: FineTuning.train(tuning, data, SGD.new(0.5), [batch_size: size] ++ more ++ options)

      {plain, of_plain} = FineTuning.train(tuning, data, SGD.new(0.5), [batch_size: data.count] ++ options)

      for {tuned, training} <- [{one, of_one}, {other, of_other}] do
        for {{step, loss}, {step, expected}} <- Enum.zip(training.losses, of_plain.losses),
            do: assert_in_delta(loss, expected, 1.0e-5)

        [{3, validation}, {0, first}] = training.validations
        [{3, expected}, {0, _first}] = of_plain.validations
        assert_in_delta validation.loss, expected.loss, 1.0e-5
        assert first.loss - validation.loss > 1.0e-3

        for {{path, array}, {path, expected}} <- Enum.zip(adapters(tuned), adapters(plain)) do
          assert Mlx.to_number(Mlx.reduce_max(Mlx.abs(Mlx.subtract(array, expected)))) < 1.0e-5, path
        end
      end
    end
  end

  test "what cannot be packed is told", %{tuning: tuning} do
    data = TrainingData.open(@owl, tuning, max_length: 500)
    [mixer | _] = Decoder.Block.mixers(hd(tuning.decoder.model.layers))
    changed = put_in(tuning.decoder.model.layers, [%{hd(tuning.decoder.model.layers) | self_attn: %{mixer | chunk: 8}}])

    assert_raise ArgumentError, ~r/^Mlx\.LM\.FineTuning\.train: :pack is for models .* block 0 has a .*Attention/, fn ->
      FineTuning.train(changed, data, SGD.new(0.5), pack: true, steps: 1, progress: nil)
    end

    batches = TrainingData.batches(data, 2, pack: true)

    assert_raise ArgumentError, ~r/^Mlx\.LM\.FineTuning\.loss: :starts is for/, fn ->
      FineTuning.loss(changed, batches)
    end

    assert_raise ArgumentError, ~r/training_logits: expected :starts to be an array of the shape {1, 3}/, fn ->
      Decoder.training_logits(tuning.decoder, Mlx.array([[1, 2, 3]]), starts: Mlx.array([0, 0, 0]))
    end
  end
end
