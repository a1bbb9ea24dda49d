Code.require_file("rounds.exs", __DIR__)

defmodule Bench.Generate do
  @moduledoc false

  @prompt "Explain briefly why the sky is blue."
  @tokens 32
  @rounds 3

  def run do
    path = System.fetch_env!("MLX_TEST_MODEL")
    lm = Mlx.LM.load(path)
    ids = Mlx.LM.encode(lm, [%{role: "user", content: @prompt}])
    arguments = [path, "#{@tokens}", Enum.join(ids, " ")]
    rounds = Bench.Rounds.alternate("generate.py", arguments, @rounds, fn -> measure(lm, ids) end)
    {ours, theirs} = Enum.unzip(rounds)

    IO.puts(row("best of #{@rounds} rounds", ["Mlx", "Python", "ratio"]))
    print("prompt of #{length(ids)} tokens, tokens per second", ours, theirs, 0)
    ratio = print("#{@tokens} tokens, tokens per second", ours, theirs, 1)
    IO.puts("generation ratio: #{format(ratio)}")
  end

  defp measure(lm, ids) do
    :erlang.garbage_collect()
    response = Mlx.LM.generate(lm, ids, max_tokens: @tokens)
    [response.prompt_tokens_per_second, response.generation_tokens_per_second]
  end

  defp print(name, ours, theirs, index) do
    [us, py] = for rounds <- [ours, theirs], do: rounds |> Enum.map(&Enum.at(&1, index)) |> Enum.max()
    IO.puts(row(name, [format(us), format(py), format(us / py)]))
    us / py
  end

  defp row(name, cells), do: String.pad_trailing(name, 44) <> Enum.map_join(cells, &String.pad_leading(&1, 10))
  defp format(number), do: :erlang.float_to_binary(number, decimals: 2)
end

Bench.Generate.run()
