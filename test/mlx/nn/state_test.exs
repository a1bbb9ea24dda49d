defmodule Mlx.NN.StateTest do
  # What a forward pass changes comes back where the model is given, and stays nowhere else.
  use ExUnit.Case, async: true

  import Mlx.LayerOracle, only: [wave: 1, wave: 3]
  import Mlx.Oracle

  alias Mlx.{NN, Tree}
  alias Mlx.NN.{Activations, BatchNorm, Conv2d, Dropout, Layer, Linear, Losses}

  setup do
    keys = Process.get_keys()
    %{keys: keys, model: BatchNorm.new(4), x: wave({6, 4})}
  end

  defp statistics(model), do: for(array <- [model.running_mean, model.running_var], do: Mlx.to_flat_list(array))

  defp after_one(model, x), do: model |> NN.run(&NN.forward(x, &1)) |> elem(1) |> statistics()

  defp loss(model, x), do: x |> NN.forward(model) |> Mlx.square() |> Mlx.sum()

  defp assert_close(a, b) do
    for {a, b} <- Enum.zip(List.flatten(a), List.flatten(b)), do: assert_in_delta(a, b, 1.0e-5)
  end

  test "a call changes nothing, and leaves nothing in the process", %{model: model, x: x, keys: keys} do
    before = statistics(model)
    NN.forward(x, model)
    NN.run(model, &NN.forward(x, &1))
    NN.value_and_grad(&loss/2).(model, x)
    catch_error(NN.run(model, fn model -> NN.forward(x, model) && raise "stop" end))
    assert statistics(model) == before
    assert Process.get_keys() -- keys == []
  end

  test "statistics come back from a call and from a gradient", %{model: model, x: x} do
    {_y, called} = NN.run(model, &NN.forward(x, &1))
    {_value, _gradients, differentiated} = NN.value_and_grad(&loss/2).(model, x)
    assert statistics(called) != statistics(model)
    assert statistics(differentiated) == statistics(called)
    assert {called.weight, called.bias} == {model.weight, model.bias}
  end

  test "a model for use keeps its statistics", %{model: model, x: x} do
    model = NN.eval(model)
    assert {_y, ^model} = NN.run(model, &NN.forward(x, &1))
  end

  test "the innermost call with the model gets them", %{model: model, x: x} do
    {{_y, inner}, outer} = NN.run(model, fn model -> NN.run(model, &NN.forward(x, &1)) end)
    assert statistics(inner) == after_one(model, x)
    assert outer == model
  end

  describe "they come back from inside of" do
    setup %{model: model, x: x}, do: %{expected: after_one(model, x)}

    test "a compiled function, at each call", %{model: model, x: x, expected: expected} do
      compiled = Mlx.compile(&Layer.call/2)

      for _ <- 1..2 do
        {_y, after_call} = NN.run(model, fn model -> compiled.(model, x) end)
        assert_close(statistics(after_call), expected)
      end

      assert compiled.(model, x).shape == {6, 4}
      {_value, _gradients, after_call} = NN.value_and_grad(fn model, x -> Mlx.sum(compiled.(model, x)) end).(model, x)
      assert_close(statistics(after_call), expected)
    end

    test "a checkpoint, with the model given or from outside", %{model: model, x: x, expected: expected} do
      for checkpointed <- [
            fn model -> Mlx.checkpoint(&Layer.call/2).(model, x) end,
            fn model -> Mlx.checkpoint(&Layer.call(model, &1)).(x) end
          ] do
        {_y, after_call} = NN.run(model, checkpointed)
        assert statistics(after_call) == expected
        {_value, gradients, after_call} = NN.value_and_grad(&Mlx.sum(Mlx.square(checkpointed.(&1)))).(model)
        assert statistics(after_call) == expected
        {_value, others, _model} = NN.value_and_grad(&loss/2).(model, x)
        assert_close([Mlx.to_list(gradients.weight)], [Mlx.to_list(others.weight)])
      end
    end

    test "a gradient", %{model: model, x: x, expected: expected} do
      {_dx, after_call} = NN.run(model, fn model -> Mlx.grad(&loss(model, &1)).(x) end)
      assert statistics(after_call) == expected
      {_dx, after_call} = NN.run(model, fn model -> Mlx.grad(&loss/2, argnums: 1).(model, x) end)
      assert statistics(after_call) == expected
    end

    test "transforms in transforms", %{model: model, x: x, expected: expected} do
      nested = fn model, x -> Mlx.grad(Mlx.checkpoint(&loss/2), argnums: 1).(model, x) end
      {_dx, after_call} = NN.run(model, &Mlx.compile(nested).(&1, x))
      assert_close(statistics(after_call), expected)
    end

    test "slices, whose mean they are", %{model: model, x: x} do
      batches = Mlx.stack([x, wave({6, 4}, :f32, 50)])
      parts = for batch <- Mlx.unstack(batches), do: after_one(model, batch)
      mean = Enum.zip_with(parts, fn [a, b] -> Enum.zip_with(a, b, &((&1 + &2) / 2)) end)

      for mapped <- [
            fn model -> Mlx.vmap(&Layer.call(model, &1)).(batches) end,
            fn model -> Mlx.vmap(&Layer.call/2, in_axes: [nil, 0]).(model, batches) end
          ] do
        {y, after_call} = NN.run(model, mapped)
        assert y.shape == {2, 6, 4}
        assert_close(statistics(after_call), mean)
      end
    end

    test "slices of models, each with its own", %{model: model, x: x} do
      batches = Mlx.stack([x, wave({6, 4}, :f32, 50)])
      models = Tree.map(model, &Mlx.stack([&1, Mlx.multiply(2, &1)]))
      {_y, after_call} = NN.run(models, &Mlx.vmap(fn m, x -> Layer.call(m, x) end).(&1, batches))
      assert after_call.running_mean.shape == {2, 4}

      for index <- 0..1 do
        one = Tree.map(models, & &1[index])
        assert_close(statistics(Tree.map(after_call, & &1[index])), after_one(one, batches[index]))
      end
    end
  end

  test "gradients of slices of models give each its statistics", %{model: model, x: x} do
    batches = Mlx.stack([x, wave({6, 4}, :f32, 50)])
    models = Tree.map(model, &Mlx.stack([&1, &1]))
    {values, gradients, after_call} = Mlx.vmap(NN.value_and_grad(&loss/2)).(models, batches)
    assert {values.shape, gradients.weight.shape, gradients.running_mean} == {{2}, {2, 4}, nil}

    for index <- 0..1 do
      assert_close(statistics(Tree.map(after_call, & &1[index])), after_one(model, batches[index]))
    end
  end

  test "other transforms leave them as they are", %{model: model, x: x} do
    custom = Mlx.custom_function(&Layer.call/2, [])
    {_y, after_call} = NN.run(model, &custom.(&1, x))
    assert after_call == model
    {_products, after_call} = NN.run(model, &Mlx.jvp(fn x -> Layer.call(&1, x) end, [x], [x]))
    assert after_call == model
  end

  @tag :oracle
  test "of a layer that is called more than once, they are those of Python", %{x: x} do
    y = wave({6, 4}, :f32, 30)
    {_y, model} = NN.run(BatchNorm.new(4), &(x |> NN.forward(&1) |> Mlx.add(NN.forward(y, &1))))
    python = "(lambda l: [l(x), l(y), l.running_mean, l.running_var][2:])(nn.BatchNorm(4))"
    assert_oracle([model.running_mean, model.running_var], python, x: x, y: y)

    used_after = fn model ->
      NN.forward(x, model)
      NN.forward(y, NN.eval(model))
    end

    {z, _model} = NN.run(BatchNorm.new(4), used_after)
    python = "(lambda l: [l(x), l.eval(), l(y)][2])(nn.BatchNorm(4))"
    assert_oracle(z, python, x: x, y: y)
  end

  defmodule Block do
    # He et al., "Deep Residual Learning for Image Recognition" (2015), with dropout between the convolutions.
    @derive Layer
    defstruct [:conv1, :bn1, :dropout, :conv2, :bn2]

    def new(channels) do
      %__MODULE__{
        conv1: Conv2d.new(channels, channels, 3, padding: 1, bias: false),
        bn1: BatchNorm.new(channels),
        dropout: Dropout.new(p: 0.2),
        conv2: Conv2d.new(channels, channels, 3, padding: 1, bias: false),
        bn2: BatchNorm.new(channels)
      }
    end

    def call(%__MODULE__{} = block, x) do
      x
      |> NN.forward([block.conv1, block.bn1, &Activations.relu/1, block.dropout, block.conv2, block.bn2])
      |> Mlx.add(x)
      |> Activations.relu()
    end
  end

  @python_block "(lambda m: [m.__setattr__(name, layer) for name, layer in [('conv1', nn.Conv2d(3, 3, 3, padding=1, bias=False)), " <>
                  "('bn1', nn.BatchNorm(3)), ('dropout', nn.Dropout(0.2)), " <>
                  "('conv2', nn.Conv2d(3, 3, 3, padding=1, bias=False)), ('bn2', nn.BatchNorm(3))]] and m)(" <>
                  "type('Block', (nn.Module,), {'__call__': lambda m, x: nn.relu(x + m.bn2(m.conv2(m.dropout(nn.relu(m.bn1(m.conv1(x)))))))})())"

  @tag :oracle
  test "after training, a residual block has Python's parameters and statistics" do
    block = Block.new(3)
    {x, y} = {wave({4, 5, 5, 3}), wave({4, 5, 5, 3}, :f32, 11)}
    names = for {path, _array} <- Tree.flatten(block), do: path
    arrays = for {{_path, array}, index} <- Enum.with_index(Tree.flatten(block)), do: {"p#{index}", array}

    step = fn block, state ->
      {{value, gradients, block}, state} =
        Mlx.Random.with_state(state, fn -> NN.value_and_grad(&Losses.mse_loss(NN.forward(&2, &1), y)).(block, x) end)

      {value, Tree.merge(block, gradients, &descend/2), state}
    end

    python =
      "layers.trained(#{@python_block}, #{inspect(names)}, [#{Enum.map_join(arrays, ", ", &elem(&1, 0))}], x, y, 4, 0.05, 5)"

    expected = eval(python, [x: x, y: y] ++ arrays)

    for step <- [step, Mlx.compile(step)] do
      {values, {trained, _state}} =
        Enum.map_reduce(1..4, {block, Mlx.Random.key(5)}, fn _, {block, state} ->
          {value, block, state} = step.(block, state)
          {value, {block, state}}
        end)

      got = values ++ for {_path, array} <- Tree.flatten(trained), do: array
      for {a, b} <- Enum.zip(got, expected), do: assert_close([Mlx.to_flat_list(a)], [Mlx.to_flat_list(b)])
    end
  end

  defp descend(array, gradient), do: Mlx.subtract(array, Mlx.multiply(0.05, gradient))

  describe "dropout" do
    test "differs from call to call of a compiled function with a state" do
      layer = Dropout.new()
      noisy = Mlx.compile(fn state, x -> Mlx.Random.with_state(state, fn -> NN.forward(x, layer) end) end)
      {first, state} = noisy.(Mlx.Random.key(1), Mlx.ones({64}))
      {second, _state} = noisy.(state, Mlx.ones({64}))
      {again, _state} = noisy.(Mlx.Random.key(1), Mlx.ones({64}))
      assert Mlx.to_list(first) != Mlx.to_list(second)
      assert Mlx.to_list(first) == Mlx.to_list(again)
    end

    test "drops the same in a checkpoint when it is computed again" do
      layers = [Dropout.new(), Linear.new(8, 8), Dropout.new()]
      x = wave({4, 8})

      gradient = fn call ->
        Mlx.Random.seed(3)
        {value, gradients, _layers} = NN.value_and_grad(fn layers, x -> Mlx.sum(call.(layers, x)) end).(layers, x)
        [Mlx.to_number(value) | Mlx.to_flat_list(Enum.at(gradients, 1).weight)]
      end

      assert_close(gradient.(Mlx.checkpoint(&Layer.call/2)), gradient.(&Layer.call/2))
    end

    test "drops whole channels" do
      for {layer, shape, axes} <- [
            {NN.Dropout2d.new(), {2, 4, 4, 16}, [1, 2]},
            {NN.Dropout3d.new(), {2, 2, 4, 4, 16}, [1, 2, 3]}
          ] do
        y = NN.forward(Mlx.ones(shape), layer)
        assert Mlx.to_list(Mlx.reduce_max(y, axes: axes)) == Mlx.to_list(Mlx.reduce_min(y, axes: axes))
        assert y |> Mlx.to_flat_list() |> Enum.uniq() |> Enum.sort() == [0.0, 2.0]
      end
    end
  end

  test "layers can be mapped over an axis" do
    for {layer, x} <- [
          {NN.MaxPool2d.new(3), wave({2, 3, 7, 6, 2})},
          {NN.AvgPool1d.new(2, padding: 1), wave({2, 3, 5, 2})},
          {Conv2d.new(2, 3, 3), wave({2, 3, 6, 6, 2})},
          {NN.GRU.new(3, 4), wave({2, 3, 5, 3})},
          {NN.LayerNorm.new(3), wave({2, 3, 5, 3})},
          {NN.GroupNorm.new(1, 3), wave({2, 3, 5, 3})},
          {NN.MultiHeadAttention.new(4, 2), wave({2, 3, 5, 4})},
          {NN.Upsample.new(1.5, mode: :cubic), wave({2, 3, 4, 4, 2})},
          {NN.QuantizedLinear.new(64, 4), wave({2, 3, 64})}
        ] do
      one_by_one = x |> Mlx.unstack() |> Enum.map(&NN.forward(&1, layer)) |> Mlx.stack()
      mapped = Mlx.vmap(&NN.forward(&1, layer)).(x)
      assert Mlx.to_number(Mlx.all_close(mapped, one_by_one, atol: 1.0e-5)), inspect(layer)
      twice = Mlx.vmap(Mlx.vmap(&NN.forward(&1, layer))).(Mlx.new_axis(x, 0))
      assert Mlx.to_number(Mlx.all_close(twice[0], one_by_one, atol: 1.0e-5)), inspect(layer)
    end
  end
end
