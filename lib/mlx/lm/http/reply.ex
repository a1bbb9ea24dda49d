defmodule Mlx.LM.HTTP.Reply do
  @moduledoc false
  # What a route answers. The body is there, or comes of a `Mlx.LM.HTTP.Job`, whose events `step` makes pieces of:
  #
  #     step.(event, state) -> {:more, iodata, state} | {:end, iodata} | {:reply, reply}
  #
  # `{:reply, reply}` takes the place of this answer, and comes only before a piece that is not empty.

  alias Mlx.LM.HTTP.Job

  @enforce_keys [:status]
  defstruct @enforce_keys ++ [headers: [], body: "", job: nil, step: nil, state: nil, stream: false]

  @type step :: (Job.event(), term() -> {:more, iodata(), term()} | {:end, iodata()} | {:reply, t()})
  @type t :: %__MODULE__{
          status: pos_integer(),
          headers: [{String.t(), String.t()}],
          body: iodata(),
          job: Job.t() | nil,
          step: step() | nil,
          state: term(),
          stream: boolean()
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
  @spec events(Job.t(), step(), term()) :: t()
  def events(job, step, state) do
    headers = [{"content-type", "text/event-stream; charset=utf-8"}, {"cache-control", "no-cache"}]
    %__MODULE__{status: 200, headers: headers, job: job, step: step, state: state, stream: true}
  end

  @doc "A server-sent event."
  @spec event(String.t() | nil, term()) :: iodata()
  def event(nil, value), do: ["data: ", JSON.encode_to_iodata!(value), "\n\n"]
  def event(name, value), do: ["event: ", name, "\ndata: ", JSON.encode_to_iodata!(value), "\n\n"]
end
