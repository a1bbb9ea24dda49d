defmodule Bench.LlamaShapes do
  @moduledoc false
  # The tensors of Llama models with random weights, as a GGUF file names them.

  @doc "The name and shape of each tensor, for `:layers`, `:width`, `:heads`, `:key_value_heads`, `:head`, `:hidden` and `:vocabulary`."
  def of(sizes) do
    %{width: width, head: head, hidden: hidden} = sizes = Map.new(sizes)
    {queries, shared} = {sizes.heads * head, sizes.key_value_heads * head}

    block = [
      attn_norm: {width},
      attn_q: {queries, width},
      attn_k: {shared, width},
      attn_v: {shared, width},
      attn_output: {width, queries},
      ffn_norm: {width},
      ffn_gate: {hidden, width},
      ffn_up: {hidden, width},
      ffn_down: {width, hidden}
    ]

    blocks = for layer <- 0..(sizes.layers - 1), {name, shape} <- block, do: {"blk.#{layer}.#{name}", shape}
    [{"token_embd", {sizes.vocabulary, width}}, {"output_norm", {width}} | blocks]
  end
end
