for file <- ["rounds.exs", "table.exs"], do: Code.require_file(file, __DIR__)

defmodule Bench.Tokenization do
  @moduledoc false

  alias Bench.{Rounds, Table}
  alias Mlx.LM.Tokenizer

  @rounds 3
  @size 1_000_000
  @common String.graphemes("的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定行学法所民得经")

  def run(names) do
    root = System.fetch_env!("MLX_TEST_TOKENIZERS")
    :rand.seed(:exsss, {1, 2, 3})
    texts = texts()
    folder = Path.join(System.tmp_dir!(), "mlx-bench-tokenizers-#{System.unique_integer([:positive])}")
    File.mkdir_p!(folder)

    files =
      for {{_kind, text}, index} <- Enum.with_index(texts) do
        file = Path.join(folder, "#{index}.txt")
        File.write!(file, text)
        file
      end

    Table.header("ms for a text of 1 MB", "Mlx", "tokenizers")

    longest =
      for name <- if(names == [], do: known(root), else: names) do
        tokenizer = Tokenizer.from_folder(Path.join(root, name))
        arguments = [Path.join([root, name, "tokenizer.json"]) | files]
        {ours, theirs} = Rounds.compare("tokenization.py", arguments, @rounds, fn -> measure(tokenizer, texts) end)
        {ours, counts} = Enum.split(ours, length(texts))
        {theirs, ^counts} = Enum.split(theirs, length(texts))
        Table.print(for({kind, _text} <- texts, do: "#{name}, #{kind}"), ours, theirs)
        Enum.max(ours)
      end

    File.rm_rf!(folder)
    IO.puts("longest: #{longest |> Enum.max() |> Table.format()}")
  end

  defp known(root),
    do: root |> File.ls!() |> Enum.filter(&File.exists?(Path.join([root, &1, "tokenizer.json"]))) |> Enum.sort()

  # Times, and numbers of tokens.
  defp measure(tokenizer, texts) do
    {times, counts} =
      texts
      |> Enum.map(fn {_kind, text} ->
        :erlang.garbage_collect()
        {us, encoding} = Rounds.time(fn -> Tokenizer.encoding(tokenizer, text, truncation: nil, padding: nil) end)
        {us / 1000, length(encoding.ids) / 1}
      end)
      |> Enum.unzip()

    times ++ counts
  end

  defp texts do
    [
      {"letters", random(@size, fn -> <<Enum.random(?a..?z)>> end)},
      {"one letter", String.duplicate("a", @size)},
      {"digits", random(@size, fn -> <<Enum.random(?0..?9)>> end)},
      {"one emoji", String.duplicate("😀", div(@size, 4))},
      {"Chinese of all characters", random(div(@size, 3), fn -> <<Enum.random(0x4E00..0x9FA5)::utf8>> end)},
      {"Chinese of common characters", random(div(@size, 3), fn -> Enum.random(@common) end)},
      {"base64", Base.encode64(:rand.bytes(div(@size * 3, 4)))},
      {"spaces", String.duplicate(" ", @size)},
      {"spaces and line breaks", String.duplicate(" \n", div(@size, 2))},
      {"letters of both cases", random(@size, fn -> <<Enum.random(~c"aA") + Enum.random(0..25)>> end)},
      {"all of ASCII", random(@size, fn -> <<Enum.random(32..126)>> end)},
      {"accents apart", String.duplicate("e\u0301", div(@size, 3))},
      {"guides and sources", prose()}
    ]
  end

  defp random(count, draw), do: for(_character <- 1..count, into: "", do: draw.())

  # Markdown and Elixir of this repository.
  defp prose do
    root = Path.expand("..", __DIR__)

    text =
      ["guides/*.md", "*.md", "lib/mlx/*.ex", "lib/mlx/lm/*.ex", "lib/mlx/ops/*.ex"]
      |> Enum.flat_map(&Path.wildcard(Path.join(root, &1)))
      |> Enum.map_join(&File.read!/1)

    text |> String.slice(0, @size) |> String.trim()
  end
end

Bench.Tokenization.run(System.argv())
