defmodule Mlx.Stress.Answers do
  @moduledoc false
  # The greedy answers of a server to mixed requests, of 1, 4, 16 and 32 at once, are those that each request has alone: of a
  # model that attends, one of experts, one with windows, and recurrent ones.

  alias Mlx.LM.{Checkpoint, Server}
  alias Mlx.ServedModels
  alias Mlx.Stress.Report

  @models [attention: "llama", experts: "qwen3_moe", windows: "gemma3_text", recurrent: "mamba2", both: "qwen3_next"]
  @at_once [1, 4, 16, 32]
  @vocabulary 100

  @spec run(map()) :: [Report.outcome()]
  def run(%{count: count}) do
    folder = Path.join(System.tmp_dir!(), "mlx_answers_#{System.pid()}")
    File.mkdir_p!(folder)
    ServedModels.write_families(folder, Keyword.values(@models))
    {half, other} = {div(count, 2), count - div(count, 2)}
    requests = ServedModels.mixed(half, @vocabulary) ++ ServedModels.branching(other, 90, 24, @vocabulary)
    :rand.seed(:exsss, 3)
    outcomes = for {kind, name} <- @models, do: check(kind, name, Enum.shuffle(requests), folder)
    File.rm_rf!(folder)
    outcomes
  end

  defp check(kind, name, requests, folder) do
    lm = folder |> Path.join(name) |> Checkpoint.load() |> ServedModels.lm(folder)
    alone = ServedModels.alone(lm, requests)

    wrong =
      for at_once <- @at_once do
        # Without what a server before has read.
        {:ok, server} = Server.start_link(model: lm, prefill_step: 50)
        Process.unlink(server)
        answers = ServedModels.together(server, requests, at_once)
        cached = Server.info(server).counters.cached_tokens
        Server.stop(server)
        wrong = Enum.count(Enum.zip(answers, alone), fn {answer, expected} -> answer != expected end)

        Report.figure(
          "#{name}, #{at_once} at once: #{wrong} of #{length(requests)} differ, #{cached} tokens not read again"
        )

        wrong
      end

    tokens = Enum.sum_by(alone, & &1.generated_tokens)

    Report.check(
      "#{kind} (#{name})",
      Enum.sum(wrong) == 0,
      "#{Enum.sum(wrong)} answers differ, of #{tokens} tokens each time"
    )
  end
end
