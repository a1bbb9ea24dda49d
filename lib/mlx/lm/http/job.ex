defmodule Mlx.LM.HTTP.Job do
  @moduledoc false
  # The generations of one request, whose events come as messages to the process that has the connection. A request for `n`
  # answers is `n` generations. A server that dies is an error of all its generations.

  alias Mlx.LM.Server
  alias Mlx.LM.Server.{Client, Error}

  @enforce_keys [:server, :monitor, :refs]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          server: pid() | GenServer.server(),
          monitor: reference(),
          refs: %{reference() => non_neg_integer()}
        }
  @type event ::
          {non_neg_integer(),
           {:text, String.t()} | {:token, map()} | {:done, Mlx.LM.Response.t()} | {:error, Error.t()}}

  @doc "Submits prompts, each with options. Raises `Mlx.LM.Server.Error` where one of them is refused."
  @spec start!(Server.server(), [{Mlx.LM.prompt(), keyword()}]) :: t()
  def start!(server, requests) do
    server = found!(Client.find(server, "Mlx.LM.HTTP"))
    job = %__MODULE__{server: server, monitor: Process.monitor(server), refs: %{}}

    for {{prompt, options}, index} <- Enum.with_index(requests), reduce: job do
      job ->
        case Server.submit(server, prompt, options) do
          {:ok, ref} ->
            put_in(job.refs[ref], index)

          {:error, error} ->
            cancel(job)
            raise error
        end
    end
  end

  defp found!({:ok, server}), do: server
  defp found!({:error, error}), do: raise(error)

  @doc "The events of a message, and the job that goes on; `:unknown` for a message that is none of the job's."
  @spec message(t(), term()) :: {[event()], t()} | :unknown
  def message(%__MODULE__{refs: refs} = job, {Server, ref, event}) when is_map_key(refs, ref) do
    event = {refs[ref], event}
    {[event], if(last?(event), do: %{job | refs: Map.delete(refs, ref)}, else: job)}
  end

  # What was on its way when a job was cancelled.
  def message(job, {Server, _ref, _event}), do: {[], job}

  def message(%__MODULE__{monitor: monitor, refs: refs} = job, {:DOWN, monitor, :process, _pid, _reason}) do
    error = Error.new(:failed, "the model's server has ended")
    {for({_ref, index} <- refs, do: {index, {:error, error}}), %{job | refs: %{}}}
  end

  def message(_job, _other), do: :unknown

  defp last?({_index, {kind, _value}}), do: kind in [:done, :error]

  @doc "Ends what is under way. Messages that are there already go, too."
  @spec cancel(t()) :: :ok
  def cancel(%__MODULE__{} = job) do
    for {ref, _index} <- job.refs do
      Server.cancel(job.server, ref)
      Client.flush(ref)
    end

    Process.demonitor(job.monitor, [:flush])
    :ok
  end
end
