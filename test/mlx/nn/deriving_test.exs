defmodule Mlx.NN.DerivingTest do
  use ExUnit.Case, async: true

  alias Mlx.{ChildVM, NN}

  defmodule Scale do
    @derive {NN.Layer, kept: [:mean]}
    defstruct [:weight, :mean]

    def call(%__MODULE__{weight: weight, mean: mean}, x), do: x |> Mlx.subtract(mean) |> Mlx.multiply(weight)
  end

  defmodule Silent do
    @derive {NN.Layer, inspect: false}
    defstruct [:weight]
  end

  defmodule Other do
    defstruct [:weight]

    def call(%__MODULE__{}, x), do: x
  end

  @layer %{weight: 2.0, mean: 1.0}

  test "a derived layer is called, kept in part, and shown without its elements" do
    layer = struct!(Scale, Map.new(@layer, fn {field, number} -> {field, Mlx.array([number])} end))
    assert [3.0] |> Mlx.array() |> NN.forward(layer) |> Mlx.to_list() == [4.0]
    assert {trained, frozen} = NN.freeze(layer)
    assert Mlx.Tree.flatten(trained) |> Enum.map(&elem(&1, 0)) == ["weight"]
    assert Mlx.Tree.flatten(frozen) |> Enum.map(&elem(&1, 0)) == ["mean"]
    assert inspect(layer) == "#Mlx.NN.DerivingTest.Scale<weight: f32[1], mean: f32[1]>"
    assert inspect(%Silent{}) == "%Mlx.NN.DerivingTest.Silent{weight: nil}"
  end

  test "structs that derive nothing, and those without call/2, are no layers" do
    for other <- [%Other{}, %Silent{}, :atom, %{}] do
      assert_raise ArgumentError, ~r/Mlx.NN.Layer.call: expected a layer, which is a struct that derives/, fn ->
        NN.Layer.call(other, Mlx.array([1.0]))
      end
    end
  end

  test "a layer that a script defines after protocols were consolidated" do
    code =
      quote do
        for protocol <- [Mlx.NN.Layer, Inspect] do
          {:ok, binary} = Protocol.consolidate(protocol, Protocol.extract_impls(protocol, :code.get_path()))
          {:module, _module} = :code.load_binary(protocol, ~c"consolidated", binary)
        end

        Code.eval_string("""
        defmodule Late do
          @derive Mlx.NN.Layer
          defstruct [:weight]
          def call(layer, x), do: Mlx.multiply(x, layer.weight)
        end
        """)

        IO.write(Mlx.NN.Layer.call(struct!(Late, weight: 3), Mlx.array(2)) |> Mlx.to_number())
      end

    assert ChildVM.run(code) == {:exit, 0, "6"}
  end
end
