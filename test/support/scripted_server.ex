defmodule Mlx.ScriptedServer do
  @moduledoc """
  Speaks as `Mlx.LM.Server` does, without a model: each request is answered with the pieces of a script, a function of the
  prompt and the options that returns a list of texts, `{:wait, ms}`, `:stall`, `{:token, map}` or `{:error, reason}`.
  What it was asked for, and what was cancelled, is told to the process `:test`.
  """

  use GenServer

  alias Mlx.LM.{Response, Server}
  alias Mlx.LM.Server.Error

  def start_link(options), do: GenServer.start_link(__MODULE__, {options[:script], options[:about], options[:test]})

  @doc "What a server says of a model with a tokenizer of single bytes and a chat template."
  def about(template) do
    letters = Enum.map(0..255, &Mlx.LM.Tokenizer.ByteAlphabet.character/1)

    tokenizer =
      Mlx.LM.Tokenizer.from_gguf(%{
        "tokenizer.ggml.model" => "gpt2",
        "tokenizer.ggml.pre" => "smollm",
        "tokenizer.ggml.tokens" => letters ++ ["QZ", "<|end|>"],
        "tokenizer.ggml.token_type" => List.duplicate(1, 257) ++ [3],
        "tokenizer.ggml.merges" => ["Q Z"],
        "tokenizer.ggml.eos_token_id" => 257
      })

    template = template && Mlx.LM.ChatTemplate.compile(template)
    %{name: "scripted", tokenizer: tokenizer, template: template, context_length: 4096}
  end

  @impl true
  def init({script, about, test}), do: {:ok, %{script: script, about: about, test: test, workers: %{}}}

  @impl true
  def handle_call({:submit, ref, target, owner, prompt, options, _called}, _from, state) do
    send(state.test, {:asked, prompt, options})

    case state.script.(prompt, options) do
      {:refuse, reason} ->
        {:reply, {:error, Error.new(reason, "Mlx.LM.Server.submit: it was refused")}, state}

      pieces ->
        Process.monitor(owner)
        worker = spawn_link(fn -> play(pieces, ref, target, []) end)
        {:reply, :ok, put_in(state.workers[ref], {worker, target, owner})}
    end
  end

  def handle_call(:model, _from, state), do: {:reply, state.about, state}

  def handle_call(:info, _from, state) do
    names = [
      :accepted,
      :answered,
      :refused,
      :cancelled,
      :failed,
      :prompt_tokens,
      :generated_tokens,
      :drafted_tokens,
      :accepted_tokens
    ]

    memory = %{limit: 1000, reserved: 10}
    counters = Map.new(names, &{&1, 1})
    info = %{model: "scripted", slots: 4, active: 1, waiting: 0, queue: 8, stopping: false}
    {:reply, Map.merge(info, %{memory: memory, counters: counters}), state}
  end

  @impl true
  def handle_cast({:cancel, ref}, state) do
    case Map.pop(state.workers, ref) do
      {nil, _workers} ->
        {:noreply, state}

      {{worker, target, _owner}, workers} ->
        Process.unlink(worker)
        Process.exit(worker, :kill)
        send(target, {Server, ref, {:error, Error.new(:cancelled, "it was cancelled")}})
        send(state.test, {:cancelled, ref})
        {:noreply, %{state | workers: workers}}
    end
  end

  @impl true
  def handle_info({:DOWN, _monitor, :process, owner, _reason}, state) do
    for {_ref, {_worker, _target, ^owner}} <- state.workers, do: send(state.test, :owner_ended)
    {:noreply, state}
  end

  defp play([{:wait, ms} | rest], ref, target, texts) do
    Process.sleep(ms)
    play(rest, ref, target, texts)
  end

  defp play([:stall | _rest], _ref, _target, _texts), do: Process.sleep(:infinity)

  defp play([{:error, reason} | _rest], ref, target, _texts),
    do: send(target, {Server, ref, {:error, Error.new(reason, "Mlx.LM.Server.submit: it went wrong")}})

  defp play([{:token, token} | rest], ref, target, texts) do
    send(target, {Server, ref, {:token, token}})
    play(rest, ref, target, texts)
  end

  defp play([:length | rest], ref, target, texts), do: play(rest, ref, target, texts, :length)

  defp play([text | rest], ref, target, texts) when is_binary(text) do
    send(target, {Server, ref, {:text, text}})
    play(rest, ref, target, [text | texts])
  end

  defp play([], ref, target, texts), do: play([], ref, target, texts, :stop)

  defp play([], ref, target, texts, reason) do
    text = texts |> Enum.reverse() |> Enum.join()
    ids = :binary.bin_to_list(text)

    response = %Response{
      text: text,
      ids: ids,
      finish_reason: reason,
      prompt_tokens: 7,
      prompt_tokens_per_second: 1.0,
      generated_tokens: length(ids) + 1,
      generation_tokens_per_second: 1.0,
      peak_memory: 0,
      context: nil
    }

    send(target, {Server, ref, {:done, response}})
  end
end
