defmodule Mlx.Optimizers.MemoryTest do
  # A training that is not compiled makes hundreds of small arrays a step, which its process drops.
  use ExUnit.Case, async: false

  alias Mlx.ChildVM

  @moduletag timeout: 600_000

  @megabyte 1024 * 1024

  # In a virtual machine of its own: nothing else moves the figures.
  test "two thousand steps of AdamW that are not compiled keep memory flat" do
    code =
      quote do
        optimizer = Mlx.Optimizers.AdamW.new(0.001, bias_correction: true)
        random = fn shape -> Mlx.multiply(Mlx.Random.normal(shape), 0.1) end
        layer = fn inputs, outputs -> %{weight: random.({inputs, outputs}), bias: Mlx.zeros({outputs})} end
        model = [layer.(64, 128), layer.(128, 128), layer.(128, 10)]
        call = fn x, %{weight: weight, bias: bias} -> Mlx.tanh(Mlx.add(Mlx.matmul(x, weight), bias)) end
        loss = fn model, x -> Mlx.mean(Mlx.square(Enum.reduce(model, x, &call.(&2, &1)))) end
        gradients = Mlx.grad(loss)
        x = Mlx.eval(random.({32, 64}))

        step = fn {model, state, most} ->
          {model, state} = Mlx.eval(Mlx.Optimizers.update(optimizer, gradients.(model, x), model, state))
          {model, state, max(most, Mlx.Memory.active())}
        end

        train = fn {model, state}, steps ->
          {model, state, most} = Enum.reduce(1..steps, {model, state, 0}, fn _, training -> step.(training) end)
          {{model, state}, most}
        end

        start = {model, Mlx.Optimizers.init(optimizer, model)}
        {training, first} = train.(start, 500)
        Mlx.MemoryProbe.settle()
        before = Mlx.Memory.active()
        {training, second} = train.(training, 2_000)
        Mlx.MemoryProbe.settle()
        IO.puts("active #{before} then #{Mlx.Memory.active()} most #{first} then #{second}")
        # Both are alive up to here.
        Mlx.eval(training)
      end

    assert {:exit, 0, output} = ChildVM.run(code, timeout: 540_000)
    figures = Regex.run(~r/active (\d+) then (\d+) most (\d+) then (\d+)/, output, capture: :all_but_first)
    assert [before, later, first, second] = Enum.map(figures || flunk(output), &String.to_integer/1)
    assert later - before < @megabyte, "#{later - before} bytes more are in use"
    assert second - first < 4 * @megabyte, "#{second} bytes were in use at most, #{first} in the first steps"
  end
end
