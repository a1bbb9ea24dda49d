defmodule Mlx.LM.HTTP.Head do
  @moduledoc false
  # The head of a request of HTTP 1.0 and 1.1, read from its bytes, and what it says of the body.

  alias Mlx.LM.HTTP.Request

  @most_headers 100

  defstruct [:request, version: {1, 1}, close: false, expect: false, body: {:length, 0}]

  @typedoc "How the body comes: so many bytes, or in chunks."
  @type body :: {:length, non_neg_integer()} | :chunked
  @type t :: %__MODULE__{
          request: Request.t(),
          version: {integer(), integer()},
          close: boolean(),
          expect: boolean(),
          body: body()
        }

  @doc "Reads a head, which ends with an empty line. The error is a kind of `Mlx.LM.HTTP.Failure` and a sentence."
  @spec parse(binary()) :: {:ok, t()} | {:error, atom(), String.t()}
  def parse(bytes) do
    with {:ok, method, path, query, version, rest} <- line(bytes),
         {:ok, headers} <- headers(rest, []),
         request = %Request{method: method, path: path, query: query, headers: headers},
         :ok <- host(request, version),
         {:ok, body} <- body(request) do
      {:ok,
       %__MODULE__{
         request: request,
         version: version,
         close: close?(request, version),
         expect: version != {1, 0} and word(request, "expect") == "100-continue",
         body: body
       }}
    end
  end

  defp line(bytes) do
    case :erlang.decode_packet(:http_bin, bytes, []) do
      {:ok, {:http_request, method, target, {1, minor}}, rest} when minor in [0, 1] ->
        with {:ok, path, query} <- target(target), do: {:ok, to_string(method), path, query, {1, minor}, rest}

      {:ok, {:http_request, _method, _target, {major, minor}}, _rest} ->
        {:error, :not_implemented, "HTTP #{major}.#{minor} is not spoken here, but HTTP 1.1"}

      _other ->
        {:error, :invalid, "this is no request of HTTP"}
    end
  end

  defp target({:abs_path, path}), do: split(path)
  defp target({:absoluteURI, _scheme, _host, _port, path}), do: split(path)
  defp target(:*), do: {:ok, "*", ""}
  defp target(_other), do: {:error, :invalid, "the target of the request is no path"}

  defp split(path) do
    case String.split(path, "?", parts: 2) do
      [path, query] -> {:ok, path, query}
      [path] -> {:ok, path, ""}
    end
  end

  defp headers(_bytes, headers) when length(headers) > @most_headers,
    do: {:error, :header_too_large, "the request has more than #{@most_headers} headers"}

  defp headers(bytes, headers) do
    case :erlang.decode_packet(:httph_bin, bytes, []) do
      {:ok, {:http_header, _bit, _field, name, value}, rest} ->
        if name == "" or name =~ ~r/[^!#$%&'*+.^_`|~0-9A-Za-z-]/,
          do: {:error, :invalid, "a header has no name that may be"},
          else: headers(rest, [{String.downcase(name, :ascii), value} | headers])

      {:ok, :http_eoh, _rest} ->
        {:ok, Enum.reverse(headers)}

      _other ->
        {:error, :invalid, "a header is none of HTTP"}
    end
  end

  defp host(_request, {1, 0}), do: :ok

  defp host(request, _version) do
    case values(request, "host") do
      [_one] -> :ok
      _other -> {:error, :invalid, "a request of HTTP 1.1 has one header host"}
    end
  end

  # What is said twice may be read in two ways, by a proxy and here, so it is refused.
  defp body(request) do
    case {values(request, "transfer-encoding"), values(request, "content-length")} do
      {[], []} -> {:ok, {:length, 0}}
      {[], [text]} -> content_length(text)
      {[coding], []} -> coding(String.downcase(coding, :ascii))
      _other -> {:error, :invalid, "the length of the body is said more than once"}
    end
  end

  defp content_length(text) do
    if text =~ ~r/\A\d{1,15}\z/,
      do: {:ok, {:length, String.to_integer(text)}},
      else: {:error, :invalid, "the header content-length is no number"}
  end

  defp coding("chunked"), do: {:ok, :chunked}
  defp coding(_other), do: {:error, :not_implemented, "the only transfer-encoding that is read is chunked"}

  defp close?(request, version) do
    options = request |> word("connection") |> String.split(~r/\s*,\s*/)
    "close" in options or (version == {1, 0} and "keep-alive" not in options)
  end

  defp values(request, name), do: for({^name, value} <- request.headers, do: value)
  defp word(request, name), do: String.downcase(Request.header(request, name) || "", :ascii)
end
