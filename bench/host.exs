for file <- ["rounds.exs", "table.exs", "llama_shapes.exs"], do: Code.require_file(file, __DIR__)

defmodule Bench.Host do
  @moduledoc false
  # MLX submits only so much to a CPU before it waits for the results, so that most of what the test model takes there is
  # computing. A model of as many layers that are narrow takes what the calls take. Python's models are of the same shapes,
  # built of mlx.nn.

  alias Bench.{LlamaShapes, Rounds, Table}
  alias Mlx.LM.{Decoder, Decoding, GGUFModel, Sampler}

  @rounds 5
  @prompt 16
  @tokens 24
  @arrays 288
  @calls 50

  @narrow_head 8
  @narrow_hidden 192
  @narrow_vocabulary 256

  @rows [
    "token, narrow: build",
    "token, narrow: build + submission",
    "token, test model: build",
    "token, test model: build + submission",
    "compiled call: #{@arrays} in, 1 out",
    "compiled call: #{@arrays} in and out",
    "tracing: #{@arrays} in and out"
  ]

  def run do
    %{model: model} = Mlx.LM.load(System.fetch_env!("MLX_TEST_MODEL"))
    models = [narrow(model), model]
    arrays = Mlx.eval(for _array <- 1..@arrays, do: Mlx.ones({8}))
    calls = [Mlx.compile(&first/1), Mlx.compile(&all/1), fn arrays -> Mlx.compile(&all/1).(arrays) end]
    arguments = Enum.map([@prompt, @tokens, @arrays, @calls | Enum.flat_map(models, &sizes/1)], &to_string/1)

    {[_build, us | _] = ours, [_, py | _] = theirs} =
      Rounds.compare(
        "host.py",
        arguments,
        @rounds,
        fn -> Enum.flat_map(models, &token/1) ++ Enum.map(calls, &call(&1, arrays)) end,
        &Rounds.median/1
      )

    Table.header("us, median of #{@rounds} rounds", "Mlx")
    Table.print(@rows, ours, theirs)
    IO.puts("host ratio: #{Table.format(us / py)}")
  end

  defp narrow(%Decoder{model: %{layers: [%{self_attn: attention} | _] = blocks}}) do
    %{heads: heads, key_value_heads: key_value_heads} = attention
    width = heads * @narrow_head

    shapes =
      LlamaShapes.of(
        layers: length(blocks),
        width: width,
        heads: heads,
        key_value_heads: key_value_heads,
        head: @narrow_head,
        hidden: @narrow_hidden,
        vocabulary: @narrow_vocabulary
      )

    metadata = %{
      "llama.block_count" => length(blocks),
      "llama.embedding_length" => width,
      "llama.attention.head_count" => heads,
      "llama.attention.head_count_kv" => key_value_heads,
      "llama.attention.key_length" => @narrow_head,
      "llama.attention.layer_norm_rms_epsilon" => 1.0e-5,
      "llama.context_length" => 8192
    }

    shapes
    |> Map.new(fn {name, shape} -> {"#{name}.weight", Mlx.Random.normal(shape)} end)
    |> GGUFModel.new(metadata, "the narrow model")
  end

  defp sizes(%Decoder{config: config, model: %{layers: [%{self_attn: attention, mlp: mlp} | _] = blocks}}) do
    hidden = Mlx.axis_size(mlp.down_proj.matrix, 0)
    [length(blocks), config.width, attention.heads, attention.key_value_heads, hidden, config.vocabulary]
  end

  defp token(model) do
    decode = Decoding.compile(model)
    {logits, caches} = Decoder.call(model, Mlx.reshape(Mlx.iota({@prompt}), {1, @prompt}), Decoder.caches(model))
    {token, sampler} = Sampler.sample(Sampler.new(), logits)
    # The first token is recorded.
    {_times, next} = step(decode, {Mlx.eval(token), sampler, caches})
    {times, _next} = Enum.map_reduce(1..@tokens, next, fn _token, next -> step(decode, next) end)
    Enum.zip_with(times, &Rounds.median/1)
  end

  # What Mlx.LM.Generation does for each token, but it is at the next one while this is computed.
  defp step(decode, {token, sampler, caches}) do
    {build, {token, _sampler, _caches} = next} =
      Rounds.time(fn -> Decoding.next(decode, token, sampler, caches) end)

    {submission, token} = Rounds.time(fn -> Mlx.async_eval(token) end)
    Mlx.eval(token)
    {[build, build + submission], next}
  end

  defp call(fun, arrays) do
    Rounds.median(
      for _call <- 1..@calls do
        {us, results} = Rounds.time(fn -> fun.(arrays) end)
        Mlx.eval(results)
        us
      end
    )
  end

  defp first([array | _arrays]), do: Mlx.multiply(array, 0.5)
  defp all(arrays), do: Enum.map(arrays, &Mlx.multiply(&1, 0.5))
end

Bench.Host.run()
