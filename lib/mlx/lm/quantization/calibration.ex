defmodule Mlx.LM.Quantization.Calibration do
  @moduledoc false
  # The text by which a model is quantized, as batches of windows of tokens of one length.

  alias Mlx.{Array, Random}
  alias Mlx.IO.GGUFMetadata
  alias Mlx.LM.Tokenizer

  @doc """
  Batches `{count, length}` of a text, or of texts that follow each other. The windows are taken from all over the text. A text
  that is shorter than a window is one. The option `:seed`, where it is there, shuffles the windows.
  """
  @spec batches(Tokenizer.t(), String.t() | [String.t()], keyword()) :: [Array.t()]
  def batches(tokenizer, texts, options) do
    ids = texts |> List.wrap() |> Enum.flat_map(&Tokenizer.encode(tokenizer, &1))
    length = options[:window]

    windows =
      case Enum.chunk_every(ids, length, length, :discard) do
        [] when length(ids) < 2 -> raise Mlx.Error, "the :calibration has #{length(ids)} tokens, expected 2 or more"
        [] -> [ids]
        windows -> windows |> spread(options[:windows]) |> shuffled(options[:seed])
      end

    for batch <- Enum.chunk_every(windows, options[:batch_size]), do: Mlx.array(batch, type: :s32)
  end

  defp spread(windows, nil), do: windows

  defp spread(windows, most) do
    count = length(windows)
    places = MapSet.new(0..(min(most, count) - 1), &div(&1 * count, min(most, count)))
    for {window, place} <- Enum.with_index(windows), place in places, do: window
  end

  defp shuffled(windows, nil), do: windows

  defp shuffled(windows, seed) do
    order = windows |> length() |> Random.permutation(key: Random.key(seed)) |> Mlx.to_list()
    for number <- order, do: Enum.at(windows, number)
  end

  @doc "The tokenizer of a source that is converted: a folder, with or without a GGUF file in it, or a GGUF file."
  @spec tokenizer(Path.t()) :: Tokenizer.t()
  def tokenizer(path) do
    case {File.dir?(path), Path.wildcard(Path.join(path, "*.gguf"))} do
      {false, _none} -> of_gguf(path)
      {true, [file]} -> if File.exists?(Path.join(path, "config.json")), do: of_folder(path), else: of_gguf(file)
      _folder -> of_folder(path)
    end
  end

  defp of_gguf(file), do: Tokenizer.from_gguf(GGUFMetadata.read(file).metadata)

  defp of_folder(folder) do
    case Tokenizer.from_folder(folder) do
      nil -> raise Mlx.Error, "#{folder} has no tokenizer.json, by which a :calibration is read"
      tokenizer -> tokenizer
    end
  end
end
