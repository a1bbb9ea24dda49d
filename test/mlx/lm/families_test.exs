defmodule Mlx.LM.FamiliesTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.{Checkpoint, Decoder, Families}
  alias Mlx.Test.DecoderOutputs

  @moduletag :oracle
  @moduletag :tmp_dir
  @moduletag timeout: 900_000

  @script Path.expand("../../oracle/families.py", __DIR__)
  @tolerance 1.0e-4

  # The types of models that mlx-lm has and that are not here.
  @missing []

  # The types that mlx-lm does not have, each with a test of its own.
  @of_our_own ["deepseek_v4"]

  defp python(arguments) do
    {output, status} = System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), arguments, stderr_to_stdout: true)
    assert status == 0, output
    output
  end

  test "models of mlx-lm's classes give the same here, in one go, in parts, step by step, compiled and quantized",
       %{tmp_dir: folder} do
    python([@script, folder])
    cases = Enum.sort(File.ls!(folder))
    assert length(cases) > 150

    wrong =
      cases
      |> Task.async_stream(&{&1, DecoderOutputs.problems(Path.join(folder, &1), @tolerance)},
        max_concurrency: 2,
        timeout: 300_000
      )
      |> Enum.flat_map(fn {:ok, {name, problems}} -> if problems == [], do: [], else: [{name, problems}] end)

    assert wrong == []
    assert Enum.flat_map(cases, &misread(Path.join(folder, &1))) == []

    # Each family is seen; those of pictures too are here by one that has all of them.
    types = for name <- cases, uniq: true, do: Checkpoint.config(Path.join(folder, name)).map["model_type"]
    modules = for type <- types, do: family(type)
    assert for(type <- Families.types() -- @of_our_own, family(type) not in modules, do: type) == []
  end

  test "the types are those that mlx-lm has, but for some that are known to be missing" do
    list = """
    import importlib.util, pathlib
    folder = pathlib.Path(importlib.util.find_spec("mlx_lm").submodule_search_locations[0]) / "models"
    print(*[path.stem for path in folder.glob("*.py") if "class Model(" in path.read_text()])
    """

    theirs = ["-c", list] |> python() |> String.split()
    assert length(theirs) > 100
    assert Enum.sort(theirs -- Families.types()) == Enum.sort(@missing)
  end

  @values [nil, "x", -1, 0, 1, 3, 1.5, [], [1], ["x"], [nil], %{}, true, 0x7FFFFFFF, 1_000_000_000_000, 1.0e40]

  # Each field of a configuration with each of these values: a model, or an error that says what is wrong.
  defp misread(folder) do
    fields = Checkpoint.config(folder)
    map = Map.merge(fields.map, fields.map["text_config"] || %{})
    map = %{map | "model_type" => fields.map["model_type"]} |> Map.delete("text_config")

    for key <- Map.keys(map), key != "model_type", value <- @values, problem = misread(fields, map, key, value) do
      problem
    end
  end

  defp misread(fields, map, key, value) do
    {family, fields} = Families.find(%{fields | map: Map.put(map, key, value)})
    %Decoder{} = Decoder.new(family.config(fields))
    nil
  rescue
    error in Mlx.Error -> if error.message == "", do: {fields.source, key, value}
    error -> {fields.source, key, value, error}
  end

  defp family(type) do
    {module, _fields} = Families.find(Families.Fields.new(%{"model_type" => type}))
    module
  end
end
