defmodule Mlx.LM.Tokenizer.Heap do
  @moduledoc false
  # Room for the garbage of long texts. A heap grows with what lives on it, and little does: without more room a process
  # collects its garbage as long as it works.

  # A number of bytes, and of words.
  @long 32_768
  @room 1_000_000

  @doc "What `fun` gives, for a text of a number of bytes."
  @spec roomy(non_neg_integer, (-> result)) :: result when result: term
  def roomy(bytes, fun) when bytes < @long, do: fun.()

  def roomy(_bytes, fun) do
    before = :erlang.process_flag(:min_heap_size, @room)

    try do
      fun.()
    after
      :erlang.process_flag(:min_heap_size, before)
    end
  end
end
