defmodule Mlx.Test.RandomModel do
  @moduledoc false
  # Small models of the words t0, t1, ... with random weights, of the kinds of caches that there are.

  alias Mlx.LM.{Decoder, Decoding, Families, Sampler, Tokenizer}
  alias Mlx.LM.Families.Fields
  alias Mlx.LM.Sampler.Distribution

  @words 12

  @doc "How many words the models know."
  @spec words() :: pos_integer()
  def words, do: @words

  # A Llama of the words t0, t1, ... with random weights.
  @llama %{
    "model_type" => "llama",
    "hidden_size" => 32,
    "num_hidden_layers" => 2,
    "intermediate_size" => 48,
    "num_attention_heads" => 2,
    "num_key_value_heads" => 1,
    "rms_norm_eps" => 1.0e-5,
    "vocab_size" => @words,
    "max_position_embeddings" => 4096,
    "tie_word_embeddings" => false
  }

  @windowed Map.merge(@llama, %{
              "model_type" => "gemma3_text",
              "head_dim" => 16,
              "sliding_window" => 8,
              "sliding_window_pattern" => 2,
              "num_hidden_layers" => 2,
              "query_pre_attn_scalar" => 16
            })

  @recurrent %{
    "model_type" => "mamba2",
    "vocab_size" => @words,
    "hidden_size" => 32,
    "num_hidden_layers" => 2,
    "state_size" => 16,
    "conv_kernel" => 4,
    "expand" => 2,
    "head_dim" => 16,
    "num_heads" => 4,
    "n_groups" => 1,
    "time_step_limit" => [0.0, 10.0],
    "layer_norm_epsilon" => 1.0e-5,
    "use_bias" => false,
    "use_conv_bias" => true,
    "tie_word_embeddings" => true
  }

  @doc "A Llama, whose caches have all positions."
  @spec llama() :: map()
  def llama, do: @llama

  @doc "A model with sliding windows."
  @spec windowed() :: map()
  def windowed, do: @windowed

  @doc "A recurrent model."
  @spec recurrent() :: map()
  def recurrent, do: @recurrent

  @doc "A tokenizer of these words."
  @spec tokenizer([String.t()]) :: Tokenizer.t()
  def tokenizer(words \\ for(n <- 0..(@words - 1), do: "t#{n}")) do
    vocabulary = words |> Enum.with_index() |> Map.new()

    %{
      "model" => %{"type" => "WordLevel", "vocab" => vocabulary, "unk_token" => hd(words)},
      "pre_tokenizer" => %{"type" => "WhitespaceSplit"}
    }
    |> JSON.encode!()
    |> Tokenizer.from_json()
  end

  @doc """
  The model of a configuration with random weights. With `memoryless: true` the next token depends on the one before it, and on
  no other.
  """
  @spec lm(map(), non_neg_integer(), keyword()) :: Mlx.LM.t()
  def lm(config, seed, options \\ []) do
    {family, fields} = Families.find(Fields.new(config))
    decoder = Decoder.new(family.config(fields))
    scale = options[:scale] || 0.4

    random = fn path, array, count ->
      key = Mlx.Random.key(seed * 1000 + count)
      random = Mlx.Random.normal(array.shape, scale: scale, key: key)
      # Without what attention gives, a token depends on the one before it, and on no other.
      zero? = options[:memoryless] && path =~ "o_proj"
      {if(zero?, do: Mlx.zeros(array.shape), else: random), count + 1}
    end

    flat = decoder |> Map.take([:model, :lm_head]) |> Mlx.Tree.flatten()
    {arrays, _count} = Enum.map_reduce(flat, 0, fn {path, array}, count -> random.(path, array, count) end)
    {decoder, []} = Mlx.Tree.map_reduce(decoder, arrays, fn _array, [array | rest] -> {array, rest} end)

    %Mlx.LM{
      name: "tiny #{seed}",
      model: decoder,
      decode: Decoding.compile(decoder),
      tokenizer: tokenizer(),
      template: nil
    }
  end

  @doc "Another model that is often of the same opinion, the less so the greater `scale` is."
  @spec near(Mlx.LM.t(), non_neg_integer(), float()) :: Mlx.LM.t()
  def near(%Mlx.LM{model: model} = lm, seed, scale) do
    {model, _count} =
      Mlx.Tree.map_reduce(model, 0, fn array, count ->
        noise = Mlx.Random.normal(array.shape, scale: scale, key: Mlx.Random.key(seed * 1000 + count))
        {Mlx.multiply(array, Mlx.add(noise, 1)), count + 1}
      end)

    %{lm | name: "near", model: model, decode: Decoding.compile(model)}
  end

  @doc "The probabilities of the next token after each token, of a model without memory."
  @spec transitions(Mlx.LM.t(), keyword()) :: [[float()]]
  def transitions(lm, options) do
    for id <- 0..(@words - 1) do
      {logits, _caches} = Decoder.call(lm.model, Mlx.array([[id]]), Decoder.caches(lm.model))
      {_row, p} = Distribution.of(Sampler.new(options), logits, Mlx.Random.key(0))
      p |> Mlx.to_list() |> hd()
    end
  end
end
