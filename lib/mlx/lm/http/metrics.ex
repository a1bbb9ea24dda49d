defmodule Mlx.LM.HTTP.Metrics do
  @moduledoc false
  # `/metrics`, as Prometheus reads it: the figures of the models' servers, of the memory, and of the answers.

  alias Mlx.LM.HTTP.{Reply, Request, Router, Settings}
  alias Mlx.LM.Server
  alias Mlx.LM.Server.Error

  @classes [2, 4, 5]

  # name, kind, what it says, where it is among the figures of a server
  @servers [
    {"mlx_server_slots", "gauge", "Requests that are decoded at most at once.", [:slots]},
    {"mlx_server_active", "gauge", "Requests that are decoded now.", [:active]},
    {"mlx_server_waiting", "gauge", "Requests that wait.", [:waiting]},
    {"mlx_server_queue", "gauge", "Requests that may wait.", [:queue]},
    {"mlx_server_cache_bytes_limit", "gauge", "Bytes that caches may take.", [:memory, :limit]},
    {"mlx_server_cache_bytes_reserved", "gauge", "Bytes of the caches of requests at their longest.",
     [:memory, :reserved]},
    {"mlx_server_accepted_total", "counter", "Requests that were accepted.", [:counters, :accepted]},
    {"mlx_server_answered_total", "counter", "Requests that were answered.", [:counters, :answered]},
    {"mlx_server_refused_total", "counter", "Requests that were refused.", [:counters, :refused]},
    {"mlx_server_cancelled_total", "counter", "Requests whose client went, or whose time was over.",
     [:counters, :cancelled]},
    {"mlx_server_failed_total", "counter", "Requests that failed.", [:counters, :failed]},
    {"mlx_server_prompt_tokens_total", "counter", "Tokens of prompts that were answered.", [:counters, :prompt_tokens]},
    {"mlx_server_generated_tokens_total", "counter", "Tokens that were generated.", [:counters, :generated_tokens]},
    {"mlx_server_drafted_tokens_total", "counter", "Tokens that were drafted.", [:counters, :drafted_tokens]},
    {"mlx_server_accepted_tokens_total", "counter", "Drafted tokens that were accepted.", [:counters, :accepted_tokens]}
  ]

  # An answer is counted where a counter is, at `path * classes + class`.
  @doc "Counters of answers, for `count/3`."
  @spec counters() :: :counters.counters_ref()
  def counters, do: :counters.new(length(paths()) * length(@classes), [:write_concurrency])

  # Those of the routes, and what has none.
  defp paths, do: Router.paths() ++ ["other"]

  @spec count(:counters.counters_ref() | nil, String.t() | nil, pos_integer()) :: :ok
  def count(nil, _path, _status), do: :ok
  def count(counters, path, status), do: :counters.add(counters, place(path, div(status, 100)), 1)

  defp place(path, class) do
    row = Enum.find_index(Router.paths(), &(&1 == path)) || length(Router.paths())
    row * length(@classes) + (Enum.find_index(@classes, &(&1 == class)) || 0) + 1
  end

  @spec call(Request.t(), Settings.t()) :: Reply.t()
  def call(_request, settings) do
    # To ask a model that is loaded on demand would load it.
    models = Enum.reject(settings.models, fn {_name, server} -> match?({:model, _models, _model}, server) end)
    infos = for {name, server} <- models, info = info(server), do: {name || info.model, info}

    body = [
      for {metric, kind, help, path} <- @servers do
        family(metric, kind, help, for({name, info} <- infos, do: {[model: name], get_in(info, path)}))
      end,
      family("mlx_server_up", "gauge", "Whether a model's server answers.", ups(models)),
      family("mlx_memory_active_bytes", "gauge", "Bytes of arrays.", [{[], Mlx.Memory.active()}]),
      family("mlx_memory_peak_bytes", "gauge", "The most bytes of arrays so far.", [{[], Mlx.Memory.peak()}]),
      family("mlx_http_answers_total", "counter", "Answers by path and class of status.", answers(settings.counters))
    ]

    %Reply{status: 200, headers: [{"content-type", "text/plain; version=0.0.4; charset=utf-8"}], body: body}
  end

  defp info(server) do
    Server.info(server)
  rescue
    _error in Error -> nil
  catch
    :exit, _reason -> nil
  end

  defp ups(models) do
    for {{name, server}, index} <- Enum.with_index(models) do
      {[model: name || "#{index}"], if(info(server), do: 1, else: 0)}
    end
  end

  defp answers(nil), do: []

  defp answers(counters) do
    for path <- paths(), class <- @classes, count = :counters.get(counters, place(path, class)), count > 0 do
      {[path: path, status: "#{class}xx"], count}
    end
  end

  defp family(_metric, _kind, _help, []), do: []

  defp family(metric, kind, help, values) do
    lines = for {labels, value} <- values, do: [metric, labels(labels), " ", to_string(value), "\n"]
    ["# HELP ", metric, " ", help, "\n# TYPE ", metric, " ", kind, "\n", lines]
  end

  defp labels([]), do: ""

  defp labels(labels) do
    ["{", Enum.map_join(labels, ",", fn {name, value} -> ~s(#{name}="#{escaped(value)}") end), "}"]
  end

  defp escaped(text),
    do: text |> String.replace("\\", "\\\\") |> String.replace("\"", "\\\"") |> String.replace("\n", "\\n")
end
