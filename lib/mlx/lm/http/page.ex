defmodule Mlx.LM.HTTP.Page do
  @moduledoc false
  # The page at `/`, on which to try a model. It is one file that asks for nothing but this server.

  alias Mlx.LM.HTTP.{Failure, Reply, Request, Settings}

  @file_of_page Path.join(__DIR__, "page.html")
  @external_resource @file_of_page
  @page File.read!(@file_of_page)

  @policy "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; " <>
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

  @spec call(Request.t(), Settings.t()) :: Reply.t()
  def call(_request, %Settings{page: false}), do: Failure.fail!(:not_found, "this server has no page")

  def call(_request, _settings) do
    headers = [
      {"content-type", "text/html; charset=utf-8"},
      {"content-security-policy", @policy},
      {"x-content-type-options", "nosniff"},
      {"referrer-policy", "no-referrer"}
    ]

    %Reply{status: 200, headers: headers, body: @page}
  end
end
