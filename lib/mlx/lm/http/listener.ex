defmodule Mlx.LM.HTTP.Listener do
  @moduledoc false
  # Listens, and gives each connection to a process of its own, which the supervisor of connections has. At the end no
  # connection is taken any more, and those that answer have the time of `:drain`.

  use GenServer

  alias Mlx.LM.HTTP.{Connection, Settings}

  @acceptors 4

  @spec start_link({Settings.t(), pid()}) :: GenServer.on_start()
  def start_link({settings, connections}), do: GenServer.start_link(__MODULE__, {settings, connections})

  @doc "The port that is listened on."
  @spec port(pid()) :: :inet.port_number()
  def port(listener), do: GenServer.call(listener, :port)

  @impl true
  def init({settings, connections}) do
    Process.flag(:trap_exit, true)

    case :gen_tcp.listen(settings.port, options(settings)) do
      {:ok, socket} ->
        for _acceptor <- 1..@acceptors, do: spawn_link(fn -> accept(socket, connections, settings) end)
        {:ok, socket}

      {:error, reason} ->
        address = "#{:inet.ntoa(settings.ip)}, port #{settings.port}"
        {:stop, {:shutdown, "Mlx.LM.HTTP: cannot listen on #{address}: #{:inet.format_error(reason)}"}}
    end
  end

  defp options(settings) do
    family = if tuple_size(settings.ip) == 8, do: [:inet6], else: []

    family ++
      [:binary, ip: settings.ip, active: false, packet: :raw, reuseaddr: true, nodelay: true, backlog: 1024] ++
      [buffer: 16_384, send_timeout: settings.send_timeout, send_timeout_close: true]
  end

  defp accept(socket, connections, settings) do
    case :gen_tcp.accept(socket) do
      {:ok, client} ->
        start(client, connections, settings)
        accept(socket, connections, settings)

      {:error, reason} when reason in [:emfile, :enfile, :econnaborted, :system_limit] ->
        Process.sleep(50)
        accept(socket, connections, settings)

      {:error, :closed} ->
        :ok

      {:error, reason} ->
        exit(reason)
    end
  end

  defp start(client, connections, settings) do
    case Task.Supervisor.start_child(connections, Connection, :serve, [client, settings], restart: :temporary) do
      {:ok, pid} ->
        case :gen_tcp.controlling_process(client, pid) do
          :ok -> send(pid, {:owner, client})
          # Its process has ended already, or the client has gone.
          {:error, _reason} -> :gen_tcp.close(client)
        end

      {:error, :max_children} ->
        Connection.refuse(client)
    end
  end

  @impl true
  def handle_call(:port, _from, socket) do
    {:ok, port} = :inet.port(socket)
    {:reply, port, socket}
  end

  @impl true
  def handle_info({:EXIT, _acceptor, reason}, socket) when reason != :normal, do: {:stop, reason, socket}
  def handle_info(_message, socket), do: {:noreply, socket}

  @impl true
  def terminate(_reason, socket), do: :gen_tcp.close(socket)
end
