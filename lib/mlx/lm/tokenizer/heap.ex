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
    {:garbage_collection, settings} = Process.info(self(), :garbage_collection)
    if room?(settings[:min_heap_size], settings[:max_heap_size].size), do: with_room(fun), else: fun.()
  end

  # A process that may not have as much as that is left as it is; 0 is no limit.
  defp room?(least, most), do: least < @room and (most == 0 or most > 4 * @room)

  defp with_room(fun) do
    before = :erlang.process_flag(:min_heap_size, @room)

    try do
      fun.()
    after
      :erlang.process_flag(:min_heap_size, before)
    end
  end
end
