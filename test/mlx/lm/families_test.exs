defmodule Mlx.LM.FamiliesTest do
  use ExUnit.Case, async: false

  alias Mlx.LM.{Checkpoint, Decoder, Decoding, Families, Sampler}

  @moduletag :oracle
  @moduletag :tmp_dir
  @moduletag timeout: 900_000

  @script Path.expand("../../oracle/families.py", __DIR__)
  @tolerance 1.0e-4

  # The types of models that mlx-lm has and that are not here.
  @missing ~w(afm7 deepseek_v41 kimi_k3 longcat_flash_ngram muse_spark prism_hadamard_qwen35)

  defp python(arguments) do
    {output, status} = System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), arguments, stderr_to_stdout: true)
    assert status == 0, output
    output
  end

  # Logits of tokens that are never written are minus infinity here and there.
  defp distance(a, b) do
    [a, b] = for x <- [a, b], do: Mlx.select(Mlx.is_negative_infinity(x), 0, x)
    [most, scale] = for x <- [Mlx.subtract(a, b), b], do: x |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()
    most / scale
  end

  # The logits of the prompt and of each step after it, and the token before each step.
  defp one_by_one(model, ids, tokens) do
    {prompt, caches} = Decoder.logits(model, ids, Decoder.caches(model))

    {steps, _caches} =
      Enum.map_reduce(tokens, caches, fn token, caches -> Decoder.call(model, Mlx.array([[token]]), caches) end)

    {Mlx.squeeze(prompt, axes: [0]), Mlx.concatenate(steps)}
  end

  defp compiled(model, ids, count) do
    decode = Decoding.compile(model)
    {logits, caches} = Decoder.call(model, ids, Decoder.caches(model))
    {first, sampler} = Sampler.sample(Sampler.new(temperature: 0), logits)

    {tokens, _state} =
      Enum.map_reduce(1..count, {first, sampler, caches}, fn _step, {token, sampler, caches} ->
        Mlx.eval([token, caches])
        {Mlx.to_number(Mlx.squeeze(token)), Decoding.next(decode, token, sampler, caches)}
      end)

    tokens
  end

  defp in_parts(model, ids) do
    {logits, _caches} =
      ids
      |> Mlx.split([7, 30], axis: 1)
      |> Enum.reduce({nil, Decoder.caches(model)}, fn part, {_logits, caches} -> Decoder.call(model, part, caches) end)

    logits
  end

  # Positions whose base depends on the length are those of the part that is read.
  defp depends_on_parts?(folder), do: folder =~ "dynamic"

  defp problems(folder) do
    expected = Mlx.IO.load(Path.join(folder, "expected.safetensors"))
    tokens = Mlx.to_list(expected["tokens"])
    {length, vocabulary} = expected["prompt"].shape
    model = Checkpoint.load(folder, form: :quantized)
    {prompt, steps} = one_by_one(model, expected["ids"], tokens)
    last = Mlx.slice(expected["prompt"], [length - 1, 0], [1, vocabulary])

    [
      prompt: distance(prompt, expected["prompt"]),
      steps: distance(steps, expected["steps"]),
      parts: if(depends_on_parts?(folder), do: 0, else: distance(in_parts(model, expected["ids"]), last)),
      tokens: if(compiled(model, expected["ids"], length(tokens)) == tokens, do: 0, else: 1)
    ]
    |> Enum.filter(fn {_what, distance} -> not (distance <= @tolerance) end)
  end

  test "models of mlx-lm's classes give the same here, in one go, in parts, step by step, compiled and quantized",
       %{tmp_dir: folder} do
    python([@script, folder])
    cases = Enum.sort(File.ls!(folder))
    assert length(cases) > 150

    wrong =
      cases
      |> Task.async_stream(&{&1, problems(Path.join(folder, &1))}, max_concurrency: 2, timeout: 300_000)
      |> Enum.flat_map(fn {:ok, {name, problems}} -> if problems == [], do: [], else: [{name, problems}] end)

    assert wrong == []
    assert Enum.flat_map(cases, &misread(Path.join(folder, &1))) == []

    # Each family is seen; those of pictures too are here by one that has all of them.
    types = for name <- cases, uniq: true, do: Checkpoint.config(Path.join(folder, name)).map["model_type"]
    modules = for type <- types, do: family(type)
    assert for(type <- Families.types(), family(type) not in modules, do: type) == []
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
