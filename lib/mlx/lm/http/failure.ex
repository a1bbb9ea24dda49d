defmodule Mlx.LM.HTTP.Failure do
  @moduledoc false
  # Why a request has no answer, and the form in which each interface says it. A failure is thrown as `{:failure, failure}` by
  # what reads requests.

  alias Mlx.LM.HTTP.Reply
  alias Mlx.LM.Server.Error

  @enforce_keys [:kind, :message]
  defstruct @enforce_keys ++ [param: nil]

  @type t :: %__MODULE__{kind: atom(), message: String.t(), param: String.t() | nil}
  @type form :: :openai | :anthropic

  # kind, status, type and code of OpenAI's interfaces, status and type of Anthropic's
  @rows [
    {:invalid, 400, "invalid_request_error", nil, 400, "invalid_request_error"},
    {:unsupported, 400, "invalid_request_error", "unsupported_parameter", 400, "invalid_request_error"},
    {:unknown_field, 400, "invalid_request_error", "unknown_parameter", 400, "invalid_request_error"},
    {:unauthorized, 401, "invalid_request_error", "invalid_api_key", 401, "authentication_error"},
    {:forbidden, 403, "invalid_request_error", "forbidden", 403, "permission_error"},
    {:not_found, 404, "invalid_request_error", "not_found", 404, "not_found_error"},
    {:model_not_found, 404, "invalid_request_error", "model_not_found", 404, "not_found_error"},
    {:method, 405, "invalid_request_error", "method_not_allowed", 405, "invalid_request_error"},
    {:slow, 408, "invalid_request_error", "request_timeout", 408, "invalid_request_error"},
    {:body_too_large, 413, "invalid_request_error", "request_too_large", 413, "request_too_large"},
    {:media_type, 415, "invalid_request_error", "unsupported_media_type", 415, "invalid_request_error"},
    {:header_too_large, 431, "invalid_request_error", "headers_too_large", 431, "invalid_request_error"},
    {:not_implemented, 501, "invalid_request_error", "not_implemented", 501, "invalid_request_error"},
    {:too_large, 400, "invalid_request_error", "context_length_exceeded", 400, "invalid_request_error"},
    {:queue_full, 429, "rate_limit_error", "server_overloaded", 529, "overloaded_error"},
    {:deadline, 504, "server_error", "timeout", 504, "timeout_error"},
    {:cancelled, 500, "server_error", "cancelled", 500, "api_error"},
    {:shutdown, 503, "server_error", "shutting_down", 503, "api_error"},
    {:busy, 503, "server_error", "too_many_connections", 529, "overloaded_error"},
    {:failed, 500, "server_error", nil, 500, "api_error"}
  ]

  @doc "Ends the reading of a request."
  @spec fail!(atom(), String.t(), String.t() | nil) :: no_return()
  def fail!(kind, message, param \\ nil), do: throw({:failure, %__MODULE__{kind: kind, message: message, param: param}})

  @doc "The failure of an error of `Mlx.LM.Server`."
  @spec of(Error.t()) :: t()
  def of(%Error{reason: reason, message: message}), do: %__MODULE__{kind: reason, message: words(message)}

  # The name of the function is of no use to a client.
  defp words(message), do: String.replace(message, ~r/\AMlx\.[\w.]+: /, "")

  @doc "The answer that says it in the form of an interface."
  @spec reply(t(), form()) :: Reply.t()
  def reply(%__MODULE__{} = failure, form) do
    {status, _body} = parts(failure, form)
    Reply.json(status, body(failure, form), headers(failure.kind))
  end

  @doc "What the answer says."
  @spec body(t(), form()) :: map()
  def body(failure, form), do: failure |> parts(form) |> elem(1)

  for {kind, openai_status, openai_type, code, anthropic_status, anthropic_type} <- @rows do
    defp parts(%{kind: unquote(kind)} = failure, :openai) do
      error = %{message: failure.message, type: unquote(openai_type), param: failure.param, code: unquote(code)}
      {unquote(openai_status), %{error: error}}
    end

    defp parts(%{kind: unquote(kind)} = failure, :anthropic) do
      {unquote(anthropic_status), %{type: "error", error: %{type: unquote(anthropic_type), message: failure.message}}}
    end
  end

  defp headers(kind) when kind in [:queue_full, :busy, :shutdown], do: [{"retry-after", "1"}]
  defp headers(:unauthorized), do: [{"www-authenticate", "Bearer"}]
  defp headers(_kind), do: []
end
