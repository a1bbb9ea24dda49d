defmodule Mlx.LM.HTTP do
  @moduledoc """
  The interfaces of HTTP that tools speak, in front of `Mlx.LM.Server`.

      children = [
        {Mlx.LM.Server, model: "mlx-community/Qwen3-0.6B-4bit", name: MyModel},
        {Mlx.LM.HTTP, models: [MyModel], port: 8080}
      ]

      Supervisor.start_link(children, strategy: :one_for_one)

  | path | |
  | --- | --- |
  | `POST /v1/chat/completions`, `/v1/completions`, `/v1/responses`, `/v1/embeddings` | as OpenAI has them |
  | `POST /v1/messages`, `/v1/messages/count_tokens` | as Anthropic has them |
  | `POST /v1/rerank` | as Jina and Cohere have it |
  | `GET /v1/models`, `/v1/models/NAME` | the models |
  | `GET /health` | whether the server answers; asks for no key |
  | `GET /metrics` | figures for Prometheus |
  | `GET /` | a page on which to try a model |

  Answers come at once or, with `"stream": true`, as server-sent events. A field that is unknown, or that this server does not
  do, is an error that names it. A client that goes cancels its request.

  `mix mlx.server` starts all of it from a shell. In an application with Plug, `Mlx.LM.HTTP.Plug` has the same routes. The guide
  "Serving" shows more.
  """

  alias Mlx.LM.HTTP.{Drain, Listener, Metrics, Settings}

  @doc """
  The child specification for a supervisor, of the options of `start_link/1`.

      iex> Mlx.LM.HTTP.child_spec(models: [MyModel], name: MyHTTP).id
      MyHTTP
  """
  @spec child_spec(keyword()) :: Supervisor.child_spec()
  def child_spec(options) do
    settings = Settings.new!(options, :"LM.HTTP.child_spec")
    %{id: settings.name || __MODULE__, start: {__MODULE__, :start_link, [options]}, type: :supervisor}
  end

  @doc """
  Starts to listen.

  Options:

    * `:models` - the servers of language models: each as `Mlx.LM.Server` has it, or `{name, server}` with the name by which
      clients ask for it; by default its own. The first is taken where a request names none
    * `:embedders`, `:rankers` - each an `Mlx.LM.Embedder` or `Mlx.LM.Ranker`, or `{name, embedder}`
    * `:port`, `:ip` - where to listen, default 8080 and `{127, 0, 0, 1}`, which only this machine reaches; port 0 is any
    * `:keys` - the keys of which a client must send one, default `[]`, none: each a string, or `{:sha256, digest}` with the
      digest of one, which is no secret in the log of a supervisor
    * `:origins` - the origins whose pages may ask (CORS), such as `["https://example.com"]`, or `:any`; default `[]`
    * `:hosts` - names of this machine beside `localhost`, for a server without keys on the loopback
    * `:defaults` - options of a generation for what a request does not say, such as `[max_tokens: 1024]`
    * `:time_limit` - the longest time of an answer in ms, default 10 minutes
    * `:max_body`, `:max_header` - the most bytes of a body and of a head, default 8,000,000 and 16,384
    * `:header_timeout`, `:body_timeout`, `:idle_timeout`, `:send_timeout` - how long to wait in ms for a head, for a body,
      for a next request, and for a client to read; default 10, 30, 60 and 30 s
    * `:heartbeat` - after how many ms without a piece a stream has a comment, default 15,000
    * `:max_connections` - the most connections at once, default 1024
    * `:drain` - how long in ms answers may go on when the server stops, default 5000; those that are not at their end then
      fail
    * `:page` - whether there is a page at `/`, default true
    * `:name` - a name for the supervisor, default `nil`
  """
  @spec start_link(keyword()) :: Supervisor.on_start()
  def start_link(options) do
    settings = %{Settings.new!(options, :"LM.HTTP.start_link") | counters: Metrics.counters()}
    named = if settings.name, do: [name: settings.name], else: []

    # What one of them knows of the others ends with them, so all begin anew together, by the supervisor above.
    {:ok, supervisor} = started = Supervisor.start_link([], [strategy: :one_for_all, max_restarts: 0] ++ named)

    with {:ok, connections} <- Supervisor.start_child(supervisor, connections(settings)),
         {:ok, _drain} <- Supervisor.start_child(supervisor, Drain.child_spec({settings.drain, connections})),
         {:ok, _listener} <- Supervisor.start_child(supervisor, {Listener, {settings, connections}}) do
      started
    else
      {:error, {{:shutdown, reason}, _child}} -> stopped(supervisor, reason)
      {:error, {:shutdown, reason}} -> stopped(supervisor, reason)
      {:error, reason} -> stopped(supervisor, reason)
    end
  end

  defp connections(settings) do
    Supervisor.child_spec({Task.Supervisor, max_children: settings.max_connections}, id: :connections)
  end

  defp stopped(supervisor, reason) do
    Process.unlink(supervisor)
    Supervisor.stop(supervisor, :shutdown)
    {:error, reason}
  end

  @doc "The port that is listened on, of the pid or name of a supervisor."
  @spec port(Supervisor.supervisor()) :: :inet.port_number()
  def port(supervisor) do
    {Listener, listener, _type, _modules} = supervisor |> Supervisor.which_children() |> List.keyfind(Listener, 0)
    Listener.port(listener)
  end
end
