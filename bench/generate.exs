for file <- ["rounds.exs", "table.exs", "host_tokens.exs"], do: Code.require_file(file, __DIR__)

defmodule Bench.Generate do
  @moduledoc false
  # mlx-lm reads the same folders: what Mlx.LM.convert makes of the test model. It computes in the form and type of the
  # folder, and Mlx in its default ones, which are dense matrices of f32 on a CPU. The last lines have the worst ratios.

  alias Bench.{HostTokens, Rounds, Table}

  @question "Explain briefly why the sky is blue, and why it is red at dusk. "
  @repeated 4
  @tokens 24

  # Of other forms than f32, mlx-lm multiplies in scalar loops on a CPU, so that a round takes long.
  @folders [
    f32: {5, [dequantize: true, type: :f32]},
    bf16: {3, [dequantize: true, type: :bf16]},
    "4bit": {2, []}
  ]

  def run(folder, narrow) do
    Table.header("tokens per second, best rounds", "Mlx", "mlx-lm")
    ratios = for {name, how} <- @folders, do: ratios(Path.join(folder, "#{name}"), name, how)
    [prefill, decode] = Enum.zip_with(ratios, &Enum.min/1)
    {_build, host} = HostTokens.compare(narrow)

    for {name, ratio} <- [prefill: prefill, decode: decode, host: host],
        do: IO.puts("#{name} ratio: #{Table.format(ratio)}")
  end

  defp ratios(path, name, {rounds, options}) do
    "MLX_TEST_MODEL" |> System.fetch_env!() |> Mlx.LM.convert(path, options)
    lm = Mlx.LM.load(path)
    ids = Mlx.LM.encode(lm, [%{role: "user", content: String.duplicate(@question, @repeated)}])
    arguments = [path, "#{@tokens}", Enum.join(ids, " ")]
    rounds = Rounds.alternate("generate.py", arguments, rounds, fn -> measure(lm, ids) end)
    {ours, theirs} = Enum.unzip(rounds)
    [ours, theirs] = for side <- [ours, theirs], do: Enum.zip_with(side, &Enum.max/1)
    Table.print(["#{name}: #{length(ids)} read", "#{name}: #{@tokens} written"], ours, theirs)
    Enum.zip_with(ours, theirs, &(&1 / &2))
  end

  defp measure(lm, ids) do
    :erlang.garbage_collect()
    response = Mlx.LM.generate(lm, ids, max_tokens: @tokens, ignore_eos: true)
    [response.prompt_tokens_per_second, response.generation_tokens_per_second]
  end
end

[folder, narrow] = System.argv()
Bench.Generate.run(folder, narrow)
