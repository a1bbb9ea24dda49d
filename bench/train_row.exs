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
    # Nothing else holds them, so that they are free when the next ones are there.
    Process.put(:trained, {model, state})
    measured(what, name, optimizer, batch)
  end

  defp measured(:time, name, optimizer, batch) do
    count = Map.fetch!(@counts, name)
    step = Networks.compiled(optimizer)
    train(step, batch, count)

    compare([name, "time", "compiled", "#{count}"], @rounds, fn ->
      {us, _trained} = Rounds.time(fn -> train(step, batch, count) end)
      us / 1000 / count
    end)
  end

  defp measured({:peak, kind}, name, optimizer, batch) do
    step = step(kind, optimizer)

    compare([name, "peak", "#{kind}", "#{@peak_steps}"], 1, fn ->
      :erlang.garbage_collect()
      Memory.reset_peak()
      train(step, batch, @peak_steps)
      Memory.peak() / 1.0e6
    end)
  end

  defp measured({:steady, kind}, _name, optimizer, batch) do
    step = step(kind, optimizer)
    train(step, batch, @first_steps)
    first = in_use()
    train(step, batch, @steps - @first_steps)
    {in_use(), first}
  end

  # What the collector can free is not in use.
  defp in_use do
    :erlang.garbage_collect()
    Process.sleep(500)
    Memory.active() / 1.0e6
  end

  defp step(:compiled, optimizer), do: Networks.compiled(optimizer)
  defp step(:built, optimizer), do: Networks.step(optimizer)

  defp compare(arguments, rounds, ours) do
    {[ours], [theirs]} = Rounds.compare("train.py", arguments, rounds, fn -> [ours.()] end)
    {ours, theirs}
  end

  defp train(step, batch, count), do: Process.put(:trained, steps(step, Process.delete(:trained), batch, count))

  defp steps(_step, trained, _batch, 0), do: trained

  defp steps(step, {model, state}, batch, count) do
    {_loss, model, state} = Mlx.eval(step.(model, state, batch))
    steps(step, {model, state}, batch, count - 1)
  end
end
