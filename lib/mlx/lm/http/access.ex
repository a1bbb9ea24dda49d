defmodule Mlx.LM.HTTP.Access do
  @moduledoc false
  # Who may ask: the keys, the names of the host, and pages of other origins (CORS).

  alias Mlx.LM.HTTP.{Failure, Reply, Request, Settings}

  @local ["localhost", "127.0.0.1", "[::1]"]

  @doc "Checks the key of a request. All keys are compared, in a time that does not tell how much of one was right."
  @spec check_key!(Request.t(), Settings.t()) :: :ok
  def check_key!(_request, %Settings{keys: []}), do: :ok

  def check_key!(request, settings) do
    given = :crypto.hash(:sha256, given(request))
    right = for {:sha256, digest} <- settings.keys, :crypto.hash_equals(digest, given), do: digest

    if right == [],
      do: Failure.fail!(:unauthorized, "the key is missing or wrong: send it as Authorization: Bearer KEY")

    :ok
  end

  defp given(request) do
    case Request.header(request, "authorization") do
      <<scheme::binary-size(7), key::binary>> when scheme in ["Bearer ", "bearer "] -> String.trim(key)
      _other -> Request.header(request, "x-api-key") || ""
    end
  end

  @doc """
  Checks the name of the host, where the server is only reached from this machine and has no keys: otherwise a page could
  reach it under a name of its own.
  """
  @spec check_host!(Request.t(), Settings.t()) :: :ok
  def check_host!(%Request{loopback: true} = request, %Settings{keys: []} = settings) do
    host = request |> Request.header("host") |> to_string() |> String.downcase() |> String.replace(~r/:\d+\z/, "")

    if host != "" and host not in @local and host not in settings.hosts,
      do:
        Failure.fail!(
          :forbidden,
          "the host #{inspect(host)} is not one of this server's; the option :hosts names others"
        )

    :ok
  end

  def check_host!(_request, _settings), do: :ok

  @doc "Whether a page of another origin that may not ask has sent the request."
  @spec check_origin!(Request.t(), Settings.t()) :: :ok
  def check_origin!(request, settings) do
    origin = Request.header(request, "origin")

    if origin != nil and not allowed?(origin, settings) and not same?(origin, request),
      do:
        Failure.fail!(:forbidden, "pages of #{inspect(origin)} may not ask this server; the option :origins lets them")

    :ok
  end

  defp allowed?(_origin, %Settings{origins: :any}), do: true
  defp allowed?(origin, settings), do: origin in settings.origins

  # The page of this server itself.
  defp same?(origin, request), do: String.replace(origin, ~r/\Ahttps?:\/\//, "") == Request.header(request, "host")

  @doc "The answer with the headers by which a browser gives it to the page that asked."
  @spec shared(Reply.t(), Request.t() | nil, Settings.t()) :: Reply.t()
  def shared(reply, nil, _settings), do: reply

  def shared(reply, request, settings) do
    origin = Request.header(request, "origin")

    if origin != nil and allowed?(origin, settings),
      do: %{reply | headers: reply.headers ++ [{"access-control-allow-origin", origin}, {"vary", "origin"}]},
      else: reply
  end

  @doc "The answer to a browser that asks what a page may send."
  @spec preflight([String.t()]) :: Reply.t()
  def preflight(methods) do
    %Reply{
      status: 204,
      headers: [
        {"access-control-allow-methods", Enum.join(methods, ", ")},
        {"access-control-allow-headers",
         "authorization, content-type, x-api-key, anthropic-version, anthropic-beta, " <>
           "anthropic-dangerous-direct-browser-access, x-stainless-arch, x-stainless-lang, x-stainless-os, " <>
           "x-stainless-package-version, x-stainless-runtime, x-stainless-runtime-version, x-stainless-retry-count, " <>
           "x-stainless-timeout, x-stainless-helper-method"},
        {"access-control-max-age", "600"}
      ]
    }
  end
end
