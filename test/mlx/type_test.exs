defmodule Mlx.TypeTest do
  use ExUnit.Case, async: true

  doctest Mlx.Type

  test "Nx's types come back as they went" do
    for type <- Mlx.Type.all(), type != :bool do
      assert type |> Mlx.Type.to_nx() |> Mlx.Type.normalize!() == type
    end

    assert Mlx.Type.to_nx(:bool) == {:u, 8}
  end

  test "sizes are those of MLX" do
    for type <- Mlx.Type.all() do
      assert Kernel.byte_size(Mlx.to_binary(Mlx.zeros({3}, type: type))) == 3 * Mlx.Type.bytes(type)
    end
  end

  test "the greatest and the least value are finite, and the next is not" do
    for type <- [:f16, :bf16, :f32, :f64] do
      assert Mlx.to_number(Mlx.array(Mlx.Type.max(type), type: type)) == Mlx.Type.max(type)
      assert Mlx.to_number(Mlx.array(Mlx.Type.min(type), type: type)) == Mlx.Type.min(type)
    end

    for type <- [:f16, :bf16, :f32] do
      assert Mlx.to_number(Mlx.array(Mlx.Type.max(type) * 1.01, type: type)) == :infinity
    end

    assert {Mlx.Type.min(:u16), Mlx.Type.max(:s64), Mlx.Type.min(:bool)} == {0, 2 ** 63 - 1, false}
    assert_raise ArgumentError, "the values of :c64 have no order", fn -> Mlx.Type.max(:c64) end
  end

  test "only complex and floating-point types have fractions" do
    assert Enum.filter(Mlx.Type.all(), &Mlx.Type.fractional?/1) == [:f16, :bf16, :f32, :f64, :c64]
  end

  test "what is no type" do
    for bad <- [:float, {:f, 8}, {:u, 128}, "f32", nil] do
      assert_raise ArgumentError, ~r/expected a type such as :f32/, fn -> Mlx.Type.normalize!(bad) end
    end
  end
end
