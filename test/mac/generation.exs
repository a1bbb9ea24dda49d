# Memory over generations: each gives back what it took, and on Metal the memory that a generation uses is wired while it
# runs and not after. MLX_TEST_MODEL names the model; bin/setup brings one.
Code.require_file("scenario.exs", __DIR__)
alias Mac.Scenario

defmodule Mac.Generation do
  @prompt [%{role: "user", content: "What is the capital of France?"}]
  @options [temperature: 0, max_tokens: 64]

  # The text, the most bytes in use, the bytes in use after it, and the wired limit at its third part of text.
  def run(lm) do
    Mlx.Memory.reset_peak()
    parts = lm |> Mlx.LM.stream(@prompt, @options) |> Stream.with_index()

    {text, wired} =
      Enum.reduce(parts, {"", nil}, fn {part, n}, {text, w} ->
        {text <> part, if(n == 2, do: wired_limit(), else: w)}
      end)

    peak = Mlx.Memory.peak()
    :erlang.garbage_collect()
    Mlx.Stream.synchronize()
    {text, peak, Mlx.Memory.active(), wired}
  end

  # The limit in force. There is none without Metal.
  def wired_limit, do: if(Mlx.Metal.available?(), do: Mlx.Native.get_wired_limit(), else: 0)
end

Scenario.run("generation", fn ->
  path = System.get_env("MLX_TEST_MODEL", "")

  if path == "" do
    {:skipped, "MLX_TEST_MODEL names no model"}
  else
    before = Mac.Generation.wired_limit()
    lm = Mlx.LM.load(path)
    [{text, peak, active, wired} | _] = results = for _ <- 1..3, do: Mac.Generation.run(lm)
    Scenario.demand(text =~ "Paris", "the answer is #{inspect(text)}")

    for {again, peak_again, active_again, _wired} <- results do
      Scenario.demand(again == text, "the answer is another one: #{inspect(again)}")

      Scenario.demand(
        abs(active_again - active) < 8_000_000,
        "#{active} bytes in use after one, #{active_again} after another"
      )

      Scenario.demand(peak_again < peak * 1.2, "the peak was #{peak} bytes, and then #{peak_again}")
    end

    Scenario.demand(
      Mac.Generation.wired_limit() == before,
      "the wired limit was #{before} and is #{Mac.Generation.wired_limit()}"
    )

    # Metal has wired memory since macOS 15.
    Scenario.demand(
      not Mlx.Metal.available?() or wired > before,
      "the wired limit of #{before} was not raised while it ran"
    )

    megabytes = &Float.round(&1 / 1_000_000, 1)

    "active #{megabytes.(active)} MB, peak #{megabytes.(peak)} MB, wired limit #{wired} while it ran, on #{Scenario.device()}"
  end
end)
