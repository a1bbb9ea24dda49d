Code.require_file("rounds.exs", __DIR__)

defmodule Bench.Server do
  @moduledoc false
  # Prompts of different lengths, each with as many tokens of an answer. A client asks anew as soon as it has its answer.

  alias Bench.Rounds
  alias Mlx.LM.Server

  @clients [1, 4, 16, 32]
  @tokens 32
  @requests 32

  def run(arguments) do
    {requests, tokens} =
      case Enum.map(arguments, &String.to_integer/1) do
        [requests, tokens] -> {requests, tokens}
        [] -> {@requests, @tokens}
      end

    lm = Mlx.LM.load(System.fetch_env!("MLX_TEST_MODEL"))
    prompts = for number <- 1..requests, do: Mlx.LM.encode(lm, messages(number))
    {:ok, server} = Server.start_link(model: lm, prompt_cache: 0)
    # All kernels are made before.
    measure(server, Enum.take(prompts, 2), 2, tokens)
    measure(server, Enum.take(prompts, 2), 1, tokens)
    IO.puts(row("clients", ["tokens/s", "first, p50", "first, p99"]))

    ours =
      for clients <- @clients,
          do: {clients, print("Mlx.LM.Server, #{clients}", measure(server, prompts, clients, tokens))}

    with python when python != nil <- System.get_env("MLX_BENCH_PYTHON"), do: compare(python, lm, prompts, tokens, ours)
  end

  defp messages(number) do
    topics = List.duplicate("the history of a city by the sea, its harbour and its people", 1 + rem(number * 7, 5))
    [%{role: "user", content: "Number #{number}: tell me about #{Enum.join(topics, ", and about ")}."}]
  end

  defp measure(server, prompts, clients, tokens) do
    started = System.monotonic_time(:millisecond)

    firsts =
      prompts
      |> Task.async_stream(&first(server, &1, tokens), max_concurrency: clients, timeout: :infinity)
      |> Enum.map(fn {:ok, first} -> first end)
      |> Enum.sort()

    seconds = (System.monotonic_time(:millisecond) - started) / 1000
    {length(prompts) * tokens / seconds, Enum.at(firsts, div(length(firsts), 2)), List.last(firsts)}
  end

  # The ms up to the first token.
  defp first(server, prompt, tokens) do
    started = System.monotonic_time(:millisecond)

    server
    |> Server.events(prompt, max_tokens: tokens, ignore_eos: true, logprobs: nil)
    |> Enum.reduce(nil, fn _event, first -> first || System.monotonic_time(:millisecond) - started end)
  end

  defp print(name, {speed, p50, p99}) do
    IO.puts(row(name, [format(speed), "#{p50} ms", "#{p99} ms"]))
    speed
  end

  # mlx-lm reads a folder, of the same numbers: in f32, with which it is several times faster on a CPU than packed ones.
  defp compare(python, _lm, prompts, tokens, ours) do
    folder = Path.join(System.tmp_dir!(), "mlx_bench_server_#{System.pid()}")

    try do
      Mlx.LM.convert(System.fetch_env!("MLX_TEST_MODEL"), folder, dequantize: true, type: :f32)
      script = Path.join(__DIR__, "server.py")

      for {clients, speed} <- ours do
        input = JSON.encode!(%{prompts: prompts, clients: clients, tokens: tokens})
        file = Path.join(folder, "requests.json")
        File.write!(file, input)
        {output, 0} = System.cmd(python, [script, folder, file], env: Rounds.environment())
        [theirs, p50, p99] = output |> String.split() |> Enum.take(-3) |> Enum.map(&String.to_float/1)
        print("mlx-lm, #{clients}", {theirs, round(p50), round(p99)})
        IO.puts("ratio with #{clients}: #{format(speed / theirs)}")
      end
    after
      File.rm_rf!(folder)
    end
  end

  defp row(name, cells), do: String.pad_trailing(name, 24) <> Enum.map_join(cells, &String.pad_leading(&1, 12))
  defp format(number), do: :erlang.float_to_binary(number / 1, decimals: 2)
end

Bench.Server.run(System.argv())
