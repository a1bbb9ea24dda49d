defmodule Mlx.NxConformance.Models do
  @moduledoc """
  Models of Bumblebee, each small and with random parameters, as a table: its architecture, what its configuration has beside
  `small/0`, and its inputs.
  """

  alias Nx.BinaryBackend

  # What configurations have in common, as far as they have it.
  @small [
    vocab_size: 40,
    max_positions: 24,
    hidden_size: 16,
    num_blocks: 2,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    attention_head_size: 8,
    intermediate_size: 24,
    attention_window_size: 3,
    local_attention_window: 4,
    embedding_size: 8,
    projection_size: 8,
    image_size: 16,
    patch_size: 8,
    encoder_num_blocks: 2,
    decoder_num_blocks: 2,
    encoder_num_attention_heads: 2,
    decoder_num_attention_heads: 2,
    encoder_intermediate_size: 24,
    decoder_intermediate_size: 24,
    encoder_max_positions: 8,
    decoder_max_positions: 16,
    feature_size: 8,
    group_norm_num_groups: 2
  ]

  @text %{"input_ids" => {:tokens, {2, 6}}, "attention_mask" => {:mask, {2, 6}}}
  @translation Map.merge(@text, %{"decoder_input_ids" => {:tokens, {2, 4}}, "decoder_attention_mask" => {:mask, {2, 4}}})
  @image %{"pixel_values" => {:numbers, {2, 16, 16, 3}}}
  @speech %{"input_features" => {:numbers, {2, 16, 8}}, "decoder_input_ids" => {:tokens, {2, 4}}}
  @noise %{
    "sample" => {:numbers, {1, 4, 4, 4}},
    "timestep" => {:number, 7},
    "encoder_hidden_state" => {:numbers, {1, 3, 8}}
  }

  @diffusion [
    sample_size: 4,
    cross_attention_size: 8,
    hidden_sizes: [32, 32],
    depth: 1,
    down_block_types: [:cross_attention_down_block, :down_block],
    up_block_types: [:up_block, :cross_attention_up_block]
  ]

  @models [
    {Bumblebee.Text.Albert, :for_masked_language_modeling, [], @text},
    {Bumblebee.Text.Bart, :for_conditional_generation, [], @translation},
    {Bumblebee.Text.Bert, :for_masked_language_modeling, [], @text},
    {Bumblebee.Text.Bert, :for_question_answering, [], @text},
    {Bumblebee.Text.Blenderbot, :for_conditional_generation, [], @translation},
    {Bumblebee.Text.ClipText, :for_embedding, [], @text},
    {Bumblebee.Text.Distilbert, :for_token_classification, [], @text},
    {Bumblebee.Text.Gemma, :for_causal_language_modeling, [activation: :gelu], @text},
    {Bumblebee.Text.Gemma3Text, :for_causal_language_modeling, [], @text},
    {Bumblebee.Text.Gpt2, :for_causal_language_modeling, [], @text},
    {Bumblebee.Text.GptBigCode, :for_causal_language_modeling, [], @text},
    {Bumblebee.Text.GptNeoX, :for_causal_language_modeling, [], @text},
    {Bumblebee.Text.Llama, :for_causal_language_modeling, [], @text},
    {Bumblebee.Text.Llama, :for_sequence_classification, [], @text},
    {Bumblebee.Text.M2m100, :for_conditional_generation, [], @translation},
    {Bumblebee.Text.Mbart, :for_conditional_generation, [], @translation},
    {Bumblebee.Text.Mistral, :for_causal_language_modeling, [], @text},
    {Bumblebee.Text.ModernBert, :for_masked_language_modeling, [], @text},
    {Bumblebee.Text.ModernBertDecoder, :for_causal_language_modeling, [], @text},
    {Bumblebee.Text.MpNet, :for_masked_language_modeling, [], @text},
    {Bumblebee.Text.NomicBert, :base, [], @text},
    {Bumblebee.Text.Phi, :for_causal_language_modeling, [activation: :silu], @text},
    {Bumblebee.Text.Phi3, :for_causal_language_modeling, [activation: :silu], @text},
    {Bumblebee.Text.Qwen3, :for_causal_language_modeling, [], @text},
    {Bumblebee.Text.Roberta, :for_masked_language_modeling, [], @text},
    {Bumblebee.Text.SmolLm3, :for_causal_language_modeling, [], @text},
    {Bumblebee.Text.T5, :for_conditional_generation, [initializer_scale: 0.1], @translation},
    {Bumblebee.Audio.Whisper, :for_conditional_generation, [], @speech},
    {Bumblebee.Vision.BlipVision, :base, [], @image},
    {Bumblebee.Vision.ClipVision, :for_embedding, [], @image},
    {Bumblebee.Vision.ConvNext, :for_image_classification, [hidden_sizes: [4, 8], depths: [1, 2], patch_size: 4],
     @image},
    {Bumblebee.Vision.Deit, :for_image_classification, [], @image},
    {Bumblebee.Vision.DinoV2, :for_image_classification, [], @image},
    {Bumblebee.Vision.ResNet, :for_image_classification, [hidden_sizes: [8, 16], depths: [1, 2]], @image},
    {Bumblebee.Vision.Swin, :for_image_classification,
     [num_attention_heads: [2, 4], num_blocks: [2, 2], patch_size: 2, window_size: 4], @image},
    {Bumblebee.Vision.Vit, :for_image_classification, [], @image},
    {Bumblebee.Multimodal.Blip, :for_conditional_generation,
     [
       vision_spec: {Bumblebee.Vision.BlipVision, :base},
       text_spec: {Bumblebee.Text.BlipText, :for_causal_language_modeling}
     ], Map.merge(@image, %{"decoder_input_ids" => {:tokens, {2, 4}}})},
    {Bumblebee.Multimodal.Clip, :base,
     [vision_spec: {Bumblebee.Vision.ClipVision, :base}, text_spec: {Bumblebee.Text.ClipText, :base}],
     Map.merge(@image, @text)},
    {Bumblebee.Multimodal.LayoutLm, :for_token_classification, [], @text},
    {Bumblebee.Diffusion.ControlNet, :base, [conditioning_embedding_hidden_sizes: [2, 4]] ++ @diffusion,
     Map.merge(@noise, %{"conditioning" => {:numbers, {1, 8, 8, 3}}, "conditioning_scale" => {:number, 0.5}})},
    {Bumblebee.Diffusion.UNet2DConditional, :base, @diffusion, @noise},
    {Bumblebee.Diffusion.VaeKl, :base, [hidden_sizes: [32], sample_size: 4], %{"sample" => {:numbers, {1, 4, 4, 3}}}}
  ]

  # The inputs that tokens are generated for.
  @generating [
    {Bumblebee.Text.Gpt2, :for_causal_language_modeling, [], @text},
    {Bumblebee.Text.Llama, :for_causal_language_modeling, [], @text},
    {Bumblebee.Text.Qwen3, :for_causal_language_modeling, [], @text},
    {Bumblebee.Text.Gemma3Text, :for_causal_language_modeling, [], @text},
    {Bumblebee.Text.Bart, :for_conditional_generation, [], @text},
    {Bumblebee.Text.T5, :for_conditional_generation, [initializer_scale: 0.1], @text}
  ]

  # Kernels are packed in groups of 32.
  @wide [hidden_size: 64, intermediate_size: 64]

  @quantized [
    {Bumblebee.Text.Bert, :for_masked_language_modeling, @wide, @text},
    {Bumblebee.Text.Gpt2, :for_causal_language_modeling, @wide, @text},
    {Bumblebee.Text.Llama, :for_causal_language_modeling, [attention_head_size: 32] ++ @wide, @text},
    {Bumblebee.Text.Qwen3, :for_causal_language_modeling, [attention_head_size: 32] ++ @wide, @text}
  ]

  @type row :: {module(), architecture :: atom(), keyword(), %{String.t() => {atom(), term()}}}

  @doc "All models."
  @spec all() :: [row()]
  def all, do: @models

  @doc "Models that tokens are generated with."
  @spec generating() :: [row()]
  def generating, do: @generating

  @doc "Models whose kernels can be quantized."
  @spec quantized() :: [row()]
  def quantized, do: @quantized

  @doc "The configuration of a model."
  @spec spec(row()) :: struct()
  def spec({module, architecture, options, _inputs}) do
    own = for {name, value} <- options, do: {name, nested(value)}
    small = Keyword.take(@small, module |> struct() |> Map.keys())
    Bumblebee.configure(module, [architecture: architecture] ++ Keyword.merge(small, own))
  end

  defp nested({module, architecture}) when is_atom(module), do: spec({module, architecture, [], %{}})
  defp nested(value), do: value

  @doc "The inputs, and random parameters for a model, as tensors of `Nx.BinaryBackend`."
  @spec values(row(), Axon.t()) :: {map(), Axon.ModelState.t()}
  def values({_module, _architecture, _options, inputs}, model) do
    by_reference(fn ->
      inputs = Map.new(inputs, fn {name, {kind, of}} -> {name, input(kind, of)} end)
      {init, _predict} = Axon.build(model, seed: 1)
      state = init.(inputs, Axon.ModelState.empty())
      {data, _key} = Nx.Defn.Composite.traverse(state.data, Nx.Random.key(2), &shifted/2)
      {inputs, %{state | data: data}}
    end)
  end

  @doc "What a function returns in a process with Nx's own backend and evaluator."
  @spec by_reference((-> result)) :: result when result: term()
  def by_reference(fun) do
    task =
      Task.async(fn ->
        Nx.default_backend(BinaryBackend)
        Nx.Defn.default_options(compiler: Nx.Defn.Evaluator)
        fun.()
      end)

    Task.await(task, :infinity)
  end

  @doc "The parameters with the kernels of dense layers quantized, and the tables of embeddings."
  @spec with_quantized_kernels(Axon.ModelState.t()) :: Axon.ModelState.t()
  def with_quantized_kernels(state) do
    data =
      for {layer, parameters} <- state.data, into: %{} do
        {layer, Map.new(parameters, fn {name, parameter} -> {name, quantized(name, parameter)} end)}
      end

    %{state | data: data}
  end

  # Tables, and heads that share them, have the inputs of the layers around them as their columns.
  defp quantized("kernel", %Nx.Tensor{shape: {rows, _columns}} = kernel) do
    axis = if rem(rows, 32) == 0, do: 0, else: 1
    Mlx.Nx.quantize(kernel, axis: axis, bits: 8, group_size: 32)
  end

  defp quantized(_name, parameter), do: Nx.backend_copy(parameter, Mlx.Backend)

  defp input(:tokens, shape), do: shape |> Nx.iota() |> Nx.multiply(7) |> Nx.add(3) |> Nx.remainder(31) |> Nx.add(4)
  # All but the last place of the last entry.
  defp input(:mask, shape), do: shape |> Nx.iota() |> Nx.less(Tuple.product(shape) - 1)
  defp input(:numbers, shape), do: shape |> Nx.iota(type: :f32) |> Nx.multiply(1.7) |> Nx.sin()
  defp input(:number, number), do: Nx.tensor(number)

  # Many parameters are 0 or 1 to begin with, and would tell nothing.
  defp shifted(%Nx.Tensor{type: {:f, 32}} = parameter, key) do
    {noise, key} = Nx.Random.uniform(key, -0.2, 0.2, shape: parameter.shape)
    {Nx.add(parameter, noise), key}
  end

  defp shifted(parameter, key), do: {parameter, key}
end
