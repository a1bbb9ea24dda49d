defmodule Mlx.LM.Encoder.Judgement do
  @moduledoc false
  # A question to a decoder about a query and a document, which it answers with yes or no: how Qwen 3 Reranker reads pairs.

  alias Mlx.LM.Encoder.{Checkpoint, Text}

  @front "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. " <>
           "Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n"
  @back "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"

  @doc "What a ranker is asked for where nothing else is said."
  @spec instruction() :: String.t()
  def instruction, do: "Given a web search query, retrieve relevant passages that answer the query"

  @doc "The tokens of the answers, yes and no. Raises `Mlx.Error` for a tokenizer that has more than one for an answer."
  @spec answers!(Text.t()) :: {non_neg_integer(), non_neg_integer()}
  def answers!(text), do: {answer!(text, "yes"), answer!(text, "no")}

  defp answer!(text, word) do
    case Text.body(text, word) do
      [id] -> id
      ids -> Checkpoint.fail!("the tokenizer has #{length(ids)} tokens for #{inspect(word)}, expected one")
    end
  end

  @doc "How many tokens stand around a pair."
  @spec special(Text.t()) :: pos_integer()
  def special(text), do: length(Text.body(text, @front)) + length(Text.body(text, @back))

  @doc "The tokens of the question about a pair, at most so many. What is too much is cut from the document."
  @spec sequence(Text.t(), {String.t(), String.t()}, String.t(), pos_integer()) :: Text.sequence()
  def sequence(text, {query, document}, instruction, longest) do
    [front, back] = for part <- [@front, @back], do: Text.body(text, part)
    pair = "<Instruct>: #{instruction}\n<Query>: #{query}\n<Document>: #{document}"
    {front ++ Enum.take(Text.body(text, pair), longest - length(front) - length(back)) ++ back, nil}
  end
end
