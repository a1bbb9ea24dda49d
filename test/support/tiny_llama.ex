defmodule Mlx.TinyLlama do
  @moduledoc """
  A Llama model with random weights, small enough to be made for each test. Its vocabulary is the 256 bytes, `"ab"`, and
  the control tokens `<|im_start|>` and `<|im_end|>`.
  """

  alias Mlx.LM.Tokenizer.ByteAlphabet

  @layers 2
  @width 64
  @heads 4
  @key_value_heads 2
  @head_size 16
  @hidden 96
  @context_length 600

  @template "{% for message in messages %}{{ message['role'] + ':' + message['content'] + '<|im_end|>' }}{% endfor %}" <>
              "{% if add_generation_prompt %}{{ '<|im_start|>' }}{% endif %}"

  @doc "The metadata of its GGUF file, with `changes`."
  def metadata(changes \\ %{}) do
    tokens = Enum.map(0..255, &ByteAlphabet.character/1) ++ ["ab", "<|im_start|>", "<|im_end|>"]

    Map.merge(
      %{
        "general.architecture" => "llama",
        "general.name" => "tiny",
        "llama.block_count" => @layers,
        "llama.embedding_length" => @width,
        "llama.feed_forward_length" => @hidden,
        "llama.attention.head_count" => @heads,
        "llama.attention.head_count_kv" => @key_value_heads,
        "llama.attention.layer_norm_rms_epsilon" => 1.0e-5,
        "llama.context_length" => @context_length,
        "llama.rope.freq_base" => 10_000.0,
        "tokenizer.chat_template" => @template,
        "tokenizer.ggml.model" => "gpt2",
        "tokenizer.ggml.pre" => "smollm",
        "tokenizer.ggml.tokens" => tokens,
        "tokenizer.ggml.token_type" => Mlx.array(List.duplicate(1, 257) ++ [3, 3], type: :s32),
        "tokenizer.ggml.merges" => ["a b"],
        "tokenizer.ggml.eos_token_id" => 258
      },
      changes
    )
  end

  @doc "Its weights by the names that they have in a GGUF file."
  def tensors do
    blocks = for block <- 0..(@layers - 1), {name, shape} <- block(), do: {"blk.#{block}.#{name}.weight", shape}
    shapes = [{"token_embd.weight", {259, @width}}, {"output_norm.weight", {@width}} | blocks]

    for {{name, shape}, seed} <- Enum.with_index(shapes), into: %{} do
      {name, Mlx.Random.normal(shape, scale: 0.3, key: Mlx.Random.key(seed))}
    end
  end

  @doc "The same weights with all matrices quantized, as a GGUF file with quantized tensors is loaded."
  def quantized_tensors do
    Enum.reduce(tensors(), %{}, fn {name, array}, tensors ->
      if tuple_size(array.shape) == 2,
        do: Map.merge(tensors, quantize(name, array)),
        else: Map.put(tensors, name, array)
    end)
  end

  @doc "Writes it to a GGUF file."
  def save(path, changes \\ %{}), do: Mlx.IO.save(path, tensors(), format: :gguf, metadata: metadata(changes))

  defp block do
    [
      {"attn_norm", {@width}},
      {"attn_q", {@heads * @head_size, @width}},
      {"attn_k", {@key_value_heads * @head_size, @width}},
      {"attn_v", {@key_value_heads * @head_size, @width}},
      {"attn_output", {@width, @heads * @head_size}},
      {"ffn_norm", {@width}},
      {"ffn_gate", {@hidden, @width}},
      {"ffn_up", {@hidden, @width}},
      {"ffn_down", {@width, @hidden}}
    ]
  end

  defp quantize(name, array) do
    {packed, scales, biases} = Mlx.quantize(array, group_size: 32, bits: 8)
    base = String.replace_suffix(name, ".weight", "")
    %{"#{base}.weight" => packed, "#{base}.scales" => scales, "#{base}.biases" => biases}
  end
end
