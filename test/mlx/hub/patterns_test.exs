defmodule Mlx.Hub.PatternsTest do
  use ExUnit.Case, async: true

  alias Mlx.Hub.Patterns

  # pattern, what it fits, what it does not: the answers of Python's fnmatch.fnmatchcase
  @cases [
    {"*.json", ["a.json", ".json", "a/b.json"], ["a.jsonl", "ajson", "A.JSON"]},
    {"model*.safetensors", ["model.safetensors", "model-00001-of-2.safetensors", "model/x.safetensors"],
     ["a/model.safetensors"]},
    {"?.txt", ["a.txt", "/.txt", "ä.txt"], [".txt", "ab.txt"]},
    {"[ab]c", ["ac", "bc"], ["cc", "[ab]c"]},
    {"[!ab]c", ["cc", "!c"], ["ac", "bc"]},
    {"[a-c0]", ["a", "b", "c", "0"], ["d", "-"]},
    {"[]x]", ["]", "x"], ["[", ""]},
    {"[x", ["[x"], ["x"]},
    {"[!]", ["[!]"], ["a"]},
    {"a**b", ["ab", "axxb"], ["a", "b"]},
    {"*", ["", "a", "a/b"], []},
    {"", [""], ["a"]},
    {"a.b", ["a.b"], ["axb"]},
    {"*a*b*c", ["abc", "xaxbxc", "aabbcc"], ["acb", "abcd"]}
  ]

  test "fit what Python's fit" do
    for {pattern, fitting, others} <- @cases do
      for path <- fitting, do: assert(Patterns.fits?(path, pattern), "#{pattern} should fit #{path}")
      for path <- others, do: refute(Patterns.fits?(path, pattern), "#{pattern} should not fit #{path}")
    end

    assert Patterns.fits?("onnx/a/b", "onnx/")
  end

  test "with many stars take no long time" do
    refute Patterns.fits?(String.duplicate("a", 900), String.duplicate("*a", 400) <> "b")
  end

  test "of a language model leave out what other programs need" do
    wanted =
      ~w(config.json merges.txt tokenizer.model a.tiktoken chat_template.jinja model-1.safetensors 1_Pooling/config.json) ++
        ["2_Dense/model.safetensors"]

    others =
      ~w(README.md pytorch_model.bin original/params.json onnx/model.onnx onnx/config.json consolidated.safetensors a.gguf x.py)

    assert Patterns.select(wanted ++ others, nil, nil) == {:ok, wanted}

    assert Patterns.select(["consolidated.safetensors", "params.json"], nil, nil) ==
             {:ok, ["consolidated.safetensors", "params.json"]}

    assert Patterns.select(["a.gguf", "config.json"], nil, nil) == {:ok, ["a.gguf", "config.json"]}
    assert Patterns.select(["a.gguf", "b.gguf"], nil, ["b*"]) == {:ok, ["a.gguf"]}
    assert Patterns.select(["a.gguf", "b.gguf"], nil, nil) == {:choose, ["a.gguf", "b.gguf"]}
  end
end
