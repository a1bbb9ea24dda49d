defmodule Mlx.LM.Server.Client do
  @moduledoc false
  # The side of the client: a request is sent, and its events are read from the mailbox. What comes after the client has
  # stopped reading is dropped, because it is sent to an alias of the process.

  alias Mlx.LM.Server
  alias Mlx.LM.Server.{Error, Group, Models}

  @doc "Sends a request whose events come to the calling process as messages."
  @spec submit(Server.server(), Mlx.LM.prompt(), keyword(), String.t()) :: {:ok, reference()} | {:error, Error.t()}
  def submit(server, prompt, options, called) do
    again(server, fn ->
      with {:ok, server} <- find(server, called) do
        ref = make_ref()
        sent(server, {:submit, ref, self(), self(), prompt, options, called}, called, ref)
      end
    end)
  end

  # A model may be put away between being found and being asked.
  defp again({:model, _models, _name}, fun) do
    with {:error, %Error{reason: :shutdown}} <- fun.(), do: fun.()
  end

  defp again(_server, fun), do: fun.()

  @doc "The stream of the events of a request. It raises `Mlx.LM.Server.Error`."
  @spec events(Server.server(), Mlx.LM.prompt(), keyword(), String.t()) :: Enumerable.t()
  def events(server, prompt, options, called) do
    Stream.resource(fn -> start(server, prompt, options, called) end, &next/1, &leave/1)
  end

  defp start(server, prompt, options, called) do
    case again(server, fn -> started(server, prompt, options, called) end) do
      {:ok, state} -> state
      {:error, error} -> raise error
    end
  end

  defp started(server, prompt, options, called) do
    with {:ok, server} <- find(server, called) do
      ref = Process.monitor(server, alias: :demonitor)

      case sent(server, {:submit, ref, ref, self(), prompt, options, called}, called, ref) do
        {:ok, ref} ->
          {:ok, {server, ref, called}}

        {:error, error} ->
          Process.demonitor(ref, [:flush])
          {:error, error}
      end
    end
  end

  defp next({:done, _ref} = state), do: {:halt, state}

  defp next({_server, ref, called} = state) do
    receive do
      {Server, ^ref, {:error, error}} ->
        Process.demonitor(ref, [:flush])
        raise error

      {Server, ^ref, {:done, _response} = event} ->
        {[event], {:done, ref}}

      {Server, ^ref, event} ->
        {[event], state}

      {:DOWN, ^ref, :process, _server, reason} ->
        raise down(reason, called)
    end
  end

  defp leave({:done, ref}), do: forget(ref)

  defp leave({server, ref, _called}) do
    GenServer.cast(server, {:cancel, ref})
    forget(ref)
  end

  # The alias goes with the monitor, so that nothing comes after it. What is there already goes, too.
  defp forget(ref) do
    Process.demonitor(ref, [:flush])
    flush(ref)
  end

  @doc "Drops the events of a request that are in the mailbox."
  @spec flush(reference()) :: :ok
  def flush(ref) do
    receive do
      {Server, ^ref, _event} -> flush(ref)
    after
      0 -> :ok
    end
  end

  defp sent(server, message, called, ref) do
    case GenServer.call(server, message, :infinity) do
      :ok -> {:ok, ref}
      {:error, error} -> {:error, error}
    end
  catch
    :exit, {reason, _call} -> {:error, down(reason, called)}
  end

  @doc "The process of a server, or an error where there is none."
  @spec find(Server.server(), String.t()) :: {:ok, GenServer.server()} | {:error, Error.t()}
  def find({:group, group}, called) do
    case Group.member(group) do
      nil -> {:error, Error.new(:shutdown, "#{called}: no server is in the group #{inspect(group)}")}
      server -> {:ok, server}
    end
  end

  def find({:model, models, name}, called) do
    with {:error, error} <- Models.server(models, name) do
      {:error, %{error | message: String.replace_prefix(error.message, "Mlx.LM.Server.Models.server", called)}}
    end
  catch
    :exit, {reason, _call} -> {:error, down(reason, called)}
  end

  def find(server, called) do
    case GenServer.whereis(server) do
      nil -> {:error, Error.new(:shutdown, "#{called}: there is no server #{inspect(server)}")}
      server -> {:ok, server}
    end
  end

  @doc "The processes that may have a request: of a group all."
  @spec all(Server.server()) :: [GenServer.server()]
  def all({:group, group}), do: Group.members(group)
  def all({:model, models, name}), do: for({:ok, server} <- [Models.server(models, name)], do: server)
  def all(server), do: server |> GenServer.whereis() |> List.wrap()

  defp down(reason, called)
       when reason in [:noproc, :normal, :shutdown, :noconnection] or elem(reason, 0) == :shutdown do
    Error.new(:shutdown, "#{called}: the server is not there (#{inspect(reason)})")
  end

  defp down(reason, called), do: Error.new(:failed, "#{called}: the server has failed (#{inspect(reason, limit: 20)})")
end
