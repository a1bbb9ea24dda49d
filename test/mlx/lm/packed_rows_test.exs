defmodule Mlx.LM.PackedRowsTest do
  use ExUnit.Case, async: false

  import Mlx.Test.DecoderOutputs, only: [distance: 2]

  alias Mlx.LM.{Checkpoint, Decoder}

  @moduletag :oracle
  @moduletag :tmp_dir
  @moduletag timeout: 900_000

  @script Path.expand("../../oracle/conversion.py", __DIR__)

  # Two rows of 40 places: texts of these lengths, one after the other.
  @rows [[7, 21, 12], [18, 1, 21]]
  # Texts that are no longer than the window of 16 see all of themselves, the others do not.
  @ids for row <- 1..2, do: for(place <- 1..40, do: rem(place * place * (6 + row) + row, 90))

  @apart 110
  # What keeps a state, sees chunks or blocks, chooses what it sees, or has angles that depend on the length.
  @refused ["deepseek_v32", "jamba", "lfm2", "llama-dynamic", "llama4", "mamba", "mamba2", "phi3small-blocks", "rwkv7"]

  defp starts, do: for(row <- @rows, do: row |> Enum.scan(0, &(&1 + &2)) |> starts_of(row))
  defp starts_of(ends, row), do: Enum.zip(ends, row) |> Enum.flat_map(fn {to, n} -> List.duplicate(to - n, n) end)

  defp texts(ids) do
    for {row, places} <- Enum.zip(ids, starts()),
        text <- row |> Enum.zip(places) |> Enum.chunk_by(&elem(&1, 1)),
        do: Enum.map(text, &elem(&1, 0))
  end

  # All families that mlx-lm has: random models.
  test "the texts of a row are read as texts of their own, or refused", %{tmp_dir: tmp} do
    {output, status} =
      System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), [@script, "make", tmp], stderr_to_stdout: true)

    assert status == 0, output
    names = tmp |> Path.join("cases") |> File.ls!() |> Enum.sort()
    results = for name <- names, do: {name, check(name, Path.join([tmp, "cases", name]))}
    apart = for {name, :apart} <- results, do: name
    refused = for {name, :refused} <- results, do: name
    assert length(apart) >= @apart
    assert @refused -- refused == []
  end

  defp check(name, folder) do
    decoder = Checkpoint.tree(folder, type: :f32, form: :dense)
    [ids, starts] = for rows <- [@ids, starts()], do: Mlx.array(rows, type: :s32)

    try do
      Mlx.eval(Decoder.training_logits(decoder, ids, starts: starts))
    rescue
      error in ArgumentError ->
        assert error.message =~ ~r/training_logits: :starts is for models whose layers keep the texts of a row apart/
        :refused
    else
      packed ->
        alone = for text <- texts(@ids), do: Decoder.training_logits(decoder, Mlx.array([text], type: :s32))
        joined = alone |> Mlx.concatenate(axis: 1) |> Mlx.reshape(packed.shape)
        assert distance(packed, joined) < 1.0e-4, "the texts of a row of #{name}"
        assert distance(Decoder.training_logits(decoder, ids), joined) > 1.0e-3, "the rows of #{name}"
        :apart
    end
  end
end
