for file <- ["rounds.exs", "table.exs"], do: Code.require_file(file, __DIR__)

defmodule Bench.Host do
  @moduledoc false
  # MLX submits only so much to a CPU before it waits for the results, so that most of what a real model takes there is
  # computing. A model of as many layers that are narrow takes what the calls take. Python runs the same models with
  # mlx-lm's classes.

  alias Bench.{Rounds, Table}
  alias Mlx.LM.{Checkpoint, Decoder, Decoding, Sampler}

  @rounds 5
  @prompt 16
  @tokens 24
  @arrays 288
  @calls 50

  # The kinds of host_kinds.py.
  @kinds [
    attention: ~w(llama qwen3),
    experts: ~w(qwen3_moe gpt_oss),
    windows: ~w(gemma3_text),
    recurrent: ~w(mamba mamba2 lfm2 qwen3_next)
  ]

  @call_rows [
    "compiled call: #{@arrays} in, 1 out",
    "compiled call: #{@arrays} in and out",
    "tracing: #{@arrays} in and out"
  ]

  def run(folder, wanted) do
    kinds = for {kind, names} <- @kinds, name <- names, wanted == [] or name in wanted, do: {kind, name}
    names = Enum.map(kinds, &elem(&1, 1))
    models = Enum.map(names, &Checkpoint.load(Path.join(folder, &1)))
    arrays = Mlx.eval(for _array <- 1..@arrays, do: Mlx.ones({8}))
    calls = [Mlx.compile(&first/1), Mlx.compile(&all/1), fn arrays -> Mlx.compile(&all/1).(arrays) end]
    arguments = [folder | Enum.map([@prompt, @tokens, @arrays, @calls], &to_string/1)] ++ names

    {ours, theirs} =
      Rounds.compare(
        "host.py",
        arguments,
        @rounds,
        fn -> Enum.flat_map(models, &token/1) ++ Enum.map(calls, &call(&1, arrays)) end,
        &Rounds.median/1
      )

    Table.header("us, median of #{@rounds} rounds", "Mlx", "mlx-lm")
    Table.print(Enum.flat_map(kinds, &rows/1) ++ @call_rows, ours, theirs)
    [builds, submissions] = ours |> ratios(theirs) |> Enum.take(2 * length(kinds)) |> Enum.chunk_every(2) |> Enum.zip_with(& &1)
    IO.puts("build ratio: #{builds |> Enum.max() |> Table.format()}")
    IO.puts("host ratio: #{submissions |> Enum.max() |> Table.format()}")
  end

  defp rows({kind, name}), do: ["#{kind}, #{name}: build", "#{kind}, #{name}: and submission"]
  defp ratios(ours, theirs), do: Enum.zip_with(ours, theirs, &(&1 / &2))

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

[folder | wanted] = System.argv()
Bench.Host.run(folder, wanted)
