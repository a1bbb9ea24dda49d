defmodule Mlx.LM.QuantizationMethodsTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.{Checkpoint, Decoder}
  alias Mlx.LM.Quantization.Calibration
  alias Mlx.TinyLlama

  @moduletag :tmp_dir
  @moduletag timeout: 300_000

  @conversion Path.expand("../../oracle/conversion.py", __DIR__)
  @text Path.expand("../../../README.md", __DIR__)

  setup %{tmp_dir: folder} do
    path = Path.join(folder, "tiny.gguf")
    TinyLlama.save(path)
    model = Path.join(folder, "model")
    Mlx.LM.convert(path, model, type: :f32)
    %{model: model, text: File.read!(@text)}
  end

  @small [group_size: 32, window: 32, windows: 12, batch_size: 4]

  defp quantize(context, name, options) do
    folder = Path.join(context.tmp_dir, name)
    options = if options[:method] == :round, do: options, else: [calibration: context.text] ++ @small ++ options
    figures = Mlx.LM.quantize(context.model, folder, Keyword.put_new(options, :group_size, 32))
    {folder, figures}
  end

  # The mean divergence of what a folder foretells from what the model does, for another part of the text.
  defp divergence(context, folder) do
    ids = Mlx.LM.load(context.model) |> Mlx.LM.encode(String.slice(context.text, -900, 600))
    batch = ids |> Enum.chunk_every(32, 32, :discard) |> Mlx.array()

    [q, p] =
      for path <- [folder, context.model] do
        model = Checkpoint.load(path, type: :f32)
        {logits, _caches} = Decoder.logits(model, batch, Decoder.caches(model))
        Mlx.subtract(logits, Mlx.logsumexp(logits, axes: [-1], keep_axes: true))
      end

    q |> Mlx.NN.Losses.kl_div_loss(p) |> Mlx.mean() |> Mlx.to_number()
  end

  test "gptq and awq are nearer to the model than rounding", context do
    for bits <- [3, 4] do
      {plain, figures} = quantize(context, "round-#{bits}", method: :round, bits: bits)

      for method <- [:gptq, :awq] do
        {folder, same} = quantize(context, "#{method}-#{bits}", method: method, bits: bits)
        assert same == figures
        assert divergence(context, folder) < 0.95 * divergence(context, plain), "#{method} with #{bits} bits"
      end
    end
  end

  test "dynamic keeps to its bits for a weight, and uses them where they are felt", context do
    {_folder, least} = quantize(context, "round", method: :round, bits: 3)

    for bits <- [least.bits_per_weight + 0.1, 5.2, 5.5] do
      options = [method: :dynamic, bits: 3, high_bits: 5, bits_per_weight: bits]
      {folder, figures} = quantize(context, "dynamic-#{bits}", options)
      assert figures.bits_per_weight <= bits
      # No layer that is left has as many numbers as that.
      assert figures.bits_per_weight > bits - 0.35
      settings = Checkpoint.config(folder).map["quantization"]
      assert Enum.all?([settings | Enum.filter(Map.values(settings), &is_map/1)], &(&1["bits"] in [3, 5]))
    end

    {felt, _figures} = quantize(context, "felt", method: :dynamic, bits: 3, high_bits: 6, bits_per_weight: 5.6)
    felt = divergence(context, felt)
    assert felt < divergence(context, Path.join(context.tmp_dir, "round"))

    assert_raise Mlx.Error,
                 ~r/least bits for all layers there are \d.*expected :bits_per_weight to be more, got: 3/,
                 fn ->
                   quantize(context, "none", method: :dynamic, bits: 3, bits_per_weight: 3)
                 end

    for {options, message} <- [{[recipe: :mixed_3_6], ~r/leave out :recipe/}, {[high_bits: 7], ~r/expected :high_bits/}] do
      assert_raise ArgumentError, message, fn -> quantize(context, "none", [method: :dynamic] ++ options) end
    end
  end

  test "dwq lowers the divergence over its steps, on other text too", context do
    test = self()
    report = fn step, loss -> send(test, {:loss, step, loss}) end
    {plain, figures} = quantize(context, "round", method: :round, bits: 3)
    options = [method: :dwq, bits: 3, steps: 24, learning_rate: 1.0e-3, report: report]
    {folder, same} = quantize(context, "dwq", options)
    assert same == figures
    losses = for step <- 1..24, do: assert_received({:loss, ^step, loss}) && loss
    [first, last] = for part <- [Enum.take(losses, 3), Enum.take(losses, -3)], do: Enum.sum(part)
    assert last < 0.8 * first
    assert divergence(context, folder) < 0.8 * divergence(context, plain)

    # The codes are those of rounding; what is trained is beside them.
    [ours, theirs] = for path <- [folder, plain], do: Checkpoint.tensors(path)

    for {name, array} <- ours, array.type == :u32 do
      assert Mlx.to_binary(array) == Mlx.to_binary(theirs[name])
      name = Path.rootname(name) <> ".scales"
      assert Mlx.to_binary(ours[name]) != Mlx.to_binary(theirs[name])
    end

    {start, _figures} = quantize(context, "gptq", method: :gptq, bits: 3)
    {both, _figures} = quantize(context, "both", Keyword.merge(options, start: :gptq, gradient_checkpoint: true))
    assert divergence(context, both) < 0.9 * divergence(context, start)

    assert_raise Mlx.Error, ~r/no layer is quantized in the mode :affine with fewer than 8 bits/, fn ->
      quantize(context, "none", method: :dwq, bits: 8)
    end
  end

  test "dwq reads the windows in the order of a seed", context do
    tokenizer = Calibration.tokenizer(context.model)

    rows = fn seed ->
      for batch <- Calibration.batches(tokenizer, context.text, @small ++ [seed: seed]),
          row <- Mlx.to_list(batch),
          do: row
    end

    [none, first, second] = for seed <- [nil, 1, 2], do: rows.(seed)
    assert length(none) == 12
    assert rows.(1) == first
    assert length(Enum.uniq([none, first, second])) == 3
    for shuffled <- [first, second], do: assert(Enum.sort(shuffled) == Enum.sort(none))

    test = self()

    losses =
      for seed <- [nil, 1, 1, 2] do
        options = [method: :dwq, bits: 3, steps: 1, seed: seed, report: fn 1, loss -> send(test, {:first, loss}) end]
        quantize(context, "seed-#{System.unique_integer([:positive])}", options)
        assert_received {:first, loss}
        loss
      end

    assert [a, b, b, c] = losses
    assert length(Enum.uniq([a, b, c])) == 3
  end

  test "layers have the settings that are wanted, with each method", context do
    where = fn path, _layer ->
      cond do
        path =~ "q_proj" -> [bits: 3, group_size: 64]
        path =~ "v_proj" -> false
        true -> true
      end
    end

    for method <- Mlx.LM.Quantization.Methods.names() -- [:dynamic] do
      {folder, _figures} =
        quantize(context, "where-#{method}", method: method, bits: 4, where: where, embedding_bits: 8)

      %{"quantization" => settings} = Checkpoint.config(folder).map
      assert %{"bits" => 4, "group_size" => 32, "mode" => "affine"} = settings
      assert %{"bits" => 3, "group_size" => 64} = settings["model.layers.1.self_attn.q_proj"]
      assert %{"bits" => 8, "group_size" => 32} = settings["model.embed_tokens"]
      tensors = Checkpoint.tensors(folder)
      assert tensors["model.layers.0.self_attn.v_proj.weight"].type == :f32
      refute Map.has_key?(tensors, "model.layers.0.self_attn.v_proj.scales")
      assert divergence(context, folder) < 0.5
    end
  end

  @tag :oracle
  test "mlx-lm loads the folders of all methods, with the same logits", context do
    read = Path.join(context.tmp_dir, "read")
    ids = Mlx.array([[5, 9, 1, 77, 30, 2, 64, 11]])

    for method <- Mlx.LM.Quantization.Methods.names() do
      own = if method == :dynamic, do: [bits_per_weight: 6.4], else: [recipe: :mixed_3_6]
      quantize(context, Path.join("read", "#{method}"), [method: method] ++ own)
    end

    {output, status} =
      System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), [@conversion, "read", read], stderr_to_stdout: true)

    assert status == 0, output

    for method <- Mlx.LM.Quantization.Methods.names(), folder = Path.join(read, "#{method}") do
      model = Checkpoint.load(folder, form: :quantized, type: :f32)
      {logits, _caches} = Decoder.logits(model, ids, Decoder.caches(model))
      theirs = Mlx.IO.load(Path.join(folder, "logits.safetensors"))["logits"]
      apart = logits |> Mlx.squeeze(axes: [0]) |> Mlx.subtract(theirs) |> Mlx.abs() |> Mlx.reduce_max()
      assert Mlx.to_number(apart) <= 1.0e-4 * (theirs |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number())
    end
  end

  test "mixed recipes go with each method", context do
    for method <- Mlx.LM.Quantization.Methods.names() -- [:dynamic] do
      {_folder, figures} = quantize(context, "mixed-#{method}", method: method, recipe: :mixed_3_6)
      assert figures.bits_per_weight > 4 and figures.bits_per_weight < 6.5
    end
  end

  test "progress is told, and tensors have the model's type", context do
    test = self()
    model = Path.join(context.tmp_dir, "half")
    Mlx.LM.convert(context.model, model, type: :bf16)
    {folder, _figures} = quantize(%{context | model: model}, "gptq", method: :gptq, bits: 4, progress: &send(test, &1))
    for done <- 0..2, do: assert_received({:blocks, ^done, 2})
    assert_received {:tensors, _done, _total}
    types = Checkpoint.tensors(folder) |> Map.values() |> Enum.map(& &1.type) |> Enum.uniq() |> Enum.sort()
    assert types == [:bf16, :u32]
  end

  test "what cannot be is said", %{model: model, tmp_dir: tmp} = context do
    run = fn options -> Mlx.LM.quantize(model, Path.join(tmp, "new"), options) end

    for {options, message} <- [
          {[], ~r/^Mlx.LM.quantize: expected :method to be one of \[:round, :gptq.*got: nil/},
          {[method: :gtpq], ~r/expected :method to be one of/},
          {[method: :gptq], ~r/method :gptq needs a :calibration, a text or a list of texts.* got: nil/},
          {[method: :gptq, calibration: []], ~r/needs a :calibration/},
          {[method: :gptq, calibration: [1]], ~r/needs a :calibration/},
          {[method: :gptq, calibration: "a text", window: 1], ~r/expected :window to be/},
          {[method: :gptq, calibration: "a text", bits: 7], ~r/expected :bits to be one of/},
          {[method: :gptq, calibration: "a text", embedding_bits: 7], ~r/expected :embedding_bits to be/},
          {[method: :gptq, calibration: "a text", nothing: 1], ~r/unknown option/},
          {[method: :gptq, calibration: "a text", steps: 1],
           ~r/^Mlx.LM.quantize: the method :gptq has no option :steps/},
          {[method: :dwq, calibration: "a text", start: :dynamic],
           ~r/expected :start to be one of :round, :gptq, :awq/},
          {[method: :dwq, calibration: "a text", learning_rate: 0], ~r/expected :learning_rate to be/},
          {[method: :dwq, calibration: "a text", seed: -1], ~r/expected :seed to be an integer from 0/},
          {[method: :gptq, calibration: "a text", seed: 1], ~r/method :gptq has no option :seed/},
          {[method: :round, calibration: "a text"], ~r/method :round reads no :calibration/},
          {:none, ~r/keyword list/}
        ] do
      assert_raise ArgumentError, message, fn -> run.(options) end
    end

    assert_raise Mlx.Error, ~r/^Mlx.LM.quantize: the :calibration has 1 tokens, expected 2 or more/, fn ->
      run.(method: :gptq, calibration: "a")
    end

    {folder, _figures} = quantize(context, "once", method: :round)
    File.rm_rf!(Path.join(tmp, "new"))

    assert_raise Mlx.Error, ~r/quantized already/, fn ->
      Mlx.LM.quantize(folder, Path.join(tmp, "new"), method: :round)
    end
  end
end
