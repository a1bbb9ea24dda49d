for file <- ["rounds.exs", "table.exs", "llama_shapes.exs"], do: Code.require_file(file, __DIR__)

defmodule Bench.Llama do
  @moduledoc false
  # llama.py makes the same models of mlx-lm's classes. Quantized matrices have 4 bits and groups of 32.

  alias Bench.{LlamaShapes, Rounds, Table}
  alias Mlx.LM.{Decoding, GGUFModel, Tokenizer}
  alias Mlx.LM.Tokenizer.ByteAlphabet

  @rounds 4
  @prompts [short: 512, long: 2048]
  @tokens 128
  @group_size 32
  @rope_base 500_000.0
  @norm_eps 1.0e-5

  @sizes %{
    "tiny" => [layers: 4, width: 256, heads: 4, key_value_heads: 2, head: 64, hidden: 512, vocabulary: 1024, tied: 1],
    "135m" => [layers: 30, width: 576, heads: 9, key_value_heads: 3, head: 64, hidden: 1536, vocabulary: 49152, tied: 1],
    "1b" => [
      layers: 16,
      width: 2048,
      heads: 32,
      key_value_heads: 8,
      head: 64,
      hidden: 8192,
      vocabulary: 128_256,
      tied: 1
    ],
    "8b" => [
      layers: 32,
      width: 4096,
      heads: 32,
      key_value_heads: 8,
      head: 128,
      hidden: 14336,
      vocabulary: 128_256,
      tied: 0
    ]
  }

  def run([]), do: run(["tiny:bf16", "tiny:4bit"])

  def run(models) do
    Table.header("tokens per second, best of #{@rounds - 1} rounds", "Mlx", "mlx-lm")
    worst = models |> Enum.map(&model/1) |> Enum.min()
    IO.puts("llama ratio: #{Table.format(worst)}")
  end

  defp model(name) do
    [size, form] = String.split(name, ":")
    sizes = Map.fetch!(@sizes, size)
    lm = random(sizes, form)
    limits = [@prompts[:short], @prompts[:long], @tokens]
    arguments = Enum.map(limits ++ [form | Keyword.values(sizes)], &to_string/1)

    # The first round makes kernels.
    [_first | rounds] = Rounds.alternate("llama.py", arguments, @rounds, fn -> measure(lm, sizes[:vocabulary]) end)
    {ours, theirs} = Enum.unzip(rounds)
    [ours, theirs] = for side <- [ours, theirs], do: Enum.zip_with(side, &Enum.max/1)
    rows = for row <- ["read #{@prompts[:short]}", "read #{@prompts[:long]}", "write"], do: "#{name}: #{row}"
    Table.print(rows, ours, theirs)
    Enum.min(Enum.zip_with(ours, theirs, &(&1 / &2)))
  end

  defp measure(lm, vocabulary) do
    [short, long] = for {_name, length} <- @prompts, do: Enum.map(1..length, &rem(&1 * 7919, vocabulary - 1))
    written = Mlx.LM.generate(lm, short, max_tokens: @tokens)
    read = Mlx.LM.generate(lm, long, max_tokens: 1)

    [
      written.prompt_tokens_per_second,
      read.prompt_tokens_per_second,
      written.generation_tokens_per_second
    ]
  end

  defp random(sizes, form) do
    metadata = metadata(sizes)
    type = if Mlx.Device.default() == :cpu, do: :f32, else: :bf16
    tensors = tensors(sizes, form)
    model = GGUFModel.new(tensors, metadata, "random", type: type, quantization: quantization(tensors))
    tokenizer = %{Tokenizer.from_gguf(metadata) | end_ids: MapSet.new()}
    %Mlx.LM{name: "random", model: model, decode: Decoding.compile(model), tokenizer: tokenizer, template: nil}
  end

  # What Mlx.IO.load/2 tells of a file.
  defp quantization(tensors) do
    for {name, _scales} <- tensors, matrix = suffix(name), into: %{} do
      {matrix, [group_size: @group_size, bits: 4, mode: :affine]}
    end
  end

  defp suffix(name), do: if(String.ends_with?(name, ".scales"), do: String.replace_suffix(name, ".scales", ".weight"))

  defp tensors(sizes, form) do
    output = if sizes[:tied] == 1, do: [], else: [{"output", {sizes[:vocabulary], sizes[:width]}}]
    shapes = LlamaShapes.of(sizes) ++ output
    shapes |> Enum.flat_map(&tensor(&1, form)) |> Map.new()
  end

  defp tensor({name, {width}}, _form), do: [{"#{name}.weight", Mlx.ones({width}, type: :bf16)}]

  defp tensor({name, shape}, form) do
    matrix = shape |> Mlx.Random.normal() |> Mlx.multiply(0.02) |> Mlx.as_type(:bf16) |> Mlx.eval()
    parts(name, matrix, form)
  end

  defp parts(name, matrix, "bf16"), do: [{"#{name}.weight", matrix}]

  defp parts(name, matrix, "4bit") do
    {weights, scales, biases} = Mlx.eval(Mlx.quantize(matrix, group_size: @group_size, bits: 4))
    [{"#{name}.weight", weights}, {"#{name}.scales", scales}, {"#{name}.biases", biases}]
  end

  defp metadata(sizes) do
    bytes = Enum.map(0..255, &ByteAlphabet.character/1)
    fillers = for id <- 257..(sizes[:vocabulary] - 2), do: "token#{id}"

    %{
      "general.architecture" => "llama",
      "llama.block_count" => sizes[:layers],
      "llama.embedding_length" => sizes[:width],
      "llama.feed_forward_length" => sizes[:hidden],
      "llama.attention.head_count" => sizes[:heads],
      "llama.attention.head_count_kv" => sizes[:key_value_heads],
      "llama.attention.key_length" => sizes[:head],
      "llama.attention.layer_norm_rms_epsilon" => @norm_eps,
      "llama.context_length" => 8192,
      "llama.rope.freq_base" => @rope_base,
      "tokenizer.ggml.model" => "gpt2",
      "tokenizer.ggml.pre" => "smollm",
      "tokenizer.ggml.tokens" => bytes ++ ["ab" | fillers] ++ ["<|im_end|>"],
      "tokenizer.ggml.token_type" => List.duplicate(1, sizes[:vocabulary] - 1) ++ [3],
      "tokenizer.ggml.merges" => ["a b"],
      "tokenizer.ggml.eos_token_id" => sizes[:vocabulary] - 1
    }
  end
end

Bench.Llama.run(System.argv())
