defmodule Mlx.Training.TelemetryTest do
  # Handlers are those of the whole virtual machine.
  use ExUnit.Case, async: false

  alias Mlx.{TelemetryEvents, Training}

  @tag :tmp_dir
  test "reports, epochs and checkpoints are events", %{tmp_dir: folder} do
    TelemetryEvents.receive_all()
    path = Path.join(folder, "events.safetensors")
    loss = fn w, x -> Mlx.mean(Mlx.square(Mlx.subtract(w, x))) end
    options = [report_every: 2, validation: [Mlx.array([2.0])], checkpoint: path, progress: nil]
    batches = for _ <- 1..3, do: Mlx.array([2.0])
    Training.run(Mlx.array(0.0), loss, Mlx.Optimizers.SGD.new(0.5), batches, options)

    assert_received {[:mlx, :training, :report], %{loss: 2.0, steps: 2, duration: duration}, %{step: 2, epoch: 1}}
    assert duration > 0
    assert_received {[:mlx, :training, :report], %{loss: +0.0, steps: 1}, %{step: 3, epoch: 1}}
    assert_received {[:mlx, :training, :epoch], %{loss: +0.0}, %{step: 3, epoch: 1}}
    size = File.stat!(path).size
    assert_received {[:mlx, :training, :checkpoint], %{bytes: ^size}, %{step: 3, path: ^path}}
  end
end
