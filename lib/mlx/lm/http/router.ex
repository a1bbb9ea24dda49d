defmodule Mlx.LM.HTTP.Router do
  @moduledoc false
  # From a request to an answer, without a socket: `Mlx.LM.HTTP.Connection` and `Mlx.LM.HTTP.Plug` are both built on it.

  require Logger

  alias Mlx.LM.HTTP.{Access, Chat, Completions, Embeddings, Failure, Health, Job, Messages, Metrics, Models, Page}
  alias Mlx.LM.HTTP.{Reply, Request, Rerank, Responses, Settings}
  alias Mlx.LM.Server.Error

  # method, path, who may ask without a key, the form of errors, and what answers
  @routes [
    {"GET", "/", :open, :openai, &Page.call/2},
    {"GET", "/health", :open, :openai, &Health.call/2},
    {"GET", "/metrics", :key, :openai, &Metrics.call/2},
    {"GET", "/v1/models", :key, :openai, &Models.call/2},
    {"POST", "/v1/chat/completions", :key, :openai, &Chat.call/2},
    {"POST", "/v1/completions", :key, :openai, &Completions.call/2},
    {"POST", "/v1/responses", :key, :openai, &Responses.call/2},
    {"POST", "/v1/messages", :key, :anthropic, &Messages.call/2},
    {"POST", "/v1/messages/count_tokens", :key, :anthropic, &Messages.count_tokens/2},
    {"POST", "/v1/embeddings", :key, :openai, &Embeddings.call/2},
    {"POST", "/v1/rerank", :key, :openai, &Rerank.call/2}
  ]

  @doc "The paths of the routes."
  @spec paths() :: [String.t()]
  def paths, do: for({_method, path, _open, _form, _call} <- @routes, do: path)

  @doc "The answer to a request that is refused by its head alone, or that is a browser's question; nil for the others."
  @spec refuse(Request.t(), Settings.t()) :: Reply.t() | nil
  def refuse(request, settings) do
    case guarded(request, fn -> check(request, settings) end) do
      {_route, _read} -> nil
      answer -> answer |> reply(request, settings) |> counted(request, settings)
    end
  end

  @doc "The answer to a whole request."
  @spec call(Request.t(), Settings.t()) :: Reply.t()
  def call(request, settings) do
    request
    |> guarded(fn ->
      with {_route, read} <- check(request, settings), do: read.(request, settings)
    end)
    |> reply(request, settings)
    |> counted(request, settings)
  end

  @doc """
  What becomes of an answer that a job makes: of an event of the job, or of a failure that ends it. `begun` says whether a part
  of the answer is sent already.
  """
  @spec step(Reply.t(), Job.event() | Failure.t(), boolean(), Request.t(), Settings.t()) ::
          {:more, iodata(), Reply.t()} | {:end, iodata()} | {:reply, Reply.t()}
  def step(reply, {_index, {:error, error}}, begun, request, settings),
    do: step(reply, Failure.of(error), begun, request, settings)

  def step(_reply, %Failure{} = failure, false, request, settings),
    do: {:reply, failure |> reply(request, settings) |> counted(request, settings)}

  def step(reply, %Failure{} = failure, true, request, settings),
    do: ended(reply, reply.failed.(failure, reply.state), request, settings)

  def step(reply, event, begun, request, settings) do
    case guarded(request, fn -> reply.step.(event, reply.state) end) do
      {:more, pieces, state} -> {:more, pieces, %{reply | state: state}}
      {:end, pieces} -> ended(reply, pieces, request, settings)
      {:reply, instead} -> {:reply, instead |> reply(request, settings) |> counted(request, settings)}
      %Failure{} = failure -> step(reply, failure, begun, request, settings)
    end
  end

  defp ended(reply, pieces, request, settings) do
    Metrics.count(settings.counters, request.path, reply.status)
    {:end, pieces}
  end

  @doc "The answer to what is no request, or to one that did not come as a whole."
  @spec failed(Request.t() | nil, Failure.t(), Settings.t()) :: Reply.t()
  def failed(request, failure, settings) do
    failure |> reply(request, settings) |> counted(request, settings)
  end

  # A reply, or the route and what reads the request.
  defp check(request, settings) do
    Access.check_host!(request, settings)
    routes = for {_method, path, _open, _form, _call} = route <- @routes, same?(path, request.path), do: route
    methods = for {method, _path, _open, _form, _call} <- routes, do: method

    cond do
      routes == [] ->
        Failure.fail!(:not_found, "there is nothing at #{inspect(request.path)}; there are #{Enum.join(paths(), ", ")}")

      request.method == "OPTIONS" ->
        Access.preflight(methods ++ ["OPTIONS"])

      route = List.keyfind(routes, method(request), 0) ->
        open(route, request, settings)

      true ->
        Failure.fail!(:method, "#{request.path} takes #{Enum.join(methods, " and ")}, and not #{request.method}")
    end
  end

  defp same?("/v1/models", path), do: path == "/v1/models" or String.starts_with?(path, "/v1/models/")
  defp same?(path, path), do: true
  defp same?(_path, _other), do: false

  defp method(%Request{method: "HEAD"}), do: "GET"
  defp method(request), do: request.method

  defp open({method, _path, open, _form, call} = route, request, settings) do
    if open == :key, do: Access.check_key!(request, settings)

    if method == "POST" do
      Access.check_origin!(request, settings)
      check_type!(request)
    end

    {route, if(method == "POST", do: fn request, settings -> call.(object!(request), settings) end, else: call)}
  end

  # A form that a page of any origin may send has another type.
  defp check_type!(request) do
    type = request |> Request.header("content-type") |> to_string() |> String.split(";") |> hd() |> String.trim()

    if String.downcase(type) != "application/json",
      do: Failure.fail!(:media_type, "the body must have the content-type application/json, and has #{inspect(type)}")
  end

  defp object!(%Request{body: body}) do
    case JSON.decode(body) do
      {:ok, %{} = object} -> object
      {:ok, _other} -> Failure.fail!(:invalid, "the body must be an object of JSON")
      {:error, _reason} -> Failure.fail!(:invalid, "the body is not valid JSON")
    end
  end

  # What a function returns, or the failure that it throws or raises.
  defp guarded(request, fun) do
    fun.()
  rescue
    error in Error ->
      Failure.of(error)

    error ->
      Logger.error(
        "Mlx.LM.HTTP: #{request && request.path} failed: " <> Exception.format(:error, error, __STACKTRACE__)
      )

      %Failure{kind: :failed, message: "the server has failed; its log says more"}
  catch
    {:failure, failure} -> failure
  end

  defp reply(%Failure{} = failure, request, settings),
    do: failure |> Failure.reply(form(request)) |> reply(request, settings)

  defp reply(%Reply{} = reply, request, settings), do: Access.shared(reply, request, settings)

  defp form(nil), do: :openai

  defp form(request) do
    Enum.find_value(@routes, :openai, fn {_method, path, _open, form, _call} -> if path == request.path, do: form end)
  end

  # An answer that a job makes is counted at its end.
  defp counted(%Reply{job: job} = reply, _request, _settings) when job != nil, do: reply

  defp counted(reply, request, settings) do
    Metrics.count(settings.counters, request && request.path, reply.status)
    reply
  end
end
