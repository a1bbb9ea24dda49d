# How many tokens drafts from the prompt give, and how fast, on prompts whose answers repeat what stands in them, and on one
# whose answer does not. Run it by bench/speculation.

defmodule Bench.Speculation do
  @moduledoc false

  @text """
  The library of the harbour town of Whitby opens again on Monday, 3 March, after a repair of eleven months. The roof of the
  reading room had let in water since the storm of January, and 4,000 volumes of the local collection were dried in
  Middlesbrough. The librarian, Margaret Ellison, says that 212 volumes could not be saved. The repair cost 1.3 million
  pounds, of which the county paid two thirds. The reading room has new windows, 60 seats and a lift, and stays open until
  eight in the evening on Tuesdays and Thursdays.
  """

  @code """
  def total(orders):
      result = 0
      for order in orders:
          result += order.price * order.quantity
      return result

  def average(orders):
      if not orders:
          return 0
      return total(orders) / len(orders)
  """

  @prompts [
    {"summary", "Summarize this text in a few sentences, with its names and numbers:\n\n" <> @text},
    {"copy", "Repeat this text word for word:\n\n" <> @text},
    {"code", "Rename the variable `result` to `amount` in this code, and give me the whole code:\n\n" <> @code},
    {"story", "Tell a short story of a fox and a lighthouse."}
  ]

  @tokens 128
  @rounds 3

  def run do
    lm = Mlx.LM.load(System.fetch_env!("MLX_TEST_MODEL"))
    IO.puts(row("", ["plain", "drafts", "ratio", "drafted", "accepted", "tokens/call", "same text"]))

    for {name, prompt} <- @prompts, draft_tokens <- [4, 8] do
      ids = Mlx.LM.encode(lm, [%{role: "user", content: prompt}])
      options = [max_tokens: @tokens, ignore_eos: true]
      drafting = [draft: :prompt, draft_tokens: draft_tokens] ++ options
      pairs = for _round <- 1..@rounds, do: {Mlx.LM.generate(lm, ids, options), Mlx.LM.generate(lm, ids, drafting)}
      {plain, drafted} = Enum.unzip(pairs)
      [slow, fast] = for responses <- [plain, drafted], do: best(responses)
      %{drafted: count, accepted: accepted, rounds: rounds} = hd(drafted).speculation
      same = if hd(plain).ids == hd(drafted).ids, do: "yes", else: "no"
      rate = if count == 0, do: "-", else: "#{round(100 * accepted / count)} %"
      per_call = format((accepted + rounds) / rounds)
      cells = [format(slow), format(fast), format(fast / slow), "#{count}", rate, per_call, same]
      IO.puts(row("#{name}, #{draft_tokens} at most", cells))
    end
  end

  # Tokens per second after the first.
  defp best(responses), do: responses |> Enum.map(& &1.generation_tokens_per_second) |> Enum.max()
  defp row(name, cells), do: String.pad_trailing(name, 20) <> Enum.map_join(cells, &String.pad_leading(&1, 12))
  defp format(number), do: :erlang.float_to_binary(number * 1.0, decimals: 2)
end

Bench.Speculation.run()
