defmodule GuidesTest do
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  # Every block of Elixir in the readme, the guides and the notebooks runs here, those of a file one after the other in one binding. A line
  # `expression   # value` in which the comment is a term, and a line `#=> value`, are compared with what the code gives.

  @root Path.expand("..", __DIR__)
  @pages Path.wildcard(Path.join(@root, "guides/*.md")) ++ Path.wildcard(Path.join(@root, "livebooks/*.livemd"))
  @files ["README.md" | Enum.map(@pages, &Path.relative_to(&1, @root))]

  # Why a block may be left out: `<!-- not run: reason -->` stands on the line before it.
  @reasons [
    "it is a part of mix.exs",
    "it installs packages",
    "it is a configuration",
    "it needs a GPU",
    "it needs Kino",
    "it needs Nx",
    "it needs a model file",
    "it needs the network",
    "it needs names of your application"
  ]

  @moduletag :tmp_dir

  for file <- @files do
    test "the Elixir of #{file} runs", %{tmp_dir: folder} do
      blocks = for {:run, line, code} <- blocks(unquote(file)), do: {line, code}
      if unquote(file) == "livebooks/fine_tuning.livemd", do: with_model(folder)
      capture_io(fn -> File.cd!(folder, fn -> run(blocks, unquote(file)) end) end)
    end
  end

  # A model of a few thousand numbers, and what lies beside the notebook.
  defp with_model(folder) do
    path = Path.join(folder, "tiny.gguf")
    Mlx.TinyLlama.save(path)
    System.put_env("MODEL", path)
    on_exit(fn -> System.delete_env("MODEL") end)
    File.ln_s!(Path.join(@root, "livebooks"), Path.join(folder, "livebooks"))
  end

  test "a block is left out only for a reason of the list" do
    for file <- @files, {:left_out, line, reason} <- blocks(file) do
      assert reason in @reasons, "#{file}:#{line} is left out because #{reason}. Reasons are: #{inspect(@reasons)}"
    end
  end

  test "a comment with another value than the code gives is found" do
    assert_raise ExUnit.AssertionError, fn -> run([{1, "1 + 1   # 3"}], "example.md") end
    assert_raise ExUnit.AssertionError, fn -> run([{1, "1 + 1\n#=> 3"}], "example.md") end
    assert run([{1, "x = 1 + 1   # 2\n"}, {5, "x + 1   # prose, which is no term\nx\n#=> 2"}], "example.md")
  end

  defp blocks(file) do
    @root |> Path.join(file) |> File.read!() |> String.split("\n") |> Enum.with_index(1) |> collect("", [])
  end

  defp collect([], _before, blocks), do: Enum.reverse(blocks)

  defp collect([{"```elixir", line} | rest], before, blocks) do
    {code, [_fence | rest]} = Enum.split_while(rest, fn {text, _line} -> text != "```" end)

    block =
      case {Regex.run(~r/^<!-- not run: (.+) -->$/, before), code} do
        {[_comment, reason], _code} -> {:left_out, line, reason}
        # Nothing may stand before the first block of a notebook.
        {nil, [{"Mix.install(" <> _packages, _line} | _rest]} -> {:left_out, line, "it installs packages"}
        {nil, _code} -> {:run, line + 1, Enum.map_join(code, "\n", &elem(&1, 0))}
      end

    collect(rest, "", [block | blocks])
  end

  defp collect([{text, _line} | rest], _before, blocks), do: collect(rest, text, blocks)

  defp run(blocks, file) do
    Enum.reduce(blocks, {[], Code.env_for_eval(file: file)}, fn {line, code}, state ->
      code |> expressions(line, file) |> Enum.reduce(state, &evaluate(&1, &2, file))
    end)
  end

  # An expression, the line on which it ends, and the comment with its value, where there is one.
  defp expressions(code, first, file) do
    {quoted, comments} = Code.string_to_quoted_with_comments!(code, line: first, file: file, token_metadata: true)

    parts =
      case quoted do
        {:__block__, _metadata, parts} -> parts
        part -> [part]
      end

    starts = Enum.map(parts, &first_line/1)
    ends = Enum.map(Enum.drop(starts, 1), &(&1 - 1)) ++ [:infinity]

    for {part, from, to} <- Enum.zip([parts, starts, ends]) do
      texts = for %{line: line, text: text} <- comments, line >= from, line <= to, do: text
      {part, from, Enum.find_value(texts, &value/1)}
    end
  end

  defp first_line(quoted) do
    {_quoted, line} =
      Macro.prewalk(quoted, :infinity, fn
        {_name, metadata, _arguments} = node, line -> {node, min(line, Keyword.get(metadata, :line, line))}
        node, line -> {node, line}
      end)

    line
  end

  defp value(text) do
    with {:ok, quoted} <- text |> String.replace(~r/^#(=>)?\s*/, "") |> Code.string_to_quoted(emit_warnings: false),
         true <- term?(quoted) do
      {:term, quoted |> Code.eval_quoted() |> elem(0)}
    else
      _other -> nil
    end
  end

  defp term?(quoted) when is_number(quoted) or is_atom(quoted) or is_binary(quoted), do: true
  defp term?(quoted) when is_list(quoted), do: quoted != [] and Enum.all?(quoted, &term?/1)
  defp term?({a, b}), do: term?(a) and term?(b)
  defp term?({name, _metadata, arguments}) when name in [:{}, :%{}, :-], do: Enum.all?(arguments, &term?/1)
  defp term?(_quoted), do: false

  defp evaluate({quoted, line, expected}, {binding, environment}, file) do
    {result, binding, environment} = Code.eval_quoted_with_env(quoted, binding, environment)

    with {:term, value} <- expected do
      assert result == value, "#{file}:#{line} says #{inspect(value)}, and the code gives #{inspect(result)}"
    end

    {binding, environment}
  end
end
