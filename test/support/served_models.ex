defmodule Mlx.ServedModels do
  @moduledoc """
  Models for servers, and what is asked of them: requests are `{prompt, most}`, tokens and how many are to follow. No token
  ends an answer, so that its length is known.
  """

  alias Mlx.LM.{Decoding, Server}
  alias Mlx.TinyLlama

  @families Path.expand("../oracle/families.py", __DIR__)

  @doc "A tiny Llama, written to the folder before, with `changes` of its metadata."
  def llama(folder, changes \\ %{}) do
    path = Path.join(folder, "tiny.gguf")
    TinyLlama.save(path, changes)
    lm = Mlx.LM.load(path, type: :f32)
    %{lm | tokenizer: %{lm.tokenizer | end_ids: MapSet.new()}}
  end

  @doc "Another model, with the tokenizer of the tiny Llama."
  def lm(model, folder), do: %{llama(folder) | model: model, decode: Decoding.compile(model)}

  @doc "Has Python write models of families into folders of their names; without names, of all."
  def write_families(folder, names \\ []) do
    python = System.fetch_env!("MLX_ORACLE_PYTHON")
    {output, status} = System.cmd(python, [@families, folder | names], stderr_to_stdout: true)
    if status != 0, do: raise(output)
    :ok
  end

  @doc "Tokens below `vocabulary`, those of a seed."
  def tokens(count, seed, vocabulary) do
    :rand.seed(:exsss, seed)
    for _token <- 1..count, do: :rand.uniform(vocabulary) - 1
  end

  @doc "Requests of many lengths, those of a seed."
  def mixed(count, vocabulary, seed \\ 7) do
    :rand.seed(:exsss, seed)

    for _request <- 1..count do
      length = Enum.random([1, 2, 5, 20, 90, 140, 270])
      {for(_token <- 1..length, do: :rand.uniform(vocabulary) - 1), Enum.random(1..24)}
    end
  end

  @doc "Requests whose prompts begin with parts of one text of `length` tokens. Each asks for up to `most`."
  def branching(count, length, most, vocabulary) do
    start = tokens(length, 1, vocabulary)

    for number <- 1..count do
      prompt = Enum.take(start, rem(number * 37, length + 1)) ++ tokens(1 + rem(number, 7), number, vocabulary)
      {prompt, 1 + rem(number * 5, most)}
    end
  end

  @doc "What a response says that is not of time."
  def told(response), do: Map.take(response, [:text, :ids, :finish_reason, :prompt_tokens, :generated_tokens])

  @doc "The answers to requests, one after the other and without a server."
  def alone(lm, requests, options \\ []) do
    for {prompt, most} <- requests, do: told(Mlx.LM.generate(lm, prompt, [max_tokens: most] ++ options))
  end

  @doc "The answers of a server to requests, so many at once."
  def together(server, requests, at_once, options \\ []) do
    requests
    |> Task.async_stream(
      fn {prompt, most} ->
        {:ok, response} = Server.generate(server, prompt, [max_tokens: most] ++ options)
        told(response)
      end,
      max_concurrency: at_once,
      timeout: 600_000
    )
    |> Enum.map(fn {:ok, told} -> told end)
  end
end
