defmodule Mlx.WrongArgumentsTest do
  # Every public function is called with terms of a kind that it does not take: whatever is added to the library is, too.
  use ExUnit.Case, async: true

  alias Mlx.{ExampleArgument, PublicFunctions, TinyEncoder, TinyLlama}
  alias Mlx.Arguments.ArgumentType

  @wrong [:an_atom, nil, 1.5, "text", %{}, {:a, 1}, [:a | :b], self()]

  # The layers of language models and what templates and tokenizers are made of are called by these alone.
  @parts ~r/^Mix\.|^Mlx\.LM\.(?!(ChatTemplate|Embedder|Encoder|Generation|Ranker|Sampler|StopStrings|Tokenizer|Tokenizer\.StreamDecoder)$)/

  # What is no tensor is told of by Nx.
  @tensors ~r/^Mlx\.Nx\./

  # Each option is a variable of the template.
  @any_options [{Mlx.LM.ChatTemplate, :render}]

  # A training that writes nothing to the terminal.
  @quiet [progress: nil]

  @moduletag :tmp_dir

  setup %{tmp_dir: folder} do
    path = Path.join(folder, "tiny.gguf")
    TinyLlama.save(path)
    lm = Mlx.LM.load(path)
    array = ExampleArgument.array()
    embedder_folder = TinyEncoder.save(Path.join(folder, "embedder"))
    embedder = Mlx.LM.Embedder.load(embedder_folder, tokenizer: &TinyEncoder.encode/1)
    ranker_folder = TinyEncoder.save(Path.join(folder, "ranker"), %{"num_labels" => 1})
    ranker = Mlx.LM.Ranker.load(ranker_folder, tokenizer: &TinyEncoder.encode/1)
    ids = Mlx.array([[1, 2]])

    %{
      examples: %{
        # function, arguments where those of its types do not belong together
        {Mlx, :arange, 4} => [0, 4, 1, []],
        {Mlx.LM, :load, 2} => [path, []],
        {Mlx.LM.Embedder, :embed, 3} => [embedder, ["text"], []],
        {Mlx.LM.Embedder, :embed_ids, 3} => [embedder, [[1, 2]], []],
        {Mlx.LM.Embedder, :load, 2} => [embedder_folder, []],
        {Mlx.LM.Encoder, :call, 2} => [embedder.encoder, ids],
        {Mlx.LM.Encoder, :call, 3} => [embedder.encoder, ids, Mlx.array([2])],
        {Mlx.LM.Encoder, :call, 4} => [embedder.encoder, ids, Mlx.array([2]), Mlx.array([[0, 0]])],
        {Mlx.LM.Encoder, :new, 1} => [TinyEncoder.config()],
        {Mlx.LM.Ranker, :load, 2} => [ranker_folder, []],
        {Mlx.LM.Ranker, :rank, 4} => [ranker, "text", ["text"], []],
        {Mlx.LM.Ranker, :score_ids, 3} => [ranker, [{[1, 2], nil}], []],
        {Mlx.LM.Ranker, :scores, 3} => [ranker, [{"a", "b"}], []],
        {Mlx.NN, :forward, 2} => [array, Mlx.NN.Identity.new()],
        {Mlx.Optimizers, :init, 2} => [Mlx.Optimizers.SGD.new(0.1), array],
        {Mlx.Optimizers, :update, 4} => sgd(array),
        {Mlx.Optimizers.MultiOptimizer, :new, 2} => [[Mlx.Optimizers.SGD.new(0.1)], []],
        {Mlx.Training, :evaluate, 3} => [array, [zero: fn _model, _batch -> Mlx.array(0.0) end], [array]],
        {Mlx.Training, :run, 5} => [array, fn model, x -> Mlx.sum(Mlx.multiply(model, x)) end, sgd(), [array], @quiet],
        {Mlx.Tree, :map, 4} => [array, [], &Mlx.exp/1, []],
        {Mlx.Tree, :map_with_path, 4} => [array, [], fn _path, leaf -> leaf end, []],
        # structs that functions make of files and texts
        Mlx.LM => lm,
        Mlx.LM.Embedder => embedder,
        Mlx.LM.Encoder => embedder.encoder,
        Mlx.LM.Grammar => Mlx.LM.Grammar.choices(["a"]),
        Mlx.LM.Grammar.Compiled => Mlx.LM.Grammar.compile(Mlx.LM.Grammar.choices(["a"]), lm),
        Mlx.LM.Grammar.State => Mlx.LM.Grammar.start(Mlx.LM.Grammar.compile(Mlx.LM.Grammar.choices(["a"]), lm)),
        Mlx.LM.Ranker => ranker,
        Mlx.LM.ChatTemplate => Mlx.LM.ChatTemplate.compile("text"),
        Mlx.LM.Sampler => Mlx.LM.Sampler.new(),
        Mlx.LM.StopStrings => Mlx.LM.StopStrings.new(["end"]),
        Mlx.LM.Tokenizer => lm.tokenizer,
        Mlx.LM.Tokenizer.StreamDecoder => Mlx.LM.Tokenizer.StreamDecoder.new(lm.tokenizer),
        Mlx.NN.Sequential => Mlx.NN.Sequential.new([]),
        Mlx.Training => Mlx.Training.run(array, fn model, _batch -> Mlx.sum(model) end, sgd(), [array], @quiet)
      }
    }
  end

  test "a term that is not of the type of an argument raises an error with the function's name", %{examples: examples} do
    for {module, name, types} <- functions(),
        not (inspect(module) =~ @tensors),
        {type, place} <- Enum.with_index(types),
        wrong <- @wrong,
        wrong?(wrong, type) do
      arguments = examples |> arguments(module, name, types) |> List.replace_at(place, wrong)
      outcome = outcome(module, name, arguments)
      known? = ArgumentType.words(type) != nil

      assert told?(outcome, module, name) or (outcome == :returned and not known?),
             said(module, name, arguments, outcome)
    end
  end

  test "an option that a function does not have raises an error with the function's name", %{examples: examples} do
    for {module, name, types} <- functions(),
        Macro.to_string(List.last(types)) == "keyword()",
        {module, name} not in @any_options do
      arguments = examples |> arguments(module, name, types) |> List.replace_at(-1, not_an_option: 1)
      outcome = outcome(module, name, arguments)
      assert told?(outcome, module, name), said(module, name, arguments, outcome)
      {_error, message} = outcome
      assert message =~ "not_an_option", said(module, name, arguments, outcome)
    end
  end

  defp sgd(array) do
    optimizer = sgd()
    [optimizer, array, array, Mlx.Optimizers.init(optimizer, array)]
  end

  defp sgd, do: Mlx.Optimizers.SGD.new(0.1)

  defp functions do
    for {module, functions} <- PublicFunctions.all(),
        not (inspect(module) =~ @parts),
        argument_types = PublicFunctions.argument_types(module),
        {name, arity, _doc} <- functions,
        arity > 0,
        do: {module, name, argument_types[{name, arity}]}
  end

  # Of a type that is not known it may be the right term.
  defp wrong?(term, type) do
    cond do
      is_number(term) and ArgumentType.of_arrays?(type) -> false
      ArgumentType.words(type) == nil -> true
      true -> not ArgumentType.may_be?(term, type)
    end
  end

  defp arguments(examples, module, name, types) do
    examples[{module, name, length(types)}] || Enum.map(types, &example(examples, &1, module))
  end

  defp example(examples, type, module) do
    case ExampleArgument.of(type, module) do
      %struct{} = argument -> Map.get(examples, struct, argument)
      argument -> argument
    end
  end

  defp outcome(module, name, arguments) do
    apply(module, name, arguments)
    :returned
  rescue
    error -> {error.__struct__, Exception.message(error)}
  end

  defp told?({error, message}, module, name) when error in [ArgumentError, Mlx.Error] do
    String.starts_with?(message, "#{inspect(module)}.#{name}: ")
  end

  defp told?(_outcome, _module, _name), do: false

  defp said(module, name, arguments, outcome) do
    "#{inspect(module)}.#{name} of #{Enum.map_join(arguments, ", ", &Mlx.Arguments.Given.text/1)}: #{inspect(outcome)}"
  end
end
