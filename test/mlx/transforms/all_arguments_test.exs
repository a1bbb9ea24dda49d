defmodule Mlx.Transforms.AllArgumentsTest do
  # A derivative reaches every array of an operation here, and also its numbers, integers and booleans: they are computed
  # from what is differentiated. MLX's own derivatives expect that it reaches only some.
  use ExUnit.Case, async: true

  alias Mlx.{Argument, Array, Descriptions, Native}

  @folder System.tmp_dir!()

  for name <- Enum.sort(Descriptions.native_functions()) do
    test "derivatives reach every argument of #{name}" do
      for example <- Descriptions.examples(unquote(name)), numbers? <- [false, true] do
        arguments = Argument.build(example, @folder)
        loss = fn x -> unquote(name) |> called(depending(arguments, x, numbers?)) |> summed() end
        check(fn -> Mlx.grad(loss).(Mlx.array(1.0)) end)
        check(fn -> loss |> Mlx.jvp([Mlx.array(1.0)], [Mlx.array(1.0)]) |> elem(1) end)
        check(fn -> Mlx.grad(&(Mlx.checkpoint(loss).(&1) |> Mlx.multiply(2.0))).(Mlx.array(1.0)) end)
      end
    end
  end

  # Not every operation has a derivative, or takes an array in the place of a number.
  defp check(differentiate) do
    derivative =
      try do
        differentiate.()
      rescue
        error in [ArgumentError, Mlx.Error, FunctionClauseError, UndefinedFunctionError] -> error
      end

    if is_struct(derivative, Array) do
      assert derivative.shape == {}
      assert derivative |> Mlx.to_number() |> is_number() or derivative |> Mlx.to_number() |> is_atom()
    end
  end

  defp called(name, arguments), do: apply(Native, name, arguments)

  defp depending(%Array{type: :bool} = array, x, _numbers?), do: Mlx.logical_or(array, nothing(x, :bool))
  defp depending(%Array{type: type} = array, x, _numbers?), do: Mlx.add(array, nothing(x, type))
  defp depending(list, x, numbers?) when is_list(list), do: Enum.map(list, &depending(&1, x, numbers?))
  defp depending(number, x, true) when is_float(number), do: Mlx.add(number, nothing(x, :f32))
  defp depending(argument, _x, _numbers?), do: argument

  defp nothing(x, type), do: x |> Mlx.multiply(0.0) |> Mlx.as_type(type)

  defp summed(results) do
    for array <- arrays(results), reduce: Mlx.array(0.0) do
      sum -> array |> real() |> Mlx.as_type(:f32) |> Mlx.sum() |> Mlx.add(sum)
    end
  end

  defp real(%Array{type: :c64} = array), do: Mlx.real(array)
  defp real(array), do: array

  defp arrays(%Array{} = array), do: [array]
  defp arrays(list) when is_list(list), do: Enum.flat_map(list, &arrays/1)
  defp arrays(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> arrays()
  defp arrays(_other), do: []
end
