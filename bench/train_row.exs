defmodule Bench.TrainRow do
  @moduledoc false
  # A row of bench/train, in a virtual machine of its own. train.py has the same.

  alias Bench.{Networks, Rounds}
  alias Mlx.{Memory, Optimizers, Random}

  @rounds 5
  # The steps of a round.
  @counts %{"cnn" => 5, "resnet18" => 1, "letters" => 3, "mlp of 300 arrays" => 10}
  @peak_steps 3
  @first_steps 100
  @steps 2000

  @doc "What a row measures, `{ours, Python's}`: the best time of a step in milliseconds, or megabytes."
  def measure(name, what) do
    Application.put_env(:mlx, :kernels, :wait)
    {:ok, _applications} = Application.ensure_all_started(:mlx)
    Random.seed(0)
    {model, optimizer, batch} = Networks.new(name)
    state = Optimizers.init(optimizer, model)
    Mlx.eval({model, state, batch})
    measured(what, name, optimizer, {model, state}, batch)
  end

  defp measured(:time, name, optimizer, start, batch) do
    count = Map.fetch!(@counts, name)
    step = Networks.compiled(optimizer)
    Process.put(:trained, train(step, start, batch, count))

    {[ours], [theirs]} =
      compare([name, "time", "compiled", "#{count}"], @rounds, fn ->
        {us, trained} = Rounds.time(fn -> train(step, Process.get(:trained), batch, count) end)
        Process.put(:trained, trained)
        us / 1000 / count
      end)

    {ours, theirs}
  end

  defp measured({:peak, kind}, name, optimizer, start, batch) do
    step = step(kind, optimizer)

    {[ours], [theirs]} =
      compare([name, "peak", "#{kind}", "#{@peak_steps}"], 1, fn ->
        :erlang.garbage_collect()
        Memory.reset_peak()
        train(step, start, batch, @peak_steps)
        Memory.peak() / 1.0e6
      end)

    {ours, theirs}
  end

  defp measured({:steady, kind}, _name, optimizer, start, batch) do
    step = step(kind, optimizer)
    trained = train(step, start, batch, @first_steps)
    first = in_use()
    trained = train(step, trained, batch, @steps - @first_steps)
    last = in_use()
    Mlx.eval(trained)
    {last, first}
  end

  # What the collector can free is not in use.
  defp in_use do
    :erlang.garbage_collect()
    Process.sleep(500)
    Memory.active() / 1.0e6
  end

  defp step(:compiled, optimizer), do: Networks.compiled(optimizer)
  defp step(:built, optimizer), do: Networks.step(optimizer)

  defp compare(arguments, rounds, ours), do: Rounds.compare("train.py", arguments, rounds, fn -> [ours.()] end)

  defp train(_step, trained, _batch, 0), do: trained

  defp train(step, {model, state}, batch, count) do
    {_loss, model, state} = Mlx.eval(step.(model, state, batch))
    train(step, {model, state}, batch, count - 1)
  end
end
