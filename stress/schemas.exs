defmodule Mlx.Stress.Schemas do
  @moduledoc false
  # A real model writes JSON of schemas in a batched server: of 500 that are drawn at random and 100 of the kind that people
  # write, or of some of them. Python's `jsonschema` judges what came to its end. The share of the time that masks take is that of
  # the calls which make them, in the process that computes, without the time in which it reads prompts.

  alias Mlx.{GrammarTexts, RandomSchema}
  alias Mlx.LM.{Grammar, Server}
  alias Mlx.LM.Server.{Constraint, Reading}
  alias Mlx.Stress.Report

  @at_once 16
  @tokens 160
  # The most that masks may take of a step.
  @share 0.05

  # What makes masks, and what reads prompts.
  @masks [{Constraint, :mask, 2}, {Constraint, :allowed, 1}, {Constraint, :of_rows, 3}, {Constraint, :accept, 2}]
  @prompts [{Reading, :advance, 3}]

  @spec run(map()) :: [Report.outcome()]
  def run(%{count: count} = options) do
    folder = Path.join(System.tmp_dir!(), "mlx_schemas_#{System.pid()}")
    File.mkdir_p!(folder)
    model = options[:model] || System.fetch_env!("MLX_TEST_MODEL")
    {:ok, server} = Server.start_link(model: model, slots: @at_once, queue: count, prompt_cache: 0)
    Process.unlink(server)
    {:ok, _response} = Server.generate(server, "Once", max_tokens: 4)
    %{runner: runner} = :sys.get_state(server)
    schemas = schemas(count)
    :erlang.trace(runner, true, [:call])
    for function <- @masks ++ @prompts, do: :erlang.trace_pattern(function, true, [:local, :call_time])
    {microseconds, results} = :timer.tc(fn -> answers(server, schemas) end)
    {masks, prompts} = {time(@masks), time(@prompts)}
    Server.stop(server)
    problems = judged(results, folder)
    File.rm_rf!(folder)
    verdicts(results, problems, masks, microseconds - prompts)
  end

  # Some of each kind, where not all are wanted.
  defp schemas(count) do
    all = Enum.map(1..500, &RandomSchema.numbered/1) ++ GrammarTexts.written()
    Enum.take_every(all, max(div(length(all), count), 1)) |> Enum.take(count) |> Enum.with_index()
  end

  defp answers(server, schemas) do
    schemas
    |> Task.async_stream(fn {schema, seed} -> answer(server, schema, seed) end,
      max_concurrency: @at_once,
      timeout: :infinity
    )
    |> Enum.map(fn {:ok, result} -> tap(result, fn _result -> IO.write(".") end) end)
    |> tap(fn _results -> IO.puts("") end)
  end

  defp answer(server, schema, seed) do
    asked = "Write a short example of JSON of this schema: " <> String.slice(schema, 0, 600)

    options = [
      grammar: Grammar.json_schema(schema, whitespace: if(rem(seed, 2) == 0, do: :none, else: :some)),
      temperature: rem(seed, 3) * 0.7,
      seed: seed,
      max_tokens: @tokens
    ]

    {:ok, response} = Server.generate(server, [%{role: "user", content: asked}], options)
    {response, schema}
  end

  defp time(functions) do
    for function <- functions,
        {:call_time, calls} when is_list(calls) <- [:erlang.trace_info(function, :call_time)],
        {_pid, _count, seconds, microseconds} <- calls,
        reduce: 0,
        do: (sum -> sum + 1_000_000 * seconds + microseconds)
  end

  defp judged(results, folder) do
    cases =
      for {%{finish_reason: :stop, text: text}, schema} <- results, do: %{schema: JSON.decode!(schema), texts: [text]}

    GrammarTexts.problems(cases, folder)
  end

  defp verdicts(results, problems, masks, steps) do
    complete = Enum.count(results, fn {response, _schema} -> response.finish_reason == :stop end)
    tokens = Enum.sum_by(results, fn {response, _schema} -> response.generated_tokens end)
    share = masks / steps
    for problem <- Enum.take(problems, 10), do: Report.figure(problem)

    Report.figure(
      "#{tokens} tokens, #{Float.round(tokens / steps * 1.0e6, 1)} a second; masks #{Float.round(masks / tokens, 1)} us a token"
    )

    [
      Report.check("texts that are whole", complete >= length(results) / 2, "#{complete} of #{length(results)}"),
      Report.check("texts that jsonschema refuses", problems == [], "#{length(problems)}"),
      Report.check("share of the masks", share < @share, "#{Float.round(100 * share, 2)} % of the time of steps")
    ]
  end
end
