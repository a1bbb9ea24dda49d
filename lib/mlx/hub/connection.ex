defmodule Mlx.Hub.Connection do
  @moduledoc false
  # One exchange with a server, by OTP's client (`:httpc`) in a profile of its own. It follows no redirect and tries nothing
  # again. What a server sends of a file comes piece by piece, and the next piece is only read when it is asked for.
  #
  # OTP's client keeps the whole of an answer that is no file, and of a chunk. A look at the memory that it holds, four times
  # a second, bounds that.

  alias Mlx.Hub.{Address, Certificates, Settings}

  @profile :mlx_hub
  @profile_by_proxy :mlx_hub_proxy

  @look 250
  @most_held 64 * 1024 * 1024

  # Pieces of 64 KB, where the default is that of one packet.
  @socket [buffer: 65_536, nodelay: true]

  defstruct [:id, :profile, :pid, :timeout, :guard, :stop]

  @type t :: %__MODULE__{}
  @type headers :: [{String.t(), String.t()}]
  @typedoc "An answer of which the body is read, or one whose body can be read piece by piece."
  @type answer :: {:whole, status :: pos_integer(), headers(), binary()} | {:pieces, headers(), t()}

  @doc """
  Sends a request and waits for the head of the answer. A stream of pieces has the status 200, or 206 where there is a header
  `content-range`. `stop` is asked while it waits.
  """
  @spec open(:get | :head, String.t(), headers(), Settings.t(), (-> boolean())) :: {:ok, answer()} | {:error, term()}
  def open(method, address, headers, settings, stop \\ fn -> false end) do
    {profile, authorization} = profile(address)
    http = [autoredirect: false, timeout: :infinity, connect_timeout: settings.connect_timeout]
    http = http ++ authorization ++ Certificates.options(address)
    options = [sync: false, body_format: :binary, socket_opts: @socket]
    options = if method == :get, do: [{:stream, {:self, :once}} | options], else: options

    case :httpc.request(method, {to_charlist(address), chars(headers)}, http, options, profile) do
      {:ok, id} ->
        connection = %__MODULE__{id: id, profile: profile, timeout: settings.timeout, stop: stop}
        await_head(%{connection | guard: guard(id, profile)}, now(), settings.connect_timeout + settings.timeout)

      {:error, reason} ->
        {:error, reason}
    end
  end

  defp await_head(%{id: id} = connection, since, timeout) do
    receive do
      {:http, {^id, :stream_start, headers, pid}} ->
        {:ok, {:pieces, strings(headers), %{connection | pid: pid}}}

      {:http, {^id, {{_version, status, _reason}, headers, body}}} ->
        close(connection)
        {:ok, whole(status, strings(headers), body, connection)}

      {:http, {^id, {:error, reason}}} ->
        close(connection)
        {:error, reason}
    after
      @look -> look(connection, since, timeout, &await_head(&1, since, timeout))
    end
  end

  # An empty body has no pieces. What was asked by `:head` is the same without a body.
  defp whole(status, headers, body, connection) when status in [200, 206],
    do: {:pieces, headers, %{connection | id: nil, pid: body}}

  defp whole(status, headers, body, _connection), do: {:whole, status, headers, body}

  @doc "The next piece of a body with what gives the one behind it, or its end, at which the connection is closed."
  @spec next(t()) :: {:ok, binary(), t()} | :done | {:error, term()}
  def next(%{id: nil, pid: ""}), do: :done
  def next(%{id: nil, pid: body} = connection), do: {:ok, body, %{connection | pid: ""}}

  def next(connection) do
    :ok = :httpc.stream_next(connection.pid)
    await_piece(connection, now())
  end

  defp await_piece(%{id: id} = connection, since) do
    receive do
      {:http, {^id, :stream, piece}} ->
        {:ok, piece, connection}

      {:http, {^id, :stream_end, _headers}} ->
        close(connection)
        :done

      {:http, {^id, {:error, reason}}} ->
        close(connection)
        {:error, reason}
    after
      @look -> look(connection, since, connection.timeout, &await_piece(&1, since))
    end
  end

  # Nothing has come for a while: whether it is worth to go on.
  defp look(connection, since, timeout, go_on) do
    cond do
      now() - since > timeout -> give_up(connection, :timeout)
      connection.stop.() -> give_up(connection, :stopped)
      held(connection) > @most_held -> give_up(connection, :too_much_at_once)
      true -> go_on.(connection)
    end
  end

  defp give_up(connection, reason) do
    close(connection)
    {:error, reason}
  end

  # How many bytes the client holds of an answer that is not complete.
  defp held(connection) do
    with pid when is_pid(pid) <- connection.pid || handler(connection),
         {:binary, binaries} <- Process.info(pid, :binary) do
      binaries |> Enum.map(&elem(&1, 1)) |> Enum.sum()
    else
      _gone -> 0
    end
  end

  defp handler(%{id: id, profile: profile}) do
    Enum.find_value(:httpc.info(profile)[:handlers] || [], fn {pid, ids, _info} -> if id in ids, do: pid end)
  catch
    # The handler may end while it is asked.
    :exit, _reason -> nil
  end

  @doc "Ends an exchange, at any time."
  @spec close(t()) :: :ok
  def close(%{id: nil}), do: :ok

  def close(%{id: id, profile: profile, guard: guard}) do
    :httpc.cancel_request(id, profile)
    send(guard, :closed)
    flush(id)
  end

  defp flush(id) do
    receive do
      {:http, {^id, _}} -> flush(id)
      {:http, {^id, _, _}} -> flush(id)
      {:http, {^id, _, _, _}} -> flush(id)
    after
      0 -> :ok
    end
  end

  # The client would wait for ever where the process that reads is gone.
  defp guard(id, profile) do
    owner = self()

    spawn(fn ->
      monitor = Process.monitor(owner)

      receive do
        :closed -> :ok
        {:DOWN, ^monitor, :process, _pid, _reason} -> :httpc.cancel_request(id, profile)
      end
    end)
  end

  @doc "Starts OTP's client, which does not start with the application."
  @spec start() :: :ok
  def start do
    {:ok, _started} = Application.ensure_all_started([:inets, :ssl])

    for profile <- [@profile, @profile_by_proxy] do
      case :inets.start(:httpc, profile: profile) do
        {:ok, _pid} -> :ok
        {:error, {:already_started, _pid}} -> :ok
      end
    end

    :ok
  end

  # A profile has one proxy. It is the same for all but those who change their environment meanwhile.
  defp profile(address) do
    case Address.proxy(address) do
      nil ->
        {@profile, []}

      {host, port, user} ->
        proxy = {{to_charlist(host), port}, []}
        :ok = :httpc.set_options([proxy: proxy, https_proxy: proxy], @profile_by_proxy)
        {@profile_by_proxy, proxy_user(user)}
    end
  end

  defp proxy_user(nil), do: []

  defp proxy_user(user) do
    [name | password] = user |> String.split(":", parts: 2) |> Enum.map(&to_charlist(URI.decode(&1)))
    [proxy_auth: {name, List.first(password) || ~c""}]
  end

  # A connection serves one request: another one would wait behind a file.
  defp chars(headers) do
    headers = [{"connection", "close"}, {"accept-encoding", "identity"}, {"user-agent", agent()} | headers]
    for {name, value} <- headers, do: {to_charlist(name), to_charlist(value)}
  end

  defp agent, do: "mlx-elixir/#{Application.spec(:mlx, :vsn)}"

  defp strings(headers) do
    for {name, value} <- headers, do: {String.downcase(List.to_string(name)), IO.iodata_to_binary(value)}
  end

  defp now, do: System.monotonic_time(:millisecond)
end
