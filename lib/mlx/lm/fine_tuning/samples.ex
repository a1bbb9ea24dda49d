defmodule Mlx.LM.FineTuning.Samples do
  @moduledoc false
  # Answers that a model makes to prompts, several to each, all decoded together by an `Mlx.LM.Server`.

  alias Mlx.LM.{Server, Tokenizer}

  # The most that a server decodes at once.
  @slots 256

  @typedoc "The tokens of the answer, with the end token where it has one, and its text."
  @type sample :: {[Tokenizer.id()], String.t()}

  @doc "`count` answers to each of the prompts, which are tokens. `seed` gives the seed for the number of an answer."
  @spec of(Mlx.LM.t(), [[Tokenizer.id()]], pos_integer(), (non_neg_integer() -> non_neg_integer()), keyword()) ::
          [[sample(), ...]]
  def of(lm, prompts, count, seed, options) do
    all = length(prompts) * count
    server = {Server, model: lm, slots: min(all, @slots), queue: all}
    # The caller is not linked to the server, which ends for another reason than a normal one.
    {:ok, supervisor} = Supervisor.start_link([server], strategy: :one_for_one, max_restarts: 0)

    try do
      [{_id, server, _kind, _modules}] = Supervisor.which_children(supervisor)
      end_id = end_id(lm.tokenizer)

      prompts
      |> Enum.flat_map(&List.duplicate(&1, count))
      |> Enum.with_index()
      |> Task.async_stream(fn {prompt, number} -> Server.generate(server, prompt, [seed: seed.(number)] ++ options) end,
        max_concurrency: all,
        timeout: :infinity
      )
      |> Enum.map(fn {:ok, result} -> sample!(result, end_id) end)
      |> Enum.chunk_every(count)
    after
      Supervisor.stop(supervisor)
    end
  end

  defp sample!({:ok, %{finish_reason: :stop} = response}, end_id), do: {response.ids ++ [end_id], response.text}
  defp sample!({:ok, response}, _end_id), do: {response.ids, response.text}
  defp sample!({:error, error}, _end_id), do: raise(error)

  # A response does not say which of several tokens has ended it.
  defp end_id(tokenizer) do
    name = Tokenizer.named_tokens(tokenizer)[:eos_token]
    (name && Tokenizer.id(tokenizer, name)) || tokenizer.end_ids |> Enum.sort() |> List.first()
  end
end
