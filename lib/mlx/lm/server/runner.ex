defmodule Mlx.LM.Server.Runner do
  @moduledoc false
  # The process that computes. It is told which requests to work on and which to leave, and tells what comes of them:
  # `{Mlx.LM.Server.Runner, pid, [{ref, events}]}`, where an error is `{:error, reason, text}`.
  #
  # In each turn it looks for messages, has MLX compute the next tokens of the batch, gives out those of the turn before
  # while MLX computes (`Mlx.LM.Server.Steps`), and reads a part of the prompts (`Mlx.LM.Server.Prompts`). So MLX always has
  # something to do, and no turn is long.

  alias Mlx.Memory
  alias Mlx.LM.Context
  alias Mlx.LM.Server.{PromptCache, PromptFiles, Prompts, Request, Row, Steps, Work}
  alias Mlx.LM.Speculation.Settings

  @typep draft :: Settings.t() | nil

  @doc "Starts a runner of the calling server, with a draft model or nil, which knows the prompts of some contexts."
  @spec start_link(Mlx.LM.t(), draft, map(), [Context.t()]) :: pid()
  def start_link(%Mlx.LM{model: model}, draft, settings, contexts) do
    server = self()
    spawn_link(fn -> server |> Work.new(model, draft, settings, contexts) |> rest(nil) end)
  end

  @doc "Gives a request to the runner."
  @spec admit(pid(), reference(), Request.t()) :: :ok
  def admit(runner, ref, request) do
    send(runner, {:admit, ref, request})
    :ok
  end

  @doc "Has the runner write what it keeps of prompts. It tells the server `{Mlx.LM.Server.Runner, pid, {:saved, from, result}}`."
  @spec save(pid(), GenServer.from(), Path.t()) :: :ok
  def save(runner, from, folder) do
    send(runner, {:save, from, folder})
    :ok
  end

  @doc "Has the runner leave a request."
  @spec drop(pid(), reference()) :: :ok
  def drop(runner, ref) do
    send(runner, {:drop, ref})
    :ok
  end

  # Without work, the model need not stay in the memory of a GPU.
  defp rest(work, ticket) do
    if ticket, do: Memory.release(ticket)
    :erlang.garbage_collect()

    receive do
      message -> work |> message(message) |> loop(Memory.wire())
    end
  end

  defp loop(work, ticket) do
    work = messages(work)
    if Work.none?(work), do: rest(work, ticket), else: work |> Steps.next() |> Prompts.read() |> loop(ticket)
  end

  defp messages(work) do
    receive do
      message -> work |> message(message) |> messages()
    after
      0 -> work
    end
  end

  defp message(work, {:admit, ref, request}), do: Prompts.add(work, Row.new(ref, request, work.about, work.choose))
  defp message(work, {:drop, ref}), do: work |> Prompts.drop(ref) |> Work.leave(ref)

  defp message(work, {:save, from, folder}) do
    result = work.prompts |> PromptCache.entries() |> PromptFiles.save(folder, work.model)
    send(work.server, {__MODULE__, self(), {:saved, from, result}})
    work
  end
end
