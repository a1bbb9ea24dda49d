defmodule Mlx.LM.HTTP.Reply do
  @moduledoc false
  # What a route answers. The body is there, or comes of a `Mlx.LM.HTTP.Job`, whose events `step` makes pieces of:
  #
  #     step.(event, state) -> {:more, iodata, state} | {:end, iodata} | {:reply, reply}
  #
  # `{:reply, reply}` takes the place of this answer, and comes only before a piece that is not empty. Of an event that is an
  # error the router makes an answer, or, where a part of a stream is sent, `failed` its last piece:
  #
  #     failed.(failure, state) -> iodata

  alias Mlx.LM.HTTP.{Failure, Job}

  @enforce_keys [:status]
  defstruct @enforce_keys ++ [headers: [], body: "", job: nil, step: nil, failed: nil, state: nil]

  @type step :: (Job.event(), term() -> {:more, iodata(), term()} | {:end, iodata()} | {:reply, t()})
  @type failed :: (Failure.t(), term() -> iodata())
  @type t :: %__MODULE__{
          status: pos_integer(),
          headers: [{String.t(), String.t()}],
          body: iodata(),
          job: Job.t() | nil,
          step: step() | nil,
          failed: failed() | nil,
          state: term()
        }

  @doc "An answer of JSON."
  @spec json(pos_integer(), term(), [{String.t(), String.t()}]) :: t()
  def json(status, value, headers \\ []) do
    %__MODULE__{
      status: status,
      headers: [{"content-type", "application/json"} | headers],
      body: JSON.encode_to_iodata!(value)
    }
  end

  @doc "An answer of one piece, which a job makes."
  @spec later(Job.t(), step(), term()) :: t()
  def later(job, step, state), do: %__MODULE__{status: 200, job: job, step: step, state: state}

  @doc "An answer of server-sent events, which a job makes."
  @spec events(Job.t(), step(), failed(), term()) :: t()
  def events(job, step, failed, state) do
    headers = [{"content-type", "text/event-stream; charset=utf-8"}, {"cache-control", "no-cache"}]
    %__MODULE__{status: 200, headers: headers, job: job, step: step, failed: failed, state: state}
  end

  @doc "Whether it is a stream, of which parts are sent before its end."
  @spec stream?(t()) :: boolean()
  def stream?(%__MODULE__{failed: failed}), do: failed != nil

  @doc "A server-sent event."
  @spec event(String.t() | nil, term()) :: iodata()
  def event(nil, value), do: ["data: ", JSON.encode_to_iodata!(value), "\n\n"]
  def event(name, value), do: ["event: ", name, "\ndata: ", JSON.encode_to_iodata!(value), "\n\n"]
end
