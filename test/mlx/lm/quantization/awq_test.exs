defmodule Mlx.LM.Quantization.AWQTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.{Decoder, Families}
  alias Mlx.LM.Quantization.{AWQ, Blockwise, Folds, Observed}

  @settings [group_size: 32, bits: 3, mode: :affine]

  defp random(shape, seed), do: Mlx.Random.normal(shape, key: Mlx.Random.key(seed))

  defp decoder(config) do
    fields = Families.Fields.new(config, "config.json")
    {family, text} = Families.find(fields, families: %{})
    decoder = text |> family.config() |> Decoder.new()

    parts =
      Mlx.Tree.map_with_path(Map.take(decoder, [:model, :lm_head]), fn path, array ->
        # Features of different sizes.
        noise = random(array.shape, :erlang.phash2(path))
        if tuple_size(array.shape) == 1, do: Mlx.add(Mlx.exp(noise), 0.1), else: Mlx.multiply(noise, 0.2)
      end)

    Map.merge(decoder, parts)
  end

  @sizes %{"hidden_size" => 64, "num_hidden_layers" => 2, "num_attention_heads" => 4, "vocab_size" => 50}
         |> Map.merge(%{
           "intermediate_size" => 96,
           "max_position_embeddings" => 64,
           "rms_norm_eps" => 1.0e-5,
           "rope_theta" => 10_000.0
         })

  # family, its own settings, the folds of a block
  @cases [
    {"llama", %{"num_key_value_heads" => 2}, ~w(input_layernorm post_attention_layernorm mlp.up_proj)},
    {"llama", %{"num_key_value_heads" => 4}, ~w(input_layernorm post_attention_layernorm mlp.up_proj self_attn.v_proj)},
    {"qwen2", %{"num_key_value_heads" => 2}, ~w(input_layernorm post_attention_layernorm mlp.up_proj)},
    {"qwen3", %{"num_key_value_heads" => 2, "head_dim" => 16},
     ~w(input_layernorm post_attention_layernorm mlp.up_proj)},
    {"gemma", %{"num_key_value_heads" => 2, "head_dim" => 16},
     ~w(input_layernorm post_attention_layernorm mlp.up_proj)},
    {"mixtral", %{"num_key_value_heads" => 2, "num_local_experts" => 4, "num_experts_per_tok" => 2},
     ~w(input_layernorm post_attention_layernorm mlp.switch_mlp.up_proj)},
    {"cohere", %{"num_key_value_heads" => 2, "layer_norm_eps" => 1.0e-5, "logit_scale" => 0.1},
     ~w(input_layernorm mlp.up_proj)}
  ]

  defp distance(a, b) do
    [most, scale] = for x <- [Mlx.subtract(a, b), b], do: x |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()
    most / scale
  end

  test "scales are folded into what is before, so that whole models compute what they did" do
    ids = Mlx.array([Enum.map(1..24, &rem(&1 * &1 * 7, 50)), Enum.map(1..24, &rem(&1 * 11, 50))])
    context = %{choose: fn _path, _layer -> @settings end, options: [grid: 20]}

    for {type, own, folds} <- @cases do
      decoder = @sizes |> Map.merge(own) |> Map.put("model_type", type) |> decoder()
      [block | _] = decoder.model.layers
      found = block |> Folds.of() |> Enum.map(&elem(&1, 0)) |> Enum.sort()
      assert {type, found} == {type, Enum.sort(folds)}

      change = fn prefix, block, notes, first ->
        {scaled, _notes} = AWQ.scaled(prefix, block, notes, first, context)
        scaled
      end

      scaled = Blockwise.run(decoder, [ids], change, fn _progress -> :ok end)
      [was, is] = for model <- [decoder, scaled], do: Decoder.training_logits(model, ids)
      # Products are rounded otherwise, and on each processor in its own way.
      assert distance(is, was) <= 1.0e-4, "#{type} computes something else with scales"

      for {from, _into} <- Folds.of(block) do
        [a, b] =
          for %{model: %{layers: [block | _]}} <- [decoder, scaled], do: Map.new(Mlx.NN.layers(block))[from].weight

        assert distance(a, b) > 0.01, "#{from} of #{type} has no scales"
      end
    end
  end

  test "the notes of scaled features are those that a model makes of them" do
    ids = Mlx.array([Enum.map(1..24, &rem(&1 * &1 * 7, 50))])
    decoder = @sizes |> Map.merge(%{"num_key_value_heads" => 2, "model_type" => "llama"}) |> decoder()
    [block | _] = decoder.model.layers
    {x, step} = Decoder.enter(decoder, ids, [])
    caches = Decoder.unstored_caches(decoder)
    call = &Decoder.Block.call(&1, x, {[], caches}, step)
    {_result, notes, first} = Observed.of(block, "b.", call)
    context = %{choose: fn _path, _layer -> @settings end, options: [grid: 20]}
    {scaled, own} = AWQ.scaled("b.", block, notes, first, context)
    {_result, notes, first} = Observed.of(scaled, "b.", call)
    assert map_size(own) == 7

    for {path, note} <- own, seen = notes[first[path]] do
      assert distance(note.gram, seen.gram) < 1.0e-4
      assert distance(note.sizes, seen.sizes) < 1.0e-4
    end
  end

  test "scales and bounds lower the error of outputs" do
    x = Mlx.multiply(random({300, 64}, 1), Mlx.exp(Mlx.multiply(random({64}, 2), 1.5)))
    matrix = random({32, 64}, 3)
    note = %{gram: Mlx.matmul(Mlx.transpose(x), x), sizes: Mlx.sum(Mlx.abs(x), axes: [0]), rows: 300}

    error = fn other ->
      x |> Mlx.matmul(Mlx.transpose(Mlx.subtract(other, matrix))) |> Mlx.square() |> Mlx.sum() |> Mlx.to_number()
    end

    round = fn matrix ->
      {weight, scales, biases} = Mlx.quantize(matrix, @settings)
      Mlx.dequantize(weight, scales, biases, @settings)
    end

    scales = AWQ.best([{matrix, note, @settings}], 20)
    rounded = error.(round.(matrix))
    assert error.(matrix |> Mlx.multiply(scales) |> round.() |> Mlx.divide(scales)) < 0.6 * rounded
    assert error.(round.(AWQ.bounded(matrix, note.gram, @settings, 20))) < 0.95 * rounded
  end
end
