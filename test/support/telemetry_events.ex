defmodule Mlx.TelemetryEvents do
  @moduledoc """
  What `:telemetry` gives a test: the events as messages `{event, measurements, metadata}`.

  Where the library is not there, a module of its name stands in, an application that is started and stopped as the library's
  is, with as much of it as Mlx and the tests call.
  """

  @stand_in (quote do
               # The handlers, `{id, event, handler, config}`.
               defp handlers, do: :persistent_term.get(__MODULE__, [])

               def attach_many(id, events, handler, config) do
                 :persistent_term.put(__MODULE__, for(event <- events, do: {id, event, handler, config}) ++ handlers())
               end

               def detach(id),
                 do: :persistent_term.put(__MODULE__, for(other <- handlers(), elem(other, 0) != id, do: other))

               def execute(event, measurements, metadata) do
                 for {_id, ^event, handler, config} <- handlers(), do: handler.(event, measurements, metadata, config)
                 :ok
               end

               def span(event, metadata, fun) do
                 started = System.monotonic_time()
                 execute(event ++ [:start], %{monotonic_time: started, system_time: System.system_time()}, metadata)

                 try do
                   fun.()
                 catch
                   kind, reason ->
                     metadata = Map.merge(metadata, %{kind: kind, reason: reason, stacktrace: __STACKTRACE__})
                     execute(event ++ [:exception], times(started), metadata)
                     :erlang.raise(kind, reason, __STACKTRACE__)
                 else
                   {result, metadata} ->
                     execute(event ++ [:stop], times(started), metadata)
                     result
                 end
               end

               defp times(started) do
                 now = System.monotonic_time()
                 %{monotonic_time: now, duration: now - started}
               end
             end)

  @doc "Has the events of Mlx sent to the calling process until the test ends. The test must not be async."
  @spec receive_all() :: :ok
  def receive_all do
    stands_in = load() == :stand_in
    start()
    id = make_ref()
    attach(id)

    ExUnit.Callbacks.on_exit(fn ->
      apply(:telemetry, :detach, [id])
      if stands_in, do: unload()
      forget()
    end)
  end

  @doc "Loads the library, or what stands in for it, and says which."
  @spec load() :: :library | :stand_in
  def load do
    if Code.ensure_loaded?(:telemetry) do
      :library
    else
      Module.create(:telemetry, @stand_in, Macro.Env.location(__ENV__))
      :ok = :application.load({:application, :telemetry, [vsn: ~c"0", modules: [:telemetry], applications: [:kernel]]})
      :stand_in
    end
  end

  @doc "Starts it."
  @spec start() :: :ok
  def start do
    {:ok, _started} = Application.ensure_all_started(:telemetry)
    forget()
  end

  @doc "Has the events sent to the calling process."
  @spec attach(term()) :: :ok
  def attach(id) do
    :ok = apply(:telemetry, :attach_many, [id, Mlx.Telemetry.events(), &__MODULE__.send_event/4, self()])
  end

  @doc "Has `Mlx.Telemetry` look again whether the library is there and wanted."
  @spec forget() :: :ok
  def forget do
    :persistent_term.erase(Mlx.Telemetry)
    :ok
  end

  @doc false
  def send_event(event, measurements, metadata, receiver), do: send(receiver, {event, measurements, metadata})

  defp unload do
    ExUnit.CaptureLog.capture_log(fn -> :ok = Application.stop(:telemetry) end)
    :ok = Application.unload(:telemetry)
    :code.delete(:telemetry)
    :code.purge(:telemetry)
  end
end
