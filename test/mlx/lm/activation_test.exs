defmodule Mlx.LM.ActivationTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.Activation

  @gates [
    "clipped_swiglu",
    {"clipped_swiglu", 5.0},
    {"limited_silu", 1.5},
    {"bounded_silu", 0.5},
    {"situ", {2.0, 3.0}},
    {"situ", {2.0, nil}}
  ]

  # On a GPU one kernel computes an activation of arrays of all shapes.
  test "activations and gates look at no shape" do
    for name <- Activation.names() do
      assert_same(Mlx.compile(&Activation.call(name, &1), shapeless: true), &Activation.call(name, &1), 1, name)
    end

    for name <- Activation.names() ++ @gates do
      fused = Mlx.compile(&Activation.gate(name, &1, &2), shapeless: true)
      assert_same(fused, &Activation.gate(name, &1, &2), 2, name)
    end
  end

  defp assert_same(fused, plain, arity, name) do
    for shape <- [{3, 8}, {5, 16}] do
      arguments = for seed <- 1..arity, do: Mlx.Random.normal(shape, key: Mlx.Random.key(seed))
      [given, expected] = for fun <- [fused, plain], do: apply(fun, arguments)
      assert given.shape == shape
      assert given |> Mlx.all_close(expected, rtol: 1.0e-5, atol: 1.0e-6) |> Mlx.to_number(), inspect(name)
    end
  end

  test "the gate of the greatest, which has a mean, takes every shape" do
    for shape <- [{2, 64}, {2, 128}] do
      gate = Mlx.Random.normal(shape, key: Mlx.Random.key(1))
      assert Activation.gate({"greatest_gelu", 1.0}, gate, gate).shape == shape
    end
  end
end
