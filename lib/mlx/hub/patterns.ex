defmodule Mlx.Hub.Patterns do
  @moduledoc false
  # Which files of a repository are wanted. A pattern is one of a shell in which `*` also stands for `/`, as in Python's
  # library: `*` any text, `?` one character, `[a-z]` and `[!a-z]` one of some. A pattern that ends with `/` is all of a folder.

  @all "*"

  # A language model: its settings, its tokenizer and its weights.
  @model ["*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.safetensors"]

  # Copies of the weights for other programs, and what a training left behind.
  @others ["original/*", "onnx/*", "openvino/*", "coreml/*", "runs/*", "checkpoint-*/*"]

  # The same weights in the form of another program, where the usual one is there.
  @consolidated ["consolidated*.safetensors"]

  @doc "The pattern of all files."
  @spec all() :: String.t()
  def all, do: @all

  @doc """
  The paths that are wanted: those of the patterns `files` without those of `ignore`. Without patterns it is what a language
  model is made of. A repository of GGUF files has one for each quantization: a single one is taken, of several the
  caller has to choose.
  """
  @spec select([String.t()], [String.t()] | nil, [String.t()] | nil) :: {:ok, [String.t()]} | {:choose, [String.t()]}
  def select(paths, nil, ignore) do
    kept = without(paths, ignore || [])
    model = kept |> matching(@model) |> without(@others)
    model = if Enum.any?(model, &fits?(&1, "model*.safetensors")), do: without(model, @consolidated), else: model

    case {Enum.any?(model, &String.ends_with?(&1, ".safetensors")), matching(kept, ["*.gguf"])} do
      {false, [gguf]} -> {:ok, [gguf | model]}
      {false, [_, _ | _] = several} -> {:choose, several}
      _weights_or_none -> {:ok, model}
    end
  end

  def select(paths, files, ignore), do: {:ok, paths |> matching(files) |> without(ignore || [])}

  defp matching(paths, patterns), do: Enum.filter(paths, &any?(&1, patterns))
  defp without(paths, patterns), do: Enum.reject(paths, &any?(&1, patterns))
  defp any?(path, patterns), do: Enum.any?(patterns, &fits?(path, &1))

  @doc "Whether a path is one of a pattern."
  @spec fits?(String.t(), String.t()) :: boolean()
  def fits?(path, pattern) do
    pattern = if String.ends_with?(pattern, "/"), do: pattern <> @all, else: pattern
    matches?(tokens(pattern, []), String.to_charlist(path))
  end

  # A pattern has no star twice in a row. The last star is the only one to come back to, so that the time is bounded by the
  # product of the lengths.
  defp matches?(tokens, path), do: walk(tokens, path, nil)

  defp walk([], [], _star), do: true
  defp walk([:any | tokens], path, _star), do: walk(tokens, path, {tokens, path})

  defp walk([token | tokens], [character | path], star) do
    if one?(token, character), do: walk(tokens, path, star), else: back(star)
  end

  defp walk(_tokens, _path, star), do: back(star)

  defp back({tokens, [_ | path]}), do: walk(tokens, path, {tokens, path})
  defp back(_none), do: false

  defp one?(:one, _character), do: true
  defp one?({:set, negated, ranges}, character), do: Enum.any?(ranges, &(character in &1)) != negated
  defp one?(literal, character), do: literal == character

  defp tokens("", tokens), do: Enum.reverse(tokens)
  defp tokens("*" <> rest, [:any | _] = tokens), do: tokens(rest, tokens)
  defp tokens("*" <> rest, tokens), do: tokens(rest, [:any | tokens])
  defp tokens("?" <> rest, tokens), do: tokens(rest, [:one | tokens])

  defp tokens("[" <> rest, tokens) do
    case Regex.run(~r/\A(!?)(\]?[^\]]*)\](.*)\z/su, rest) do
      [_, negation, members, rest] when members != "" ->
        tokens(rest, [{:set, negation == "!", ranges(String.to_charlist(members))} | tokens])

      _no_set ->
        tokens(rest, [?[ | tokens])
    end
  end

  defp tokens(<<character::utf8, rest::binary>>, tokens), do: tokens(rest, [character | tokens])
  defp tokens(<<byte, rest::binary>>, tokens), do: tokens(rest, [byte | tokens])

  defp ranges([first, ?-, last | rest]), do: [first..last//1 | ranges(rest)]
  defp ranges([character | rest]), do: [character..character | ranges(rest)]
  defp ranges([]), do: []
end
