defmodule Mlx.Training.Prefetch do
  @moduledoc false
  # Batches that a process makes while the device works.
  #
  # The process hands over as many as it was asked for, and is asked for another one when one is taken. It ends with the
  # process that takes them, and what it raises is raised there.

  alias Mlx.{Device, Random}

  @doc """
  A stream of what the Enumerable that `batches` returns has, with its arrays evaluated, `ahead` of them before they are
  taken. Random numbers without a key come from the sequence of `key` there.
  """
  @spec stream((-> Enumerable.t()), Mlx.Array.t(), pos_integer()) :: Enumerable.t()
  def stream(batches, key, ahead) do
    Stream.resource(fn -> start(batches, key, ahead) end, &next/1, &stop/1)
  end

  defp start(batches, key, ahead) do
    consumer = self()
    device = Device.default()
    {producer, monitor} = spawn_monitor(fn -> produce(consumer, device, key, batches) end)
    # One more is in its hands.
    for _ <- 2..ahead//1, do: send(producer, {:more, consumer})
    {producer, monitor}
  end

  defp next({producer, monitor} = source) do
    send(producer, {:more, self()})

    receive do
      {^producer, {:batch, batch}} ->
        {[batch], source}

      {^producer, :done} ->
        {:halt, source}

      {^producer, {:raised, kind, reason, stacktrace}} ->
        :erlang.raise(kind, reason, stacktrace)

      {:DOWN, ^monitor, :process, ^producer, reason} ->
        exit(reason)
    end
  end

  # The process may have ended, and its end may have been told of.
  defp stop({producer, monitor}) do
    Process.demonitor(monitor, [:flush])
    monitor = Process.monitor(producer)
    Process.exit(producer, :kill)

    receive do
      {:DOWN, ^monitor, :process, ^producer, _reason} -> forget(producer)
    end
  end

  # What the process sent before.
  defp forget(producer) do
    receive do
      {^producer, _message} -> forget(producer)
    after
      0 -> :ok
    end
  end

  defp produce(consumer, device, key, batches) do
    monitor = Process.monitor(consumer)
    Random.seed(key)
    Mlx.with_device(device, fn -> for batch <- batches.(), do: hand(Mlx.eval(batch), consumer, monitor) end)
    send(consumer, {self(), :done})
  catch
    kind, reason -> send(consumer, {self(), {:raised, kind, reason, __STACKTRACE__}})
  end

  defp hand(batch, consumer, monitor) do
    receive do
      {:more, ^consumer} -> send(consumer, {self(), {:batch, batch}})
      {:DOWN, ^monitor, :process, ^consumer, _reason} -> exit(:normal)
    end
  end
end
