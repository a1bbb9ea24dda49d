defmodule Mlx.LM.GrammarGenerationTest do
  use ExUnit.Case, async: true

  alias Mlx.{GrammarTexts, RandomSchema, TinyLlama}
  alias Mlx.LM.Grammar

  @moduletag :tmp_dir
  @moduletag timeout: 1_800_000

  # Closing characters are likely enough that most texts end.
  @closing %{?" => 5.0, ?} => 4.0, ?] => 4.0}

  defp tiny(folder) do
    path = Path.join(folder, "tiny.gguf")
    TinyLlama.save(path, %{"llama.context_length" => 1500})
    Mlx.LM.load(path, type: :f32)
  end

  describe "a model of random weights" do
    setup %{tmp_dir: folder}, do: %{lm: tiny(folder)}

    test "writes nothing but texts of its grammar", %{lm: lm} do
      for {grammar, seed} <- Enum.with_index(List.duplicate(Grammar.regex("(ab|ba){2,4}(é|\\d+)?"), 20)) do
        response = Mlx.LM.generate(lm, "x", grammar: grammar, temperature: 1.5, seed: seed, max_tokens: 40)
        if response.finish_reason == :stop, do: assert(response.text =~ ~r/\A(ab|ba){2,4}(é|[0-9]+)?\z/u)
      end

      assert Mlx.LM.generate(lm, "x", grammar: Grammar.choices(["ab", "abab"])).text in ["ab", "abab"]
      compiled = Grammar.compile(Grammar.choices(["yes"]), lm)
      assert %{text: "yes", finish_reason: :stop, generated_tokens: 4} = Mlx.LM.generate(lm, "x", grammar: compiled)
    end

    test "ends where nothing may follow when no token ends the text", %{lm: lm} do
      response = Mlx.LM.generate(lm, "x", grammar: Grammar.choices(["yes", "no"]), ignore_eos: true)
      assert {response.text, response.finish_reason} in [{"yes", :stop}, {"no", :stop}]
      assert response.generated_tokens == byte_size(response.text)

      assert_raise ArgumentError, ~r/^Mlx.LM.generate: expected :grammar to have a text/, fn ->
        Mlx.LM.generate(lm, "x", grammar: Grammar.choices([""]), ignore_eos: true)
      end
    end

    test "takes the tokens of :stop_ids as the end", %{lm: lm} do
      response = Mlx.LM.generate(lm, "x", grammar: Grammar.regex("[ab]{3}"), stop_ids: [?z])

      assert {byte_size(response.text), response.finish_reason, response.generated_tokens} in [
               {3, :stop, 4},
               {3, :stop, 3}
             ]
    end

    test "gives the same tokens with a grammar of all texts as without", %{lm: lm} do
      grammar = Grammar.regex("(.|[\\n\\r\\u2028\\u2029])*")

      options = [
        temperature: 0.7,
        seed: 11,
        max_tokens: 12,
        logit_bias: Map.new(Enum.concat([0x80..0xFF, [257]]), &{&1, -1.0e9})
      ]

      plain = Mlx.LM.generate(lm, "ab", options)
      assert Mlx.LM.generate(lm, "ab", [grammar: grammar] ++ options).ids == plain.ids
    end

    test "gives log-probabilities of the tokens that may come, and streams", %{lm: lm} do
      response = Mlx.LM.generate(lm, "x", grammar: Grammar.choices(["q"]), logprobs: 1)
      assert [%{id: ?q, logprob: logprob}] = response.logprobs
      assert_in_delta logprob, 0.0, 1.0e-6
      assert lm |> Mlx.LM.stream("x", grammar: Grammar.choices(["q"])) |> Enum.join() == "q"
    end

    test "refuses what is no grammar", %{lm: lm} do
      assert_raise ArgumentError, ~r/^Mlx.LM.generate: expected :grammar to be a Mlx.LM.Grammar/, fn ->
        Mlx.LM.generate(lm, "x", grammar: %{})
      end
    end

    test "is sampled with penalties and filters behind the mask", %{lm: lm} do
      options =
        [temperature: 1.2, top_p: 0.9, top_k: 5, min_p: 0.1, min_tokens_to_keep: 3, repetition_penalty: 1.3] ++
          [presence_penalty: 2.0, frequency_penalty: 1.0, xtc_probability: 0.5, logit_bias: %{?x => 100.0}]

      for seed <- 1..10 do
        response = Mlx.LM.generate(lm, "x", [grammar: Grammar.regex("[a-e]{10}"), seed: seed] ++ options)
        assert response.text =~ ~r/\A[a-e]{10}\z/
      end
    end

    @tag :oracle
    test "writes JSON of 500 schemas that are drawn at random, and of those that people write", %{
      lm: lm,
      tmp_dir: folder
    } do
      results =
        for {schema, seed} <- Enum.with_index(Enum.map(1..500, &RandomSchema.numbered/1) ++ GrammarTexts.written()) do
          grammar = Grammar.json_schema(schema, whitespace: if(rem(seed, 2) == 0, do: :none, else: :some))
          options = [temperature: 1.0 + rem(seed, 3) / 2, seed: seed, max_tokens: 150, logit_bias: @closing]
          response = Mlx.LM.generate(lm, "x", [grammar: grammar] ++ options)
          {response.finish_reason, %{schema: JSON.decode!(schema), texts: [response.text]}}
        end

      complete = for {:stop, one} <- results, do: one
      assert length(complete) > 300
      assert GrammarTexts.problems(complete, folder) == []
    end
  end

  describe "tokens drawn from a real vocabulary" do
    @describetag :model

    setup do
      %{tokenizer: Mlx.LM.load(System.fetch_env!("MLX_TEST_MODEL")).tokenizer}
    end

    @tag :oracle
    test "make JSON of schemas", %{tokenizer: tokenizer, tmp_dir: folder} do
      drawn = Enum.map(501..540, &RandomSchema.numbered/1)

      cases =
        for schema <- drawn ++ Enum.take_every(GrammarTexts.written(), 4) do
          compiled = Grammar.compile(Grammar.json_schema(schema), tokenizer)

          %{
            schema: JSON.decode!(schema),
            texts: for({:done, text} <- for(_ <- 1..2, do: GrammarTexts.draw(compiled, 30)), do: text)
          }
        end

      assert Enum.sum_by(cases, &length(&1.texts)) > 80
      assert GrammarTexts.problems(cases, folder) == []
    end

    @tag :oracle
    test "make matches of regular expressions", %{tokenizer: tokenizer, tmp_dir: folder} do
      sources = [
        "\\d{3}-\\d{4}",
        "[A-Z][a-z]+( [A-Z][a-z]+)*",
        "(?:\\+\\d{1,3} )?\\(?\\d{3}\\)? \\d{4,}",
        "[^\\s\\d]{2,8}",
        "\\S+@\\S+\\.[a-z]{2,3}",
        "(a|b)*abb",
        "(?P<year>\\d{4})(?:-(?:0[1-9]|1[0-2]))?",
        "[\\w.+-]+\\W",
        "\\D{3}\\W[^a-z]",
        "x{0,3}?y+?z{2}",
        "[\\u00e0-\\u00ff\\x41]*[😀-😎]",
        "^(?:yes|no)$|^maybe\\.$",
        "\\[\\d+(, \\d+)*\\]",
        ".{5}\\t?\\n",
        "",
        "(()|a)+"
      ]

      cases =
        for source <- sources do
          compiled = Grammar.compile(Grammar.regex(source), tokenizer)
          %{regex: source, texts: for({:done, text} <- for(_ <- 1..8, do: GrammarTexts.draw(compiled, 12)), do: text)}
        end

      assert Enum.sum_by(cases, &length(&1.texts)) > 110
      assert GrammarTexts.problems(cases, folder) == []
    end

    @tag :oracle
    test "a real model writes JSON of schemas that people write", %{tmp_dir: folder} do
      lm = Mlx.LM.load(System.fetch_env!("MLX_TEST_MODEL"))

      results =
        for {schema, seed} <- GrammarTexts.written() |> Enum.take_every(8) |> Enum.with_index() do
          prompt = [%{role: "user", content: "Write an example of #{JSON.decode!(schema)["title"]} as JSON."}]
          options = [grammar: Grammar.json_schema(schema), temperature: rem(seed, 3) * 0.8, seed: seed, max_tokens: 120]
          response = Mlx.LM.generate(lm, prompt, options)
          {response.finish_reason, %{schema: JSON.decode!(schema), texts: [response.text]}}
        end

      complete = for {:stop, one} <- results, do: one
      assert length(complete) > 5
      assert GrammarTexts.problems(complete, folder) == []
    end
  end
end
