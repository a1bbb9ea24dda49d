for file <- ["rounds.exs", "table.exs"], do: Code.require_file(file, __DIR__)

defmodule Bench.HostTokens do
  @moduledoc false
  # MLX submits only so much to a CPU before it waits for the results, so that most of what a real model takes there is
  # computing. A model of as many layers that are narrow takes what the calls take. Python runs the same models with
  # mlx-lm's classes.

  alias Bench.{Rounds, Table}
  alias Mlx.LM.{Checkpoint, Decoder, Decoding, Sampler}

  @rounds 5
  @prompt 16
  @tokens 24

  # The names that host_kinds.py has.
  @kinds [
    attention: ~w(llama qwen3),
    experts: ~w(qwen3_moe gpt_oss),
    windows: ~w(gemma3_text),
    recurrent: ~w(mamba mamba2 lfm2 qwen3_next)
  ]

  @doc """
  Prints what a token takes here and in mlx-lm, for the models in the folder that host_kinds.py makes, all or some. Returns
  the worst ratios, of building and of building and submission.
  """
  def compare(folder, wanted \\ []) do
    kinds = for {kind, names} <- @kinds, name <- names, wanted == [] or name in wanted, do: {kind, name}
    names = Enum.map(kinds, &elem(&1, 1))
    models = Enum.map(names, &Checkpoint.load(Path.join(folder, &1)))
    arguments = [folder, "#{@prompt}", "#{@tokens}" | names]

    # The best of all tokens: another process that runs meanwhile makes most of them slower, those of the slower side more.
    {ours, theirs} = Rounds.compare("host_tokens.py", arguments, @rounds, fn -> Enum.flat_map(models, &token/1) end)
    Table.header("us, best of #{@rounds} rounds", "Mlx", "mlx-lm")
    Table.print(Enum.flat_map(kinds, &rows/1), ours, theirs)
    ratios = Enum.zip_with(ours, theirs, &(&1 / &2))
    [build, submission] = ratios |> Enum.chunk_every(2) |> Enum.zip_with(&Enum.max/1)
    {build, submission}
  end

  defp rows({kind, name}), do: ["#{kind}, #{name}: build", "#{kind}, #{name}: and submission"]

  defp token(model) do
    decode = Decoding.compile(model)
    {logits, caches} = Decoder.call(model, Mlx.reshape(Mlx.iota({@prompt}), {1, @prompt}), Decoder.caches(model))
    {token, sampler} = Sampler.sample(Sampler.new(), logits)
    # The first token is recorded.
    {_times, next} = step(decode, {Mlx.eval(token), sampler, caches})
    {times, _next} = Enum.map_reduce(1..@tokens, next, fn _token, next -> step(decode, next) end)
    Enum.zip_with(times, &Enum.min/1)
  end

  # What Mlx.LM.Generation does for each token, but it is at the next one while this is computed.
  defp step(decode, {token, sampler, caches}) do
    {build, {token, _sampler, _caches} = next} =
      Rounds.time(fn -> Decoding.next(decode, token, sampler, caches) end)

    {submission, token} = Rounds.time(fn -> Mlx.async_eval(token) end)
    Mlx.eval(token)
    {[build, build + submission], next}
  end
end
