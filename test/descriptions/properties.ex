defmodule Mlx.Descriptions.Properties do
  @moduledoc "What is known of an array without its values, and its values read."

  use Mlx.Description

  import Mlx.Differential.Input, only: [random: 1, random: 2]
  import Mlx.Differential.Operands

  alias Mlx.Conformance.{Reading, Types}
  alias Mlx.Description

  # `tolist` gives numbers, of which Python makes `float32` and `int32` again.
  @readable Mlx.Type.all() -- [:c64, :u64, :s64]

  @doc "The descriptions."
  def operations, do: Enum.map(of_an_array() ++ of_types() ++ values(), &without_arrays/1)

  defp without_arrays(%Description{} = operation) do
    %{operation | no_gradient: "gives no fractions", not_mapped: "gives no arrays"}
  end

  defp of_an_array do
    [
      operation(:shape,
        python: python("array.shape", [self: :array], note: "also the field :shape"),
        draw: fn -> of_one("%.shape") end
      ),
      operation(:rank, python: python("array.ndim", self: :array), draw: fn -> of_one("%.ndim") end),
      operation(:size, python: python("array.size", self: :array), draw: fn -> of_one("%.size") end),
      operation(:byte_size, python: python("array.nbytes", self: :array), draw: fn -> of_one("%.nbytes") end),
      operation(:axis_size, draw: &axis_size/0)
    ]
  end

  defp of_types do
    [
      Description.new(Mlx.Type, :result_type,
        python:
          python("result_type", [arrays_and_dtypes: variadic(:any)],
            adapter: &Types.result_type/3,
            note: "the arrays and types are a list"
          ),
        draw: &result_type/0
      ),
      Description.new(Mlx.Type, :can_cast?,
        python: python("can_cast", [from_: :any, to: :type], adapter: &Types.can_cast/3),
        draw: &can_cast/0
      )
    ]
  end

  defp values do
    [
      operation(:to_list,
        python:
          python("array.tolist", [self: :array],
            adapter: &Reading.to_list/3,
            elixir: ~w[Mlx.to_list/1 Mlx.to_number/1],
            note: "an array without axes is read with Mlx.to_number/1"
          ),
        draw: &to_list/0
      ),
      operation(:to_flat_list, draw: &to_flat_list/0),
      operation(:to_number,
        python: python("array.item", [self: :array], adapter: &Reading.number/3),
        examples: [item: [[array({})]]],
        draw: &to_number/0
      )
    ]
  end

  defp of_one(python) do
    x = random("x")
    {[x], String.replace(python, "%", "#{x}")}
  end

  defp axis_size do
    x = random("x", shape: shape(rank: 1..4))
    axis = axis(x.shape)
    {[x, axis], "#{x}.shape[#{axis}]"}
  end

  defp array_or_type(name), do: one_of([type(), type(), random(name, shape: {2})])

  defp result_type do
    arguments = for name <- Enum.take(~w(a b c), one_of(1..3)), do: array_or_type(name)
    {[arguments], Python.call("mx.result_type", arguments)}
  end

  defp can_cast do
    arguments = [array_or_type("a"), type()]
    {arguments, Python.call("mx.can_cast", arguments)}
  end

  defp to_list do
    x = random("x", shape: shape(rank: 1..3, empty: false), type: @readable)
    {[x], "#{x}.tolist()"}
  end

  defp to_flat_list do
    x = random("x", shape: shape(empty: false), type: @readable)
    {[x], "#{x}.flatten().tolist()"}
  end

  defp to_number do
    x = random("x", shape: one_of([{}, {1}, {1, 1}]), type: @readable)
    {[x], "#{x}.item()"}
  end
end
