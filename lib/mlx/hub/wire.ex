defmodule Mlx.Hub.Wire do
  @moduledoc false
  # A connection that carries bytes, with TLS or without. It ends with the process that made it.

  alias Mlx.Hub.Certificates

  @type t :: {:gen_tcp, :gen_tcp.socket()} | {:ssl, :ssl.sslsocket()}

  @doc "A connection of this scheme."
  @spec connect(String.t(), String.t(), :inet.port_number(), list(), timeout()) :: {:ok, t()} | {:error, term()}
  def connect(scheme, host, port, options, timeout) do
    # A host that has no address of the usual kind may have one of the other.
    with {:error, reason} when reason in [:nxdomain, :eafnosupport, :enetunreach, :ehostunreach, :einval] <-
           connect_by(:inet, scheme, host, port, options, timeout),
         {:error, _other} <- connect_by(:inet6, scheme, host, port, options, timeout) do
      {:error, {:connect, reason}}
    else
      {:error, {:tls_alert, _alert} = reason} -> {:error, reason}
      {:error, reason} -> {:error, {:connect, reason}}
      {:ok, wire} -> {:ok, wire}
    end
  end

  defp connect_by(family, "http", host, port, options, timeout) do
    with {:ok, socket} <- :gen_tcp.connect(to_charlist(host), port, [family | options], timeout),
         do: {:ok, {:gen_tcp, socket}}
  end

  defp connect_by(family, "https", host, port, options, timeout) do
    start()

    with {:ok, socket} <- :ssl.connect(to_charlist(host), port, [family | options] ++ Certificates.options(), timeout),
         do: {:ok, {:ssl, socket}}
  end

  @doc "The connection with TLS from now on, with a server of this name."
  @spec secure(t(), String.t(), timeout()) :: {:ok, t()} | {:error, term()}
  def secure({:gen_tcp, socket}, host, timeout) do
    start()
    options = [server_name_indication: to_charlist(host)] ++ Certificates.options()
    with {:ok, socket} <- :ssl.connect(socket, options, timeout), do: {:ok, {:ssl, socket}}
  end

  # It runs in a virtual machine that is asked for something by https, and in no other.
  defp start, do: {:ok, _started} = Application.ensure_all_started(:ssl)

  @doc "Sends bytes."
  @spec send(t(), iodata()) :: :ok | {:error, term()}
  def send({module, socket}, bytes), do: module.send(socket, bytes)

  @doc "The bytes that are there, or those that come next."
  @spec receive(t(), timeout()) :: {:ok, binary()} | {:error, term()}
  def receive({module, socket}, timeout), do: module.recv(socket, 0, timeout)

  @doc "Ends the connection."
  @spec close(t()) :: :ok
  def close({module, socket}) do
    module.close(socket)
    :ok
  end
end
