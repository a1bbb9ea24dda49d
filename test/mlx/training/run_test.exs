defmodule Mlx.Training.RunTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureIO

  alias Mlx.{NN, Optimizers, Random, Training, Tree}
  alias Mlx.NN.{Activations, BatchNorm, Dropout, Linear, Losses}
  alias Mlx.Optimizers.{Adam, SGD}

  doctest Mlx.Training

  @rows 48

  setup do
    Random.seed(7)
    x = Random.normal({@rows, 3})
    y = x |> Mlx.sum(axes: 1, keep_axes: true) |> Mlx.tanh()
    model = [Linear.new(3, 8), &Activations.tanh/1, Linear.new(8, 1)]
    %{data: Mlx.eval(%{x: x, y: y}), model: Mlx.eval(model)}
  end

  defp loss(model, batch), do: batch.x |> NN.forward(model) |> Losses.mse_loss(batch.y)

  defp run(model, optimizer, batches, options) do
    Training.run(model, &loss/2, optimizer, batches, Keyword.merge([progress: nil, seed: 1], options))
  end

  defp bytes(container), do: for({path, array} <- Tree.flatten(container), do: {path, Mlx.to_binary(array)})

  defp values(container), do: container |> Tree.arrays() |> Enum.flat_map(&Mlx.to_flat_list/1)

  defp assert_close(a, b, delta) do
    for {a, b} <- Enum.zip_with([values(a), values(b)], &List.to_tuple/1), do: assert_in_delta(a, b, delta)
  end

  defp last_loss(%{losses: [{_step, loss} | _]}), do: loss

  describe "what is trained" do
    test "the loss falls, and the given model stays", %{data: data, model: model} do
      before = bytes(model)
      training = run(model, Adam.new(0.02), Training.batches(data, 16, shuffle: true), epochs: 20, report_every: 3)
      {3, first} = List.last(training.losses)
      assert last_loss(training) < first / 10
      assert {training.epoch, training.batch, training.step, length(training.losses)} == {20, 0, 60, 20}
      assert bytes(model) == before
    end

    test "is bit for bit that of a loop by hand", %{data: data, model: model} do
      optimizer = Adam.new(0.01)
      batches = Enum.to_list(Training.batches(data, 16))
      training = run(model, optimizer, batches, epochs: 3)

      step =
        Mlx.compile(fn model, state, batch ->
          {_value, gradients, model} = NN.value_and_grad(&loss/2).(model, batch)
          Optimizers.update(optimizer, gradients, model, state)
        end)

      {model, state} =
        for _epoch <- 1..3, batch <- batches, reduce: {model, Optimizers.init(optimizer, model)} do
          {model, state} -> step.(model, state, batch)
        end

      assert bytes(training.model) == bytes(model)
      assert bytes(training.optimizer_state) == bytes(state)
    end

    test "a seed gives the same training, with dropout and shuffled batches", %{data: data} do
      model = [Linear.new(3, 8), Dropout.new(), Linear.new(8, 1)]

      [a, b, c] =
        for seed <- [5, 5, 6], do: run(model, SGD.new(0.1), Training.batches(data, 16, shuffle: true), seed: seed)

      assert bytes(a.model) == bytes(b.model)
      assert bytes(a.model) != bytes(c.model)
    end

    test "without a seed each training takes its random numbers from the sequence of the process", %{data: data} do
      model = [Linear.new(3, 8), Dropout.new(), Linear.new(8, 1)]
      train = fn -> Training.run(model, &loss/2, SGD.new(0.1), [data], progress: nil) end
      Random.seed(2)
      [a, b] = [train.(), train.()]
      Random.seed(2)
      assert bytes(train.().model) == bytes(a.model)
      assert bytes(a.model) != bytes(b.model)
    end

    test "batches that are accumulated are as a larger one", %{data: data, model: model} do
      for options <- [[], [clip_norm: 0.1], [frozen: "0"]] do
        whole = run(model, Adam.new(0.01), Training.batches(data, 24), [epochs: 2, report_every: 1] ++ options)

        parts =
          run(model, Adam.new(0.01), Training.batches(data, 8), [epochs: 2, report_every: 1, accumulate: 3] ++ options)

        assert whole.step == 4 and parts.step == 4
        assert_close(whole.model, parts.model, 1.0e-5)
        for {{_, a}, {_, b}} <- Enum.zip(whole.losses, parts.losses), do: assert_in_delta(a, b, 1.0e-5)
      end
    end

    test "fewer batches at the end of an epoch are a step, too", %{data: data, model: model} do
      assert run(model, SGD.new(0.1), Training.batches(data, 16), accumulate: 2, epochs: 2).step == 4
    end

    test "the norm of the gradients is bounded", %{data: data, model: model} do
      training = run(model, SGD.new(1.0), [data], clip_norm: 0.01)
      change = Tree.map(training.model, [model], &Mlx.subtract/2)
      {_clipped, norm} = Optimizers.clip_grad_norm(change, 1.0)
      assert_in_delta Mlx.to_number(norm), 0.01, 1.0e-4
    end

    test "what is frozen stays", %{data: data, model: model} do
      training = run(model, Adam.new(0.1), [data], frozen: "0", epochs: 2)
      assert bytes(hd(training.model)) == bytes(hd(model))
      assert bytes(training.model) != bytes(model)
    end

    test "weights of f32 change by what is computed in bf16", %{data: data, model: model} do
      test = self()

      spying = fn model, batch ->
        send(test, {:types, for(array <- Tree.arrays({model, batch}), uniq: true, do: array.type)})
        loss(model, batch)
      end

      training = Training.run(model, spying, Adam.new(0.01), [data], type: :bf16, epochs: 20, progress: nil)
      assert_received {:types, [:bf16]}
      assert for(array <- Tree.arrays(training.model), uniq: true, do: array.type) == [:f32]
      exact = run(model, Adam.new(0.01), [data], epochs: 20)
      assert bytes(training.model) != bytes(exact.model)
      assert_close(training.model, exact.model, 0.05)
    end

    test "running statistics come back, in f32", %{data: data} do
      for options <- [[], [type: :bf16], [accumulate: 2]] do
        model = [BatchNorm.new(3), Linear.new(3, 1)]
        [norm, _linear] = run(model, SGD.new(0.1), Training.batches(data, 24), options).model
        assert norm.running_mean.type == :f32
        assert Enum.all?(Mlx.to_list(norm.running_mean), &(&1 != 0.0))
      end
    end
  end

  describe "batches" do
    test "may be a function of the epoch", %{data: data, model: model} do
      test = self()

      batches = fn epoch ->
        send(test, {:epoch, epoch})
        [data]
      end

      run(model, SGD.new(0.1), batches, epochs: 2)
      assert_received {:epoch, 1}
      assert_received {:epoch, 2}
    end

    test "are made ahead, as many as asked for", %{data: data, model: model} do
      test = self()

      batches =
        Stream.map(1..9, fn number ->
          send(test, {:made, number})
          data
        end)

      callback = fn :report, %{step: 1} ->
        assert_receive {:made, 4}
        refute_receive {:made, 5}, 50
        :halt
      end

      run(model, SGD.new(0.1), batches, prefetch: 3, report_every: 1, callbacks: [callback])
      assert run(model, SGD.new(0.1), batches, prefetch: 1).step == 9
    end

    test "what they raise is raised, and their process ends", %{data: data, model: model} do
      batches =
        Stream.map(1..9, fn
          3 -> raise "no third batch"
          _other -> data
        end)

      assert_raise RuntimeError, "no third batch", fn -> run(model, SGD.new(0.1), batches, []) end
      assert Process.info(self(), :messages) == {:messages, []}
      assert Process.info(self(), :monitors) == {:monitors, []}
    end

    test "their process ends with a training that is stopped", %{data: data, model: model} do
      test = self()

      batches =
        Stream.repeatedly(fn ->
          send(test, {:from, self()})
          data
        end)

      training = run(model, SGD.new(0.1), batches, callbacks: [fn :report, _training -> :halt end])
      assert training.step == 10
      assert_received {:from, producer}
      monitor = Process.monitor(producer)
      assert_receive {:DOWN, ^monitor, :process, ^producer, _reason}
    end

    test "of one size only, in another order each time", %{data: data} do
      batches = Training.batches(data, 20, shuffle: true, drop_last: true)
      Random.seed(3)
      [first, second] = for _ <- 1..2, do: Enum.to_list(batches)
      assert for(batch <- first, do: batch.x.shape) == [{20, 3}, {20, 3}]
      assert bytes(first) != bytes(second)
      all = Training.batches(data, 20, shuffle: true) |> Enum.flat_map(&Mlx.to_list(&1.y)) |> Enum.sort()
      assert all == Enum.sort(Mlx.to_list(data.y))
    end
  end

  describe "what is said of it" do
    test "validation and metrics, by the model for use", %{data: data} do
      model = [Linear.new(3, 8), Dropout.new(p: 0.9), Linear.new(8, 1)]

      worst = fn model, batch ->
        batch.x |> NN.forward(model) |> Mlx.subtract(batch.y) |> Mlx.abs() |> Mlx.reduce_max()
      end

      validation = Training.batches(data, 32)
      training = run(model, SGD.new(0.1), [data], epochs: 2, validation: validation, metrics: [worst: worst])
      assert [{2, values}, {1, _first}] = training.validations
      assert values == Training.evaluate(training.model, [loss: &loss/2, worst: worst], validation)
      # Of batches of two sizes it is the mean of the rows.
      whole = Mlx.to_number(loss(NN.eval(training.model), data))
      assert_in_delta values.loss, whole, 1.0e-5
      assert [training: [{2, _loss}], validation: [{1, _}, {2, _}]] = Training.curve(%{training | losses: [{2, 1.0}]})
    end

    test "it stops when the validation gets no better", %{data: data, model: model} do
      rising = fn _model, _batch -> Mlx.array(1.0) end
      options = [epochs: 9, validation: [data], metrics: [constant: rising]]
      stopping = [metric: :constant, patience: 2]
      assert %{epoch: 3, best: 1.0, waited: 2} = run(model, SGD.new(0.1), [data], [early_stopping: stopping] ++ options)
      assert %{epoch: 9, waited: 0} = run(model, SGD.new(0.01), [data], [early_stopping: []] ++ options)
      assert %{epoch: 2} = run(model, SGD.new(0.01), [data], [early_stopping: [mode: :max]] ++ options)
      assert %{epoch: 2} = run(model, SGD.new(0.01), [data], [early_stopping: [min_delta: 10.0]] ++ options)
    end

    test "callbacks get events and may stop it", %{data: data, model: model} do
      test = self()

      callback = fn event, training ->
        send(test, {event, training.epoch, training.step})
        if {event, training.epoch} == {:epoch, 2}, do: :halt
      end

      training = run(model, SGD.new(0.1), [data, data], epochs: 5, report_every: 1, callbacks: [callback])
      assert training.epoch == 2
      {:messages, messages} = Process.info(self(), :messages)

      assert messages == [
               {:report, 0, 1},
               {:report, 0, 2},
               {:epoch, 1, 2},
               {:report, 1, 3},
               {:report, 1, 4},
               {:epoch, 2, 4}
             ]
    end

    test "progress goes to a device, and nowhere where there is none", %{data: data, model: model} do
      {:ok, device} = StringIO.open("")
      options = [epochs: 2, validation: [data], progress: device]
      assert capture_io(fn -> run(model, SGD.new(0.1), [data], options) end) == ""
      {_input, output} = StringIO.contents(device)
      assert output =~ ~r"epoch 1/2  step 1  loss \d\.\d{4}  \d+\.\d steps/s  validation loss \d\.\d{4}\n"
      assert output =~ "epoch 2/2  step 2"
      assert capture_io(fn -> run(model, SGD.new(0.1), [data], []) end) == ""
      assert capture_io(fn -> run(model, SGD.new(0.1), [data], progress: :stdio) end) =~ "epoch 1/1"
    end
  end

  describe "wrong arguments" do
    test "say what was expected", %{data: data, model: model} do
      for {options, message} <- [
            {[epochs: 0], "expected :epochs to be an integer of at least 1, got: 0"},
            {[epochs: 1.0], "expected :epochs to be an integer of at least 1, got: 1.0"},
            {[epochs: nil], "expected :epochs to be an integer of at least 1, got: nil"},
            {[callbacks: nil], "expected :callbacks to be a list of functions of two arguments, got: nil"},
            {[resume: nil], "expected :resume to be true or false, got: nil"},
            {[clip_norm: -1], "expected :clip_norm to be a number of at least 0, or nil, got: -1"},
            {[type: :s8], "expected :type to be :bf16, :f16, :f32 or nil, got: :s8"},
            {[checkpoint: "model.npz"],
             ~s(expected :checkpoint to be the path of a file that ends in .safetensors, or nil, got: "model.npz")},
            {[callbacks: [&Mlx.exp/1]],
             "expected :callbacks to be a list of functions of two arguments, got: [&Mlx.exp/1]"},
            {[metrics: [sum: &Mlx.add/2]],
             "the option :metrics needs :validation, the batches that the metrics are computed of"},
            {[early_stopping: []],
             "the option :early_stopping needs :validation, the batches whose loss or metric it watches"},
            {[validation: [data], early_stopping: [metric: :accuracy]],
             "expected :metric of :early_stopping to be one of :loss, got: :accuracy"},
            {[validation: [data], early_stopping: [patience: 0]],
             "expected :patience of :early_stopping to be an integer of at least 1, got: 0"},
            {[checkpoint_every: 5], "the option :checkpoint_every needs :checkpoint, the path of the file"},
            {[resume: true], "the option :resume needs :checkpoint, the path of the file"}
          ] do
        assert_raise ArgumentError, "Mlx.Training.run: " <> message, fn -> run(model, SGD.new(0.1), [data], options) end
      end
    end

    test "a model without arrays, batches that are none, and another optimizer", %{data: data, model: model} do
      assert_raise ArgumentError, ~r/^Mlx.Training.run: expected a model with arrays to train, got: :model/, fn ->
        run(:model, SGD.new(0.1), [data], [])
      end

      assert_raise ArgumentError, ~r/^Mlx.Training.run: the batches of epoch 1 are none; give an Enumerable/, fn ->
        run(model, SGD.new(0.1), [], [])
      end

      assert_raise ArgumentError, ~r/^Mlx.Training.run: the batches of :validation are none/, fn ->
        run(model, SGD.new(0.1), [data], validation: [])
      end

      assert_raise ArgumentError, ~r/^Mlx.Training.run: expected batches, an Enumerable or a function/, fn ->
        run(model, SGD.new(0.1), 5, [])
      end

      assert_raise ArgumentError, ~r/^Mlx.Training.run: expected a path, a regular expression, .* got: nil/, fn ->
        run(model, SGD.new(0.1), [data], frozen: nil)
      end

      for other <- [model, hd(model)] do
        assert_raise ArgumentError, ~r/^Mlx.Training.run: expected an optimizer such as/, fn ->
          run(model, other, [data], [])
        end
      end

      message = "Mlx.Training.batches: expected arrays with a first axis of the same size, got the shapes {2}, {3}"
      assert_raise ArgumentError, message, fn -> Training.batches([Mlx.zeros({2}), Mlx.zeros({3})], 1) end
    end
  end
end
