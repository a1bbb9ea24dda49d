defmodule Mlx.NN.ShardingTest do
  # Layers in parts, beside the same layers as a whole.
  use ExUnit.Case, async: true

  alias Mlx.{NN, Ring}

  @moduletag :tmp_dir
  @moduletag timeout: 300_000

  # Prints whether what is computed in parts equals what is computed as a whole.
  defp compare(folder, size, code) do
    code =
      quote do
        alias Mlx.{NN, Tree}
        alias Mlx.NN.{Activations, Linear}

        Mlx.Random.seed(5)
        x = Mlx.Random.normal({3, 8})
        y = Mlx.Random.normal({3, 8})

        close = fn name, a, b ->
          pairs = Enum.zip(Tree.arrays(a), Tree.arrays(b))
          equal = fn {a, b} -> Mlx.to_number(Mlx.all_close(a, b, rtol: 1.0e-4, atol: 1.0e-5)) end
          same = length(Tree.arrays(a)) == length(Tree.arrays(b)) and pairs != [] and Enum.all?(pairs, equal)
          IO.puts("#{name} #{same}")
        end

        loss = fn model, x, y -> x |> NN.forward(model) |> Mlx.subtract(y) |> Mlx.square() |> Mlx.mean() end
        gradients = fn model, x, y -> model |> NN.value_and_grad(loss).(x, y) |> elem(1) end
        _ = {x, y, close, gradients, &Activations.relu/1, Linear}
        unquote(code)
      end

    for output <- Ring.run(size, folder, code) do
      assert is_binary(output), inspect(output)
      lines = String.split(output, "\n", trim: true)
      assert lines != []
      assert Enum.reject(lines, &String.ends_with?(&1, " true")) == []
      length(lines)
    end
  end

  test "linear layers give the outputs and gradients of whole ones", %{tmp_dir: folder} do
    code =
      quote do
        whole = [Linear.new(8, 12), &Activations.gelu/1, Linear.new(12, 8)]

        parts =
          NN.map_layers(whole, fn
            "0", layer -> NN.shard_linear(layer, :all_to_sharded)
            "2", layer -> NN.shard_linear(layer, :sharded_to_all)
          end)

        close.("outputs", NN.forward(x, whole), NN.forward(x, parts))
        forward = Mlx.compile(fn model, x -> NN.forward(x, model) end)
        close.("compiled outputs", NN.forward(x, whole), forward.(parts, x))

        # The gradients of the parts are the parts of the gradients.
        [first, _, last] = gradients.(whole, x, y)
        [part, _, other] = gradients.(parts, x, y)
        close.("gradients", NN.shard(first, :all_to_sharded), %{weight: part.weight, bias: part.bias})
        close.("more gradients", NN.shard(last, :sharded_to_all), %{weight: other.weight, bias: other.bias})

        of_input = fn model -> Mlx.grad(fn x -> loss.(model, x, y) end).(x) end
        close.("gradient of the input", of_input.(whole), of_input.(parts))

        close.(
          "compiled gradient of the input",
          of_input.(whole),
          Mlx.compile(fn x -> Mlx.grad(fn x -> loss.(parts, x, y) end).(x) end).(x)
        )
      end

    assert compare(folder, 2, code) == [6, 6]
  end

  test "quantized layers give the outputs of whole ones, and what is left out says so", %{tmp_dir: folder} do
    code =
      quote do
        x = Mlx.Random.normal({3, 128})
        whole = NN.quantize([Linear.new(128, 64), &Activations.relu/1, Linear.new(64, 8)], group_size: 32)

        parts =
          NN.map_layers(whole, fn
            "0", layer -> NN.shard_linear(layer, :all_to_sharded)
            "2", layer -> NN.shard_linear(layer, :sharded_to_all)
          end)

        close.("outputs", NN.forward(x, whole), NN.forward(x, parts))
        of_input = fn model -> Mlx.grad(fn x -> Mlx.sum(NN.forward(x, model)) end).(x) end
        close.("gradient", of_input.(whole), of_input.(parts))

        for {message, call} <- [
              {"expected an axis that 2 processes can share equally, got: 3",
               fn -> NN.shard_linear(Linear.new(2, 3), :all_to_sharded) end},
              {"Mlx.NN.ShardedToAllLinear.new: expected input_dims that 2 processes can share equally, got: 3",
               fn -> NN.ShardedToAllLinear.new(3, 2) end},
              {"Mlx.NN.FullyShardedModule.new: expected arrays of at least one axis, but a has none",
               fn -> NN.FullyShardedModule.new(%{a: Mlx.array(1)}) end}
            ] do
          try do
            call.()
            IO.puts("no error")
          rescue
            error in ArgumentError -> IO.puts("#{Exception.message(error)} #{Exception.message(error) =~ message}")
          end
        end
      end

    assert compare(folder, 2, code) == [5, 5]
  end

  test "joined weights are cut one by one", %{tmp_dir: folder} do
    code =
      quote do
        rank = group.rank
        layer = %Linear{weight: Mlx.reshape(Mlx.arange(24), {12, 2}), bias: Mlx.arange(12)}

        rows = fn layer -> layer.bias end
        thirds = Mlx.array(Enum.at([[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]], rank))
        close.("segments", rows.(NN.shard(layer, :all_to_sharded, segments: 3)), thirds)

        uneven = Mlx.array(Enum.at([[0, 1, 2, 3, 8, 10], [4, 5, 6, 7, 9, 11]], rank))
        close.("positions", rows.(NN.shard(layer, :all_to_sharded, segments: [8, 10])), uneven)

        half = Mlx.array(Enum.at([[0, 1, 2, 6, 7, 8], [3, 4, 5, 9, 10, 11]], rank))
        close.("fractions", rows.(NN.shard(layer, :all_to_sharded, segments: [0.5])), half)

        own = NN.shard(layer, fn path, _array -> if path == "weight", do: {0, 1} end)
        close.("a function", [own.bias, own.weight], [layer.bias, layer.weight[(rank * 6)..(rank * 6 + 5)]])
      end

    assert compare(folder, 2, code) == [4, 4]
  end

  test "fully sharded layers train as whole ones do", %{tmp_dir: folder} do
    code =
      quote do
        whole = [Linear.new(8, 12), &Activations.relu/1, Linear.new(12, 8)]
        parts = NN.map_layers(whole, fn _path, layer -> NN.fully_shard(layer) end)
        close.("outputs", NN.forward(x, whole), NN.forward(x, parts))
        forward = Mlx.compile(fn model, x -> NN.forward(x, model) end)
        close.("compiled outputs", NN.forward(x, whole), forward.(parts, x))

        # Each process has other data; the gradient is the mean of all, cut.
        {x, y} = {Mlx.add(x, group.rank), Mlx.subtract(y, group.rank)}
        mean = whole |> gradients.(x, y) |> NN.average_gradients()
        close.("gradients", NN.shard(mean, fn _path, _array -> 0 end), gradients.(parts, x, y))

        half = NN.fully_shard(Linear.new(8, 4), compute_type: :bf16)
        IO.puts("types #{NN.forward(Mlx.as_type(x, :bf16), half).type == :bf16 and half.module.weight.type == :f32}")
        table = NN.Embedding.new(6, 8)
        close.("as_linear", NN.Embedding.as_linear(table, x), NN.FullyShardedModule.as_linear(NN.fully_shard(table), x))
      end

    assert compare(folder, 2, code) == [5, 5]
  end

  test "gradients are averaged together and one by one, of all types", %{tmp_dir: folder} do
    code =
      quote do
        gradients = %{
          a: Mlx.multiply(Mlx.ones({3, 2}), group.rank),
          b: nil,
          c: [Mlx.array(group.rank * 2.0), Mlx.multiply(Mlx.ones({4}, type: :bf16), group.rank)],
          d: {Mlx.multiply(Mlx.arange(5, type: :f32), group.rank)}
        }

        expected = %{
          a: Mlx.ones({3, 2}),
          b: nil,
          c: [Mlx.array(2.0), Mlx.ones({4}, type: :bf16)],
          d: {Mlx.arange(5, type: :f32)}
        }

        for options <- [[], [all_reduce_size: 0], [all_reduce_size: 24], [communication_type: :f16], [group: group]] do
          average = NN.average_gradients(gradients, options)
          close.(inspect(options), expected, average)
          IO.puts("types #{for(a <- Tree.arrays(average), do: a.type) == for(a <- Tree.arrays(expected), do: a.type)}")
        end

        close.("compiled", expected, Mlx.compile(&NN.average_gradients/1).(gradients))
      end

    assert compare(folder, 3, code) == [11, 11, 11]
  end

  test "wrong arguments raise" do
    linear = NN.Linear.new(2, 2)

    for {message, call} <- [
          {~r/^Mlx.NN.shard: expected :group to be a Mlx.Distributed.Group, got: 1/,
           fn -> NN.shard(linear, :all_to_sharded, group: 1) end},
          {~r/^Mlx.NN.shard: expected :all_to_sharded, :sharded_to_all, or a function/,
           fn -> NN.shard(linear, :all) end},
          {~r/^Mlx.NN.shard: bias: expected nil, an axis of an array of the shape \{2\}/,
           fn -> NN.shard(linear, fn _path, _array -> 2 end) end},
          {~r/^Mlx.NN.shard_linear: /, fn -> NN.shard_linear(linear, :all) end},
          {~r/^Mlx.NN.average_gradients: expected :all_reduce_size/,
           fn -> NN.average_gradients(linear, all_reduce_size: 1.5) end},
          {~r/^Mlx.NN.average_gradients: unknown option :groups/, fn -> NN.average_gradients(linear, groups: 1) end}
        ] do
      assert_raise ArgumentError, message, call
    end
  end

  test "a group is no layer of a model, and is shown beside its arrays" do
    layer = NN.AllToShardedLinear.new(2, 4)
    assert NN.layers(%{up: layer}) == [{"up", layer}]

    assert inspect(layer) ==
             "#Mlx.NN.AllToShardedLinear<weight: f32[4][2], bias: f32[4], group: #Mlx.Distributed.Group<rank 0 of 1>>"
  end
end
