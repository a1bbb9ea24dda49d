defmodule Mlx.Training.MemoryTest do
  use ExUnit.Case, async: true

  alias Mlx.ChildVM

  @moduletag timeout: 600_000

  # The model is so small that an array left behind by each step would be more than a tenth of all that is in use.
  @setting (quote do
              alias Mlx.{MemoryProbe, NN, Optimizers, Random, Training, Tree}
              Random.seed(1)
              model = Mlx.eval([NN.Linear.new(4, 8), NN.BatchNorm.new(8), NN.Dropout.new(), NN.Linear.new(8, 1)])
              data = Mlx.eval(%{x: Random.normal({60, 4}), y: Random.normal({60, 1})})
              loss = fn model, batch -> batch.x |> NN.forward(model) |> NN.Losses.mse_loss(batch.y) end
              optimizer = Optimizers.AdamW.new(0.001)

              show = fn step ->
                MemoryProbe.settle()
                IO.puts("#{step} #{Mlx.Memory.active()}")
              end
            end)

  defp figures(code) do
    assert {:exit, 0, output} = ChildVM.run([@setting, code] |> block(), timeout: 540_000)
    lines = output |> String.split("\n", trim: true) |> Enum.map(&String.split/1)
    assert [["100", early], ["600", late]] = lines, output
    {String.to_integer(early), String.to_integer(late)}
  end

  defp block(parts), do: {:__block__, [], parts}

  defp assert_flat({early, late}) do
    assert early > 0
    assert late <= 1.1 * early, "#{early} bytes were in use after 100 steps, and #{late} after 600"
  end

  test "after 600 steps of a training there is as much in use as after 100" do
    code =
      quote do
        callback = fn event, training ->
          if event == :report and training.step in [100, 600], do: show.(training.step)
        end

        options = [epochs: 100, seed: 1, report_every: 50, progress: nil, callbacks: [callback]]
        Training.run(model, loss, optimizer, Training.batches(data, 10, shuffle: true), options)
      end

    assert_flat(figures(code))
  end

  test "so there is with batches that are accumulated" do
    code =
      quote do
        callback = fn event, training ->
          if event == :report and training.step in [100, 600], do: show.(training.step)
        end

        options = [epochs: 200, seed: 1, report_every: 50, accumulate: 2, progress: nil, callbacks: [callback]]
        Training.run(model, loss, optimizer, Training.batches(data, 10, shuffle: true), options)
      end

    assert_flat(figures(code))
  end

  test "so there is in a loop that compiles nothing" do
    code =
      quote do
        step = fn {model, state} ->
          {_value, gradients, model} = NN.value_and_grad(loss).(model, data)
          Mlx.eval(Optimizers.update(optimizer, gradients, model, state))
        end

        # No variable keeps an earlier training.
        Enum.reduce(1..600, {model, Optimizers.init(optimizer, model)}, fn number, training ->
          training = step.(training)
          if number in [100, 600], do: show.(number)
          training
        end)
      end

    assert_flat(figures(code))
  end
end
