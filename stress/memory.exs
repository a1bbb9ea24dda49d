defmodule Mlx.Stress.Memory do
  @moduledoc false
  # One process asks for more memory than there is, in several ways, while many others compute: it gets an error, and they
  # notice nothing.

  alias Mlx.Stress.{Crowd, Graphs, Report}

  @gigabyte 1_000_000_000
  @elements_of_a_row 250_000_000
  @rounds 3
  # The rest of the card stays free for what the others do.
  @most_held 0.7
  @least_duration 15_000
  @bytes_left 64_000_000

  @spec run(%{seconds: pos_integer(), processes: pos_integer()}) :: [Report.outcome()]
  def run(%{seconds: seconds, processes: processes}) do
    errors = :ets.new(:errors, [:public])
    wrong = :ets.new(:wrong, [:public])
    evaluations = :counters.new(1, [:write_concurrency])
    for _ <- 1..20, do: evaluate(evaluations, wrong)
    before = Report.settle_memory(0, 5)
    limit = Mlx.Memory.array_limit()
    asking = Task.async(fn -> ask_all(evaluations) end)

    # Until all are refused, and for some time after.
    end_time = System.monotonic_time(:millisecond) + @least_duration
    over = fn -> not Process.alive?(asking.pid) and System.monotonic_time(:millisecond) > end_time end
    progress = fn -> :counters.get(evaluations, 1) end
    say = fn -> "#{progress.()} evaluations; #{Report.memory()}" end
    work = fn _number -> evaluate(evaluations, wrong) end
    result = Crowd.run(processes - 1, seconds * 1000, errors, work, progress: progress, say: say, over: over)
    answers = Task.yield(asking, 60_000) || Task.shutdown(asking, :brutal_kill)
    Mlx.Memory.set_array_limit(limit)

    after_all = for _ <- 1..processes, do: Task.async(fn -> evaluate(evaluations, wrong) end)
    after_count = after_all |> Task.yield_many(60_000) |> Enum.count(&match?({_, {:ok, _}}, &1))
    left = Report.settle_memory(before + @bytes_left) - before
    {error_count, error_text} = Report.errors(errors)
    {wrong_count, wrong_text} = Report.errors(wrong)
    Report.figure("#{:counters.get(evaluations, 1)} evaluations; #{Report.memory()}")

    refusals(answers) ++
      [
        Report.check("the others' wrong values", wrong_count == 0, wrong_text),
        Report.check("the others' errors", error_count == 0, error_text),
        Report.check("processes that never end", result.stuck == 0 and not result.stalled, "#{result.stuck}"),
        Report.check(
          "evaluations by new processes after it",
          after_count == processes,
          "#{after_count} of #{processes}"
        ),
        Report.check(
          "memory in use at the end",
          left <= @bytes_left,
          "#{Report.megabytes(left)} more than at the start"
        )
      ]
  end

  defp evaluate(evaluations, wrong) do
    {array, values} = Graphs.random()
    if not Graphs.right?(array, values), do: Report.count_error(wrong, "shape #{inspect(array.shape)}")
    :counters.add(evaluations, 1, 1)
  end

  defp refusals({:ok, answers}), do: Enum.map(answers, &refusal/1)
  defp refusals(other), do: [Report.check("the process that asks", false, "did not end: #{inspect(other)}")]

  defp refusal({what, {:skip, reason}}), do: Report.skip(what, reason)

  defp refusal({what, {:refused, pattern, message, beside}}) do
    Report.check(what, message =~ pattern and beside > 0, "#{message} (#{beside} evaluations by others meanwhile)")
  end

  defp refusal({what, {:not_refused, text}}), do: Report.check(what, false, text)

  # Every way several times: what one refusal leaves behind would show in the next.
  defp ask_all(evaluations) do
    for round <- 1..@rounds, {what, ask} <- ways(), do: {"#{what}, round #{round}", ask.(evaluations)}
  end

  defp ways do
    beyond_limit = {"an array beyond Mlx's limit", &ask_beyond_limit/1}

    if Mlx.Device.default() == :gpu do
      [
        beyond_limit,
        {"an array beyond the card", on_card(&ask_one/2)},
        {"arrays beyond the card together", on_card(&ask_together/2)},
        {"a graph beyond the card", on_card(&ask_graph/2)}
      ]
    else
      reason = "on a CPU the system grants memory that it does not have, and ends the process that uses it"
      [beyond_limit, {"an array beyond the memory", fn _ -> {:skip, reason} end}]
    end
  end

  # Refused by Mlx, before MLX is asked.
  defp ask_beyond_limit(evaluations) do
    rows = div(Mlx.Memory.array_limit(), @gigabyte) + 2
    refused(evaluations, ~r/exceeds the array limit/, fn -> Mlx.eval(rows(rows, 1)) end)
  end

  # Refused by the card.
  defp on_card(ask) do
    fn evaluations ->
      gigabytes = div(card_bytes(), @gigabyte)
      previous = Mlx.Memory.set_array_limit(100 * card_bytes())
      answer = refused(evaluations, ~r/out of memory|Unable to allocate/i, fn -> ask.(gigabytes, evaluations) end)
      Mlx.Memory.set_array_limit(previous)
      # What it held is freed, and the next way starts alike.
      :erlang.garbage_collect()
      Mlx.Memory.clear_cache()
      answer
    end
  end

  defp ask_one(gigabytes, _evaluations), do: Mlx.eval(rows(2 * gigabytes, 1))

  # Evaluated ones that fit, all held, and then one that does not beside them.
  defp ask_together(gigabytes, evaluations) do
    parts = 7
    part = trunc(gigabytes * @most_held / parts)
    held = for value <- 1..parts, do: Mlx.eval(rows(part, value))
    wait_for_others(evaluations)
    last = Mlx.eval(rows(trunc(gigabytes * 0.5), 9))
    {held, last}
  end

  # Refused in the middle of an evaluation, when operations before it are on their way.
  defp ask_graph(gigabytes, _evaluations) do
    part = trunc(gigabytes * 0.2)
    parts = for value <- 1..4, do: Mlx.multiply(rows(part, value), 2)
    Mlx.eval(Mlx.sum(Mlx.multiply(Mlx.concatenate(parts), 3)))
  end

  # So many gigabytes of f32, all of one value, computed where they are used.
  defp rows(count, value), do: Mlx.full({count, @elements_of_a_row}, value * 1.0)

  defp refused(evaluations, pattern, fun) do
    before = :counters.get(evaluations, 1)

    try do
      fun.()
    rescue
      error in Mlx.Error ->
        wait_for_others(evaluations)
        {:refused, pattern, Exception.message(error), :counters.get(evaluations, 1) - before}

      error ->
        {:not_refused, "another error: #{inspect(error)}"}
    else
      _granted -> {:not_refused, "it was granted; #{Report.memory()}"}
    end
  end

  # The others go on: some evaluations, within 30 s.
  defp wait_for_others(evaluations, wanted \\ nil, tries \\ 300) do
    now = :counters.get(evaluations, 1)
    wanted = wanted || now + 100

    if now < wanted and tries > 0 do
      Process.sleep(100)
      wait_for_others(evaluations, wanted, tries - 1)
    end
  end

  # Of the GPU, whatever MLX calls them.
  defp card_bytes do
    info = Mlx.Device.info(:gpu)
    Enum.find_value(~w(total_memory memory_size), &info[&1]) || trunc(Mlx.Memory.limit() / 0.95)
  end
end
