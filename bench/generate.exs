for file <- ["rounds.exs", "table.exs", "host_tokens.exs"], do: Code.require_file(file, __DIR__)

defmodule Bench.Generate do
  @moduledoc false
  # mlx-lm reads the same folders: what Mlx.LM.convert makes of the test model. It computes in the form and type of the
  # folder, and Mlx in its default ones, which are f32 and packed matrices on a CPU. The last lines have the worst ratios.

  alias Bench.{HostTokens, Rounds, Table}

  @question "Explain briefly why the sky is blue, and why it is red at dusk. "

  # A folder, how it is made, how many rounds there are, how often the question is asked in the prompt, and the tokens that are
  # written. Of other forms than f32, mlx-lm multiplies in scalar loops on a CPU: of 4 bits it reads a few tokens in a minute.
  @folders [
    {"f32", [dequantize: true, type: :f32], 5, 4, 24},
    {"bf16", [dequantize: true, type: :bf16], 3, 4, 24},
    {"4bit", [], 2, 1, 4}
  ]

  def run(folder, narrow) do
    Table.header("tokens per second, best rounds", "Mlx", "mlx-lm")
    ratios = for form <- @folders, do: ratios(folder, form)
    [prefill, decode] = Enum.zip_with(ratios, &Enum.min/1)
    {_build, host} = HostTokens.compare(narrow)

    for {name, ratio} <- [prefill: prefill, decode: decode, host: host],
        do: IO.puts("#{name} ratio: #{Table.format(ratio)}")
  end

  defp ratios(folder, {name, options, rounds, repeated, tokens}) do
    path = Path.join(folder, name)
    "MLX_TEST_MODEL" |> System.fetch_env!() |> Mlx.LM.convert(path, options)
    lm = Mlx.LM.load(path)
    ids = Mlx.LM.encode(lm, [%{role: "user", content: String.duplicate(@question, repeated)}])
    arguments = [path, "#{tokens}", Enum.join(ids, " ")]
    rounds = Rounds.alternate("generate.py", arguments, rounds, fn -> measure(lm, ids, tokens) end)
    {ours, theirs} = Enum.unzip(rounds)
    [ours, theirs] = for side <- [ours, theirs], do: Enum.zip_with(side, &Enum.max/1)
    Table.print(["#{name}: #{length(ids)} read", "#{name}: #{tokens} written"], ours, theirs)
    Enum.zip_with(ours, theirs, &(&1 / &2))
  end

  defp measure(lm, ids, tokens) do
    :erlang.garbage_collect()
    response = Mlx.LM.generate(lm, ids, max_tokens: tokens, ignore_eos: true)
    [response.prompt_tokens_per_second, response.generation_tokens_per_second]
  end
end

[folder, narrow] = System.argv()
Bench.Generate.run(folder, narrow)
