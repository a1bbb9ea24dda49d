# How many tokens drafts from the prompt give, and how fast, on prompts whose answers repeat what stands in them, and on one
# whose answer does not; and how many those of a draft model give to a server with several clients. Run it by
# bench/speculation.

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

    batches(lm)
  end

  # Each prompt comes with several beginnings, so that no two answers are the same.
  @requests 16
  @clients [1, 4, 16]

  defp batches(lm) do
    draft = draft(lm)
    IO.puts("\nA server, with drafts of #{draft.name}: CPU seconds of #{@requests} requests")
    IO.puts(row("clients", ["plain", "drafts", "ratio", "drafted", "accepted", "tokens/call", "same text"]))

    requests =
      for {{_name, prompt}, number} <- @prompts |> Stream.cycle() |> Stream.take(@requests) |> Enum.with_index() do
        Mlx.LM.encode(lm, [%{role: "user", content: "Request #{number}. " <> prompt}])
      end

    for clients <- @clients do
      [{slow, plain}, {fast, drafted}] = for options <- [[], [draft: draft]], do: served(lm, requests, clients, options)
      [count, accepted, rounds] = for key <- [:drafted, :accepted, :rounds], do: sum(drafted, & &1.speculation[key])
      same = Enum.count(Enum.zip(plain, drafted), fn {a, b} -> a.ids == b.ids end)
      rate = "#{round(100 * accepted / max(count, 1))} %"
      cells = [format(slow), format(fast), format(slow / fast), "#{count}", rate, format((accepted + rounds) / rounds)]
      IO.puts(row("#{clients}", cells ++ ["#{same} of #{@requests}"]))
    end
  end

  # A smaller model of the same vocabulary, or else the first layers of the model itself.
  defp draft(lm) do
    case System.get_env("MLX_BENCH_DRAFT") do
      nil ->
        layers = lm.model.model.layers
        count = div(length(layers) * 2, 3)
        shorter = put_in(lm.model.model.layers, Enum.take(layers, count))
        %{shorter | name: "the first #{count} of its #{length(layers)} layers"}

      name ->
        Mlx.LM.load(name)
    end
  end

  defp served(lm, requests, clients, options) do
    {:ok, server} = Mlx.LM.Server.start_link([model: lm, prompt_cache: 0] ++ options)
    {before, _since} = :erlang.statistics(:runtime)

    responses =
      requests
      |> Task.async_stream(&Mlx.LM.Server.generate(server, &1, max_tokens: div(@tokens, 4), ignore_eos: true),
        max_concurrency: clients,
        timeout: :infinity
      )
      |> Enum.map(fn {:ok, {:ok, response}} -> response end)

    {later, _since} = :erlang.statistics(:runtime)
    Mlx.LM.Server.stop(server)
    {(later - before) / 1000, responses}
  end

  defp sum(list, fun), do: list |> Enum.map(fun) |> Enum.sum()

  # Tokens per second after the first.
  defp best(responses), do: responses |> Enum.map(& &1.generation_tokens_per_second) |> Enum.max()
  defp row(name, cells), do: String.pad_trailing(name, 20) <> Enum.map_join(cells, &String.pad_leading(&1, 12))
  defp format(number), do: :erlang.float_to_binary(number * 1.0, decimals: 2)
end

Bench.Speculation.run()
