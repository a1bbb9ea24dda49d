defmodule Mlx.Training.ResumeTest do
  use ExUnit.Case, async: true

  alias Mlx.{ChildVM, NN, Training, Tree}
  alias Mlx.NN.{Dropout, Linear, Losses}
  alias Mlx.Optimizers.Adam

  @moduletag :tmp_dir
  @moduletag timeout: 300_000

  @killed 137

  # A training of random numbers in all that it does: initial weights, data, order, dropout, noise in the batches. It kills
  # its virtual machine at a step.
  defp training(path, killed_at) do
    quote do
      alias Mlx.{NN, Random, Training}
      Random.seed(3)
      {path, killed_at} = {unquote(path), unquote(killed_at)}
      model = [NN.Linear.new(4, 8), NN.BatchNorm.new(8), NN.Dropout.new(), NN.Linear.new(8, 1)]
      data = %{x: Random.normal({40, 4}), y: Random.normal({40, 1})}
      loss = fn model, batch -> batch.x |> NN.forward(model) |> NN.Losses.mse_loss(batch.y) end

      batches =
        data
        |> Training.batches(4, shuffle: true)
        |> Stream.map(fn batch -> %{batch | x: Mlx.add(batch.x, Random.normal(batch.x.shape))} end)

      kill = fn event, training ->
        IO.puts("#{event} #{training.step}")
        if training.step == killed_at, do: System.cmd("kill", ["-KILL", System.pid()])
      end

      training =
        Training.run(model, loss, Mlx.Optimizers.Adam.new(0.01), batches,
          epochs: 3,
          seed: 5,
          accumulate: 2,
          report_every: 1,
          checkpoint: path,
          checkpoint_every: 3,
          resume: true,
          validation: [data],
          early_stopping: [patience: 100],
          callbacks: [kill],
          progress: nil
        )

      IO.inspect({training.losses, training.validations, training.best}, limit: :infinity, width: :infinity)
    end
  end

  test "a training that was killed and resumed ends with the same bytes", %{tmp_dir: folder} do
    whole = Path.join(folder, "whole.safetensors")
    killed = Path.join(folder, "killed.safetensors")
    assert {:exit, 0, output} = ChildVM.run(training(whole, nil))
    assert [{"report", 1} | _] = events(output)

    # In the first epoch before there is a file, in the second one between two files, and in the third.
    for step <- [2, 8, 14], do: assert({:exit, @killed, _output} = ChildVM.run(training(killed, step)))
    assert {:exit, 0, resumed} = ChildVM.run(training(killed, nil))
    assert events(resumed) == [{"report", 13}, {"report", 14}, {"report", 15}, {"epoch", 15}]
    assert result(resumed) == result(output)
    assert File.read!(killed) == File.read!(whole)
  end

  defp events(output) do
    for [_all, event, step] <- Regex.scan(~r/^(report|epoch) (\d+)$/m, output), do: {event, String.to_integer(step)}
  end

  defp result(output), do: output |> String.split("\n", trim: true) |> List.last()

  test "a disk that is full leaves the last checkpoint whole", %{tmp_dir: folder} do
    path = Path.join(folder, "full.safetensors")

    code =
      quote do
        alias Mlx.{NN, Training}
        path = unquote(path)
        loss = fn model, x -> x |> NN.forward(model) |> Mlx.square() |> Mlx.mean() end
        # Reports make the file larger, until the limit is met.
        options = [epochs: 500, report_every: 1, checkpoint: path, progress: nil, seed: 1]

        try do
          Training.run(NN.Linear.new(8, 8), loss, Mlx.Optimizers.SGD.new(0.1), [Mlx.ones({4, 8})], options)
        rescue
          error in Mlx.Error -> IO.puts(error.message)
        end
      end

    limited = ["sh", "-c", ~S(trap "" XFSZ; ulimit -f 8; exec "$@"), "sh"]
    assert {:exit, 0, output} = ChildVM.run(code, through: limited, kernels: :never)
    assert output =~ "Mlx.IO.save: cannot write #{path}"
    assert File.ls!(folder) == ["full.safetensors"]
    arrays = Mlx.IO.load(path)
    assert [epoch, 0, step, 0] = Mlx.to_list(arrays["counts"])
    assert epoch == step and epoch > 10
    assert length(Mlx.to_list(arrays["losses.value"])) == step
  end

  defp loss(model, batch), do: batch.x |> NN.forward(model) |> Losses.mse_loss(batch.y)

  defp run(model, options) do
    Mlx.Random.seed(1)
    data = %{x: Mlx.Random.normal({12, 3}), y: Mlx.zeros({12, 1})}
    options = Keyword.merge([seed: 1, progress: nil], options)
    Training.run(model, &loss/2, Adam.new(0.01), Training.batches(data, 4, shuffle: true), options)
  end

  defp model, do: [Linear.new(3, 4), Dropout.new(), Linear.new(4, 1)]

  defp all(training), do: Tree.map(training, &Mlx.to_binary/1)

  test "a training of more epochs goes on where one of fewer ended", %{tmp_dir: folder} do
    path = Path.join(folder, "epochs.safetensors")
    model = model()
    whole = run(model, epochs: 4)
    assert %{epoch: 2} = run(model, epochs: 2, checkpoint: path)
    assert all(run(model, epochs: 4, checkpoint: path, resume: true)) == all(whole)
    # There is nothing left to do.
    assert all(run(model, epochs: 4, checkpoint: path, resume: true)) == all(whole)
  end

  test "another learning rate is refused, because that of the file counts", %{tmp_dir: folder} do
    options = [epochs: 2, checkpoint: Path.join(folder, "rate.safetensors"), resume: true, seed: 1, progress: nil]
    batches = [Mlx.ones({2, 3})]
    loss = fn model, batch -> batch |> Mlx.NN.forward(model) |> Mlx.square() |> Mlx.mean() end
    train = fn optimizer, options -> Training.run(Linear.new(3, 1), loss, optimizer, batches, options) end
    assert %{step: 1} = train.(Adam.new(0.01), Keyword.put(options, :epochs, 1))

    assert_raise ArgumentError,
                 ~r/^Mlx.Training.run: expected the learning rate of .*rate.safetensors, .* 0\.0099.*, got: 0\.02; give that one/,
                 fn -> train.(Adam.new(0.02), options) end

    assert %{step: 2} = train.(Adam.new(0.01), options)
  end

  test "a training that a callback stopped goes on there", %{tmp_dir: folder} do
    path = Path.join(folder, "stopped.safetensors")
    model = model()
    whole = run(model, epochs: 3, report_every: 1)
    stop = fn _event, training -> if training.step == 4, do: :halt end
    assert %{step: 4, batch: 1} = run(model, epochs: 3, report_every: 1, checkpoint: path, callbacks: [stop])
    assert all(run(model, epochs: 3, report_every: 1, checkpoint: path, resume: true)) == all(whole)
  end

  test "without :resume it begins anew", %{tmp_dir: folder} do
    path = Path.join(folder, "anew.safetensors")
    model = model()
    first = run(model, checkpoint: path)
    assert all(run(model, checkpoint: path)) == all(first)
  end

  test "a checkpoint holds the weights by their names, and what is not finite", %{tmp_dir: folder} do
    path = Path.join(folder, "names.safetensors")
    infinite = fn _model, _batch -> Mlx.array(:infinity) end

    options = [
      checkpoint: path,
      validation: [%{x: Mlx.zeros({1, 3}), y: Mlx.zeros({1, 1})}],
      metrics: [infinite: infinite]
    ]

    training = run(model(), options)
    arrays = Mlx.IO.load(path)
    assert Mlx.to_list(arrays["model.0.weight"]) == Mlx.to_list(hd(training.model).weight)
    assert [{3, %{infinite: :infinity}}] = training.validations
    assert run(model(), [resume: true] ++ options).validations == training.validations
  end

  test "a file that does not fit says so", %{tmp_dir: folder} do
    path = Path.join(folder, "other.safetensors")
    run(model(), checkpoint: path)

    assert_raise ArgumentError,
                 ~r/^Mlx.Training.run: .* holds model.0.bias of the shape \{4\} and type :f32, expected \{5\}/,
                 fn ->
                   run([Linear.new(3, 5), Dropout.new(), Linear.new(5, 1)], checkpoint: path, resume: true)
                 end

    assert_raise ArgumentError, ~r/^Mlx.Training.run: .*other.safetensors does not fit the model: /, fn ->
      run([Linear.new(3, 1)], checkpoint: path, resume: true)
    end

    Mlx.IO.save(path, %{"x" => Mlx.array(1)})

    assert_raise ArgumentError, ~r/is not the checkpoint of a training, it has no "counts"/, fn ->
      run(model(), checkpoint: path, resume: true)
    end
  end
end
