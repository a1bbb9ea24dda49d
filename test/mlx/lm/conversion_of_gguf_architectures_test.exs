defmodule Mlx.LM.ConversionOfGGUFArchitecturesTest do
  # Files of all architectures become folders that Python's mlx-lm loads.
  use ExUnit.Case, async: true

  alias Mlx.GGUFCases
  alias Mlx.IO.GGUFMetadata
  alias Mlx.LM.{Decoder, GGUFModel, Tokenizer}

  @moduletag :oracle
  @moduletag :tmp_dir
  @moduletag timeout: 300_000

  @script Path.expand("../../oracle/conversion.py", __DIR__)

  # Those of the script.
  @ids [5, 9, 1, 77, 30, 2, 64, 11]

  @tolerance 1.0e-4

  # mlx-lm's Gemma 2 has no windows, and its Qwen 2 with experts, and Mixtral, no scaled positions.
  defp cases do
    for {name, architecture, type, different, file} <- GGUFCases.all() do
      different = if architecture == "gemma2", do: Map.put(different, "sliding_window", 64), else: different
      kind = if architecture in ~w(gemma gemma2 gemma3 phi3) or type in ~w(mistral mixtral), do: "llama", else: "gpt2"
      {name, architecture, type, different, Map.put(file, "tokenizer", kind)}
    end
  end

  defp distance(model, expected) do
    {logits, _caches} = Decoder.logits(model, Mlx.array([@ids]), Decoder.caches(model))
    logits = Mlx.as_type(logits[0], :f32)

    [most, scale] =
      for x <- [Mlx.subtract(logits, expected), expected], do: x |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()

    most / scale
  end

  test "the folders give the logits of the files in Python and here", %{tmp_dir: tmp} do
    [files, folders] = for name <- ["files", "folders"], do: Path.join(tmp, name)
    File.mkdir!(files)
    assert GGUFCases.write(files, cases()) == nil

    for {name, _, _, _, _} <- cases() do
      Mlx.LM.convert(Path.join([files, name, "model.gguf"]), Path.join(folders, name), type: :f32)
    end

    python = System.fetch_env!("MLX_ORACLE_PYTHON")
    {output, status} = System.cmd(python, [@script, "read", folders], stderr_to_stdout: true)
    assert status == 0, output

    wrong =
      for {name, architecture, _type, _different, _file} <- cases(),
          path = Path.join([files, name, "model.gguf"]),
          python = Mlx.IO.load(Path.join([folders, name, "logits.safetensors"]))["logits"],
          metadata = GGUFMetadata.read(path).metadata,
          assert(metadata["general.architecture"] == architecture),
          lm = Mlx.LM.load(Path.join(folders, name), type: :f32),
          assert(Tokenizer.encode(lm.tokenizer, "ab a~") == Tokenizer.encode(Tokenizer.from_gguf(metadata), "ab a~")),
          file = GGUFModel.load(path, metadata, type: :f32, form: :dense),
          distances = [distance(file, python), distance(lm.model, python)],
          Enum.max(distances) > @tolerance do
        {name, distances}
      end

    assert wrong == []

    assert Enum.sort(Enum.uniq(for {_, architecture, _, _, _} <- cases(), do: architecture)) ==
             GGUFModel.architectures()
  end
end
