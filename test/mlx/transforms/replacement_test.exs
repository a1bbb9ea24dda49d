defmodule Mlx.Transforms.ReplacementTest do
  use ExUnit.Case, async: true

  alias Mlx.Transforms.Replacement

  # Leaves twice what stands for the array, and returns the sum with `x`.
  defp double(array, x) do
    Replacement.leave(array, Mlx.multiply(2, Replacement.current(array)))
    Mlx.add(Replacement.current(array), x)
  end

  defp doubled(fun, arrays) do
    {_result, pairs} = Replacement.collect(fun)
    arrays |> Replacement.put(pairs) |> Mlx.Tree.map(&Mlx.to_list/1)
  end

  setup do: %{a: Mlx.array([1.0, 2.0]), x: Mlx.array([10.0, 20.0])}

  test "arrays are replaced where they are wanted, and nowhere else", %{a: a, x: x} do
    assert Mlx.to_list(double(a, x)) == [11.0, 22.0]
    refute Replacement.wanted?()
    assert doubled(fn -> double(a, x) end, %{a: a, x: [x, 1]}) == %{a: [2.0, 4.0], x: [[10.0, 20.0], 1]}
    assert doubled(fn -> [double(a, x), double(a, x)] end, [a]) == [[4.0, 8.0]]
    assert doubled(fn -> Replacement.dropped(fn -> double(a, x) end) end, [a]) == [[1.0, 2.0]]
    catch_error(Replacement.collect(fn -> raise "stop" end))
    refute Replacement.wanted?()
  end

  test "the innermost scope gets them, and sees those of the outer ones", %{a: a, x: x} do
    nested = fn ->
      double(a, x)
      send(self(), doubled(fn -> double(a, x) end, [a]))
    end

    assert doubled(nested, [a]) == [[2.0, 4.0]]
    assert_received [[4.0, 8.0]]
  end

  test "transforms leave them, for arguments and for arrays from outside", %{a: a, x: x} do
    for transform <- [
          &Mlx.checkpoint/1,
          &Mlx.compile/1,
          fn fun -> fn arguments -> Mlx.grad(&Mlx.sum(fun.(&1))).(arguments) end end,
          fn fun ->
            fn arguments -> Mlx.vmap(fun).(Mlx.Tree.map(arguments, fn array -> Mlx.new_axis(array, 0) end)) end
          end
        ] do
      from_outside = transform.(&double(a, &1))
      assert doubled(fn -> from_outside.(x) end, [a]) == [[2.0, 4.0]]
      refute Replacement.wanted?()
    end

    for transform <- [&Mlx.checkpoint/1, &Mlx.compile/1, &Mlx.vmap/1, &Mlx.grad(fn a, x -> Mlx.sum(&1.(a, x)) end)] do
      given = transform.(&double/2)
      for _ <- 1..2, do: assert(doubled(fn -> given.(a, x) end, [a]) == [[2.0, 4.0]])
      given.(a, x)
      refute Replacement.wanted?()
    end
  end

  test "of what slices leave for one array, the mean stands for it, and of integers the first", %{a: a} do
    counts = Mlx.array([3, 5])

    fun = fn x ->
      Replacement.leave(a, Mlx.multiply(a, x))
      Replacement.leave(counts, Mlx.add(counts, Mlx.as_type(x, :s32)))
    end

    mapped = fn -> Mlx.vmap(&tap(&1, fun)).(Mlx.array([2.0, 4.0])) end
    assert doubled(mapped, [a, counts]) == [[3.0, 6.0], [5, 7]]
  end

  test "what other transforms record leaves nothing", %{a: a, x: x} do
    assert doubled(fn -> Mlx.jvp(&double(a, &1), [x], [x]) end, [a]) == [[1.0, 2.0]]
    assert doubled(fn -> Mlx.vjp(&double(a, &1), [x], x) end, [a]) == [[1.0, 2.0]]
    assert doubled(fn -> Mlx.custom_function(&double/2, []).(a, x) end, [a]) == [[1.0, 2.0]]
  end
end
