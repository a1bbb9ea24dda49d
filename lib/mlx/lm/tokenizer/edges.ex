defmodule Mlx.LM.Tokenizer.Edges do
  @moduledoc false
  # What is put in front of a text and behind it. GGUF files only say whether a token begins texts, or ends them.

  alias Mlx.LM.Tokenizer
  alias Mlx.LM.Tokenizer.PostProcessor

  @doc "The tokens in front, and those behind, where they are asked for."
  @spec of(Tokenizer.t(), boolean, boolean) :: {[Tokenizer.id()], [Tokenizer.id()]}
  def of(tokenizer, front, back),
    do: {edge(front, tokenizer.front, tokenizer.bos), edge(back, tokenizer.back, tokenizer.eos)}

  defp edge(true, [], id) when id != nil, do: [id]
  defp edge(true, ids, _id), do: ids
  defp edge(_add, _ids, _id), do: []

  @doc "The template that puts tokens around texts and pairs."
  @spec template(Tokenizer.t()) :: PostProcessor.t()
  def template(%{template: nil} = tokenizer) do
    {front, back} = of(tokenizer, tokenizer.add_bos, tokenizer.add_eos)
    PostProcessor.around(front, back)
  end

  def template(%{template: template}), do: template
end
