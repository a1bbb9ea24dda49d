defmodule Mlx.LM.AdaptersTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.FineTuning
  alias Mlx.TinyLlama

  @moduletag :tmp_dir

  @prompt "Tell me."

  setup %{tmp_dir: folder} do
    TinyLlama.save(Path.join(folder, "tiny.gguf"))
    model = Path.join(folder, "model")
    Mlx.LM.convert(Path.join(folder, "tiny.gguf"), model, type: :f32)

    adapters =
      for {name, options} <- [one: [], two: [kind: :dora], three: [keys: ["model.embed_tokens", "self_attn.o_proj"]]],
          into: %{} do
        tuning = FineTuning.load(model, [seed: :erlang.phash2(name), rank: 4] ++ options)
        adapter = Path.join(folder, "#{name}")
        FineTuning.save(%{tuning | decoder: changed(tuning.decoder, name)}, adapter)
        {"#{name}", adapter}
      end

    %{model: model, adapters: adapters}
  end

  defp changed(decoder, name) do
    Map.merge(
      decoder,
      Mlx.Tree.map_with_path(Map.take(decoder, [:model, :lm_head]), fn path, array ->
        if path =~ ~r/lora_b$/,
          do: Mlx.multiply(Mlx.Random.normal(array.shape, key: Mlx.Random.key(:erlang.phash2({name, path}))), 0.05),
          else: array
      end)
    )
  end

  defp ids(lm, options \\ []), do: Mlx.LM.generate(lm, @prompt, [max_tokens: 16, ignore_eos: true] ++ options).ids

  test "each call chooses an adapter, of which each gives what it gives alone", %{model: model, adapters: adapters} do
    lm = Mlx.LM.load(model, adapters: adapters)
    plain = ids(Mlx.LM.load(model))
    alone = for {name, folder} <- adapters, into: %{}, do: {name, ids(Mlx.LM.load(model, adapter: folder))}
    assert [plain | Map.values(alone)] |> Enum.uniq() |> length() == 4

    for name <- ["one", nil, "two", "three", "one", nil] do
      assert ids(lm, adapter: name) == (alone[name] || plain)
      assert ids(Mlx.LM.with_adapter(lm, name)) == (alone[name] || plain)
    end

    assert ids(lm) == plain
    tasks = for _ <- 1..3, name <- ["one", "two", "three"], do: {name, Task.async(fn -> ids(lm, adapter: name) end)}
    for {name, task} <- tasks, do: assert(Task.await(task, 60_000) == alone[name])

    assert Mlx.LM.perplexity(Mlx.LM.with_adapter(lm, "one"), "some text") != Mlx.LM.perplexity(lm, "some text")
  end

  test "the matrices of the model are in memory once", %{model: model, adapters: adapters} do
    lm = Mlx.LM.load(model, adapters: adapters)
    base = MapSet.new(Mlx.Tree.arrays(Map.take(lm.model, [:model])))

    for name <- ["one", "two"], %{model: decoder} = Mlx.LM.with_adapter(lm, name) do
      new = decoder |> Map.take([:model]) |> Mlx.Tree.arrays() |> Enum.reject(&(&1 in base))
      # Two blocks with seven layers of two or three small arrays, and for DoRA the factor.
      assert length(new) in [28, 56]
    end
  end

  test "adapters come and go, of quantized models, too", %{model: model, adapters: adapters, tmp_dir: folder} do
    quantized = Path.join(folder, "quantized")
    Mlx.LM.convert(model, quantized, quantize: [bits: 8, group_size: 32])

    for model <- [model, quantized], form <- [:dense, :quantized] do
      lm = Mlx.LM.load(model, adapters: %{}, form: form)
      lm = Mlx.LM.put_adapter(lm, "one", adapters["one"])
      assert ids(lm, adapter: "one") == ids(Mlx.LM.load(model, adapter: adapters["one"], form: form))
      lm = Mlx.LM.put_adapter(lm, "one", nil)
      assert_raise ArgumentError, ~r/because the model has no adapters, got: "one"/, fn -> ids(lm, adapter: "one") end
    end
  end

  test "what does not fit is told", %{model: model, adapters: adapters, tmp_dir: folder} do
    lm = Mlx.LM.load(model, adapters: adapters)

    assert_raise ArgumentError,
                 ~s(Mlx.LM.generate: expected :adapter to be one of "one", "three", "two", or nil, got: :one),
                 fn ->
                   ids(lm, adapter: :one)
                 end

    plain = Mlx.LM.load(model)

    assert_raise ArgumentError, ~r/^Mlx\.LM\.generate: model was loaded without the option :adapters/, fn ->
      ids(plain, adapter: "one")
    end

    assert_raise ArgumentError, ~r/^Mlx\.LM\.put_adapter: model was loaded without/, fn ->
      Mlx.LM.put_adapter(plain, "x", folder)
    end

    assert_raise ArgumentError, ~r/^Mlx\.LM\.load: expected :adapters to be a map/, fn ->
      Mlx.LM.load(model, adapters: [one: "x"])
    end

    assert_raise ArgumentError, ~r/^Mlx\.LM\.load: expected :adapter and :fuse, or :adapters/, fn ->
      Mlx.LM.load(model, adapters: %{}, adapter: adapters["one"])
    end

    full = Path.join(folder, "full")
    FineTuning.save(FineTuning.load(model, kind: :full), full)

    assert_raise Mlx.Error, ~r/^Mlx\.LM\.put_adapter: .*holds whole arrays/, fn ->
      Mlx.LM.put_adapter(lm, "full", full)
    end

    assert_raise Mlx.Error, ~r/adapter_config\.json/, fn -> Mlx.LM.put_adapter(lm, "none", model) end
  end
end
