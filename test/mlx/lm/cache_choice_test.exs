defmodule Mlx.LM.CacheChoiceTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.{Checkpoint, Context, Decoder, Decoding, KeyValueCache, QuantizedCache, RotatingCache}
  alias Mlx.TinyLlama

  doctest QuantizedCache

  @moduletag :tmp_dir

  @script Path.expand("../../oracle/caches.py", __DIR__)
  @tolerance 1.0e-5
  # The last digit of a key can change the integer that it becomes.
  @quantized 1.0e-3

  setup %{tmp_dir: folder} do
    path = Path.join(folder, "tiny.gguf")
    TinyLlama.save(path)
    %{lm: Mlx.LM.load(path)}
  end

  # The tokenizer of the tiny model has as many tokens as these models.
  defp with_model(lm, folder) do
    model = Checkpoint.load(folder)
    %{lm | model: model, decode: Decoding.compile(model)}
  end

  defp options(changes \\ []), do: Keyword.merge([temperature: 0, max_tokens: 20, ignore_eos: true], changes)

  @tag :oracle
  test "generations are those of mlx-lm with the same caches", %{tmp_dir: folder, lm: lm} do
    folder = Path.join(folder, "cases")
    File.mkdir!(folder)
    {output, status} = System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), [@script, folder], stderr_to_stdout: true)
    assert status == 0, output

    for name <- File.ls!(folder), case = Path.join(folder, name) do
      lm = with_model(lm, case)
      %{"prefill_step" => step, "cache" => cache} = case |> Path.join("case.json") |> File.read!() |> JSON.decode!()
      cache = for {key, value} <- cache, do: {String.to_existing_atom(key), value}
      expected = Mlx.IO.load(Path.join(case, "expected.safetensors"))
      [ids, tokens, logprobs] = for key <- ["ids", "tokens", "logprobs"], do: Mlx.to_list(expected[key])
      wanted = options(max_tokens: length(tokens), logprobs: 1, prefill_step: step, cache: cache)
      response = Mlx.LM.generate(lm, ids, wanted)
      assert {name, response.ids} == {name, tokens}

      distance = response.logprobs |> Enum.zip_with(logprobs, &abs(&1.logprob - &2)) |> Enum.max()
      tolerance = if cache[:bits], do: @quantized, else: @tolerance
      assert {name, distance <= tolerance * Mlx.to_number(expected["scale"])} == {name, true}

      kind = if cache[:bits], do: QuantizedCache, else: RotatingCache
      assert [%^kind{}, %^kind{}] = response.context.caches
      # It is these caches that make the difference.
      without = Mlx.LM.generate(lm, ids, Keyword.delete(wanted, :cache))
      assert [%KeyValueCache{}, %KeyValueCache{}] = without.context.caches
      assert Enum.map(without.logprobs, & &1.logprob) != Enum.map(response.logprobs, & &1.logprob)
    end
  end

  describe "a quantized cache" do
    test "holds what a full one does, in any parts, compiled or not" do
      part = fn length, seed -> Mlx.Random.normal({1, 2, length, 64}, key: Mlx.Random.key(seed)) end
      start = {KeyValueCache.new(), QuantizedCache.new(), QuantizedCache.new(), QuantizedCache.new()}

      for {length, seed} <- Enum.with_index([3, 1, 250, 1, 1, 1, 300, 1]), reduce: start do
        {full, quantized, unpacked, compiled} ->
          [keys, values] = [part.(length, seed), part.(length, seed + 100)]
          queries = Mlx.Random.normal({1, 4, length, 64}, key: Mlx.Random.key(seed + 200))
          {expected, full} = KeyValueCache.attend(full, queries, keys, values)
          {output, quantized} = QuantizedCache.attend(quantized, queries, keys, values)
          assert Mlx.to_number(Mlx.all_close(output, expected, atol: 2.0e-2))
          {theirs, _values, mask, unpacked} = QuantizedCache.update(unpacked, keys, values)
          assert theirs.shape == {1, 2, quantized.length, 64}
          assert if(length == 1, do: mask == nil, else: mask.shape == {length, quantized.length})

          compiled =
            if compiled.length == 0,
              do: elem(QuantizedCache.attend(compiled, queries, keys, values), 1),
              else: step(compiled, queries, keys, values, output)

          {full, quantized, unpacked, compiled}
      end
    end

    defp step(cache, queries, keys, values, expected) do
      length = cache.length
      cache = QuantizedCache.make_room(cache, Mlx.axis_size(keys, 2))

      attend =
        Mlx.compile(fn buffers, queries, keys, values, position ->
          cache = QuantizedCache.put_buffers(QuantizedCache.new(), buffers, position)
          {output, cache} = QuantizedCache.attend(cache, queries, keys, values)
          {output, QuantizedCache.buffers(cache)}
        end)

      {output, buffers} = attend.(QuantizedCache.buffers(cache), queries, keys, values, Mlx.array(length))
      assert Mlx.to_number(Mlx.all_close(output, expected, atol: 1.0e-5))
      QuantizedCache.put_buffers(cache, buffers, length + Mlx.axis_size(keys, 2))
    end

    test "forgets what comes after some positions" do
      part = Mlx.Random.normal({1, 2, 5, 64}, key: Mlx.Random.key(1))
      {_output, cache} = QuantizedCache.attend(QuantizedCache.new(), part, part, part)
      assert QuantizedCache.can_trim?(cache, 2)
      assert QuantizedCache.trim(cache, 2).length == 2

      assert_raise ArgumentError, ~r/^Mlx.LM.QuantizedCache.trim: the cache has 5/, fn ->
        QuantizedCache.trim(cache, 6)
      end

      refute QuantizedCache.can_trim?(cache, 6)
    end

    test "takes no heads that its groups do not fit, and says so" do
      part = Mlx.ones({1, 2, 5, 48})

      assert_raise Mlx.Error, ~r/48 features, which are no multiple of the group size 64/, fn ->
        QuantizedCache.attend(QuantizedCache.new(), part, part, part)
      end

      assert_raise ArgumentError, ~r/^Mlx.LM.QuantizedCache.new: expected :bits/, fn -> QuantizedCache.new(bits: 7) end
      assert_raise ArgumentError, ~r/:group_size/, fn -> QuantizedCache.new(group_size: 16) end
    end
  end

  # A model with soft caps and windows, whose heads have 32 features.
  @config %{
    "model_type" => "gemma2",
    "hidden_size" => 64,
    "num_hidden_layers" => 4,
    "intermediate_size" => 96,
    "num_attention_heads" => 4,
    "num_key_value_heads" => 2,
    "head_dim" => 32,
    "rms_norm_eps" => 1.0e-5,
    "vocab_size" => 259,
    "sliding_window" => 16,
    "query_pre_attn_scalar" => 32,
    "attn_logit_softcapping" => 5.0
  }

  defp windowed(lm, folder, config) do
    {family, fields} = Mlx.LM.Families.find(Mlx.LM.Families.Fields.new(config))
    parts = Map.take(Decoder.new(family.config(fields)), [:model, :lm_head])

    tensors =
      for {{name, array}, seed} <- Enum.with_index(Mlx.Tree.flatten(parts)), into: %{} do
        {name, Mlx.Random.normal(array.shape, scale: 0.2, key: Mlx.Random.key(seed))}
      end

    File.write!(Path.join(folder, "config.json"), JSON.encode!(config))
    Mlx.IO.save(Path.join(folder, "model.safetensors"), tensors)
    with_model(lm, folder)
  end

  test "layers with windows keep their caches, and soft caps count", %{lm: lm, tmp_dir: folder} do
    for type <- ["gemma2", "gemma3_text"] do
      lm = windowed(lm, folder, Map.merge(@config, %{"model_type" => type, "sliding_window_pattern" => 2}))
      plain = Enum.map(Decoder.caches(lm.model), & &1.__struct__)
      prompt = Enum.to_list(1..30)
      full = Mlx.LM.generate(lm, prompt, options(logprobs: 0))
      close = Mlx.LM.generate(lm, prompt, options(logprobs: 0, cache: [bits: 8, group_size: 32]))
      kinds = Enum.map(close.context.caches, & &1.__struct__)
      assert kinds == Enum.map(plain, &if(&1 == KeyValueCache, do: QuantizedCache, else: &1))
      assert QuantizedCache in kinds
      assert_in_delta hd(full.logprobs).logprob, hd(close.logprobs).logprob, 0.05
      last = Mlx.LM.generate(lm, prompt, options(cache: [max_size: 24]))
      assert Enum.all?(last.context.caches, &is_struct(&1, RotatingCache))
      assert Enum.map(last.context.caches, & &1.keep) == Enum.map(plain, &if(&1 == KeyValueCache, do: 4, else: 0))
    end
  end

  test "a context goes on with the caches that it has", %{lm: lm, tmp_dir: folder} do
    lm = windowed(lm, folder, %{@config | "model_type" => "gemma2"})
    prompt = Enum.to_list(1..30)
    cache = [bits: 8, group_size: 32]
    first = Mlx.LM.generate(lm, prompt, options(cache: cache))
    more = prompt ++ first.ids ++ [7, 8, 9]
    goes_on = Mlx.LM.generate(lm, more, options(context: first.context))
    again = Mlx.LM.generate(lm, prompt, options(cache: cache))
    assert Mlx.LM.generate(lm, more, options(context: again.context, cache: cache)).ids == goes_on.ids
    full = Mlx.LM.generate(lm, prompt, options())
    assert %{caches: caches} = Mlx.LM.generate(lm, more, options(context: full.context, cache: cache)).context
    assert Enum.any?(caches, &is_struct(&1, QuantizedCache))
    full = Mlx.LM.generate(lm, prompt, options())

    assert_raise ArgumentError, ~r/^Mlx.LM.generate: the :context was made without :max_size/, fn ->
      Mlx.LM.generate(lm, more, options(context: full.context, cache: [max_size: 20]))
    end
  end

  test "what cannot be chosen is refused", %{lm: lm} do
    for {cache, message} <- [
          {1, ~r/^Mlx.LM.generate: expected :cache to have a keyword list, got: 1/},
          {[], ~r/:bits or :max_size/},
          {[size: 3], ~r/a keyword list of :bits/},
          {[bits: 8, max_size: 100], ~r/either :bits or :max_size/},
          {[bits: 7], ~r/:bits to be one of 2, 3, 4, 5, 6, 8/},
          {[bits: 8, start: -1], ~r/:start of :cache to be an integer of at least 0, got: -1/},
          {[bits: 8, group_size: 32], ~r/:group_size of :cache to be a divisor of the 16 features of a head, got: 32/},
          {[max_size: 4], ~r/:max_size of :cache to be an integer over :keep, 4, got: 4/},
          {[max_size: 2.5], ~r/:max_size/},
          {[max_size: 10, keep: "x"], ~r/:keep/}
        ] do
      assert_raise ArgumentError, message, fn -> Mlx.LM.generate(lm, "abc", cache: cache) end
    end
  end

  describe "a context in a file" do
    @prompt Enum.to_list(1..30)

    for {name, cache} <- [full: nil, quantized: [bits: 8, group_size: 32], rotating: [max_size: 24]] do
      test "goes on as the one in memory does, with #{name} caches", %{lm: lm, tmp_dir: folder} do
        lm = windowed(lm, folder, @config)
        path = Path.join(folder, "context.safetensors")
        first = Mlx.LM.generate(lm, @prompt, options(cache: unquote(cache)))
        assert Context.save(first.context, lm, path) == :ok
        loaded = Context.load(path, lm.model)
        assert loaded.ids == first.context.ids
        assert Enum.map(loaded.caches, & &1.__struct__) == Enum.map(first.context.caches, & &1.__struct__)
        more = loaded.ids ++ [7, 8, 9]
        response = Mlx.LM.generate(lm, more, options(context: first.context))
        again = Mlx.LM.generate(lm, more, options(context: loaded))
        assert again.ids == response.ids
        # Only the new tokens, and the last one of what was read, are read.
        assert again.context.ids == response.context.ids
      end
    end

    test "is refused when it is damaged, or of another model", %{lm: lm, tmp_dir: folder} do
      path = Path.join(folder, "context.safetensors")
      context = Mlx.LM.generate(lm, "abc", options()).context
      Context.save(context, lm, path)
      {arrays, metadata} = Mlx.IO.load(path, metadata: true)
      arrays = Mlx.eval(arrays)
      load = fn -> Context.load(path, lm) end

      cache = fn change -> fn {arrays, metadata} -> {arrays, Map.update!(metadata, "caches", change)} end end
      array = fn name, value -> fn {arrays, metadata} -> {Map.put(arrays, name, value), metadata} end end
      length = length(context.ids)

      for {change, message} <- [
            {fn {arrays, metadata} -> {arrays, Map.delete(metadata, "format")} end, ~r/holds no context/},
            {fn {arrays, metadata} -> {arrays, %{metadata | "version" => "2"}} end, ~r/version "2", expected 1/},
            {fn {arrays, metadata} -> {arrays, %{metadata | "model" => "x"}} end, ~r/is of another model/},
            {fn {arrays, metadata} -> {Map.delete(arrays, "ids"), metadata} end, ~r/has no tokens/},
            {array.("ids", Mlx.full({length}, 999, type: :u32)), ~r/tokens that the model does not/},
            {array.("ids", Mlx.zeros({length + 1}, type: :u32)), ~r/length is #{length}, expected #{length + 1}/},
            {fn {arrays, metadata} -> {Map.delete(arrays, "caches.1.0"), metadata} end, ~r/has no caches\.1\.0/},
            {array.("caches.0.1", Mlx.zeros({1, 2, length, 8})), ~r/caches\.0\.1 has the type :f32 and the shape/},
            {array.("caches.0.1", Mlx.zeros({1, 2, length, 16}, type: :f16)), ~r/has the type :f16/},
            {array.("caches.7.0", Mlx.zeros({1})), ~r/arrays of no cache: \["caches\.7\.0"\]/},
            {cache.(fn _text -> "{" end), ~r/does not say what its caches are/},
            {cache.(fn _text -> "[{}]" end), ~r/has 1 caches, and the model 2/},
            {cache.(&String.replace(&1, "key_value", "other")), ~r/kind is "other", expected key_value/},
            {cache.(&String.replace(&1, "key_value", "state")), ~r/kind is "state"/},
            {cache.(&String.replace(&1, "key_value", "quantized")), ~r/bits is missing/}
          ] do
        {arrays, metadata} = change.({arrays, metadata})
        Mlx.IO.save(path, arrays, metadata: metadata)
        assert %Mlx.Error{message: "Mlx.LM.Context.load: " <> _ = text} = catch_error(load.())
        assert text =~ message
      end

      bytes = File.read!(path)
      File.write!(path, binary_part(bytes, 0, byte_size(bytes) - 9))
      assert_raise Mlx.Error, ~r/^Mlx.LM.Context.load: cannot read .*context/, load
      assert_raise ArgumentError, ~r/nothing was read/, fn -> Context.save(Context.new(lm.model), lm, path) end
      assert_raise ArgumentError, ~r/^Mlx.LM.Context.save: expected the model/, fn -> Context.save(context, 1, path) end

      assert_raise Mlx.Error, ~r/^Mlx.LM.Context.save: cannot write/, fn ->
        Context.save(context, lm, folder <> "/no/x")
      end
    end
  end
end
