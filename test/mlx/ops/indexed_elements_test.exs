defmodule Mlx.Ops.IndexedElementsTest do
  use ExUnit.Case

  import Mlx.Oracle

  # The oracle of updates is numpy: Python MLX updates with fewer kinds of indices than it reads with.

  # update, and the call that does it in place in numpy
  @updates [
    {&Mlx.put_at/3, "x.__setitem__(index, v)"},
    {&Mlx.add_at/3, "np.add.at(x, index, v)"},
    {&Mlx.subtract_at/3, "np.subtract.at(x, index, v)"},
    {&Mlx.multiply_at/3, "np.multiply.at(x, index, v)"},
    {&Mlx.max_at/3, "np.maximum.at(x, index, v)"},
    {&Mlx.min_at/3, "np.minimum.at(x, index, v)"}
  ]

  describe "compared with Python" do
    @describetag :oracle

    test "reading" do
      :rand.seed(:exsss, {1, 2, 3})

      for _ <- 1..500 do
        {x, index, python, arrays} = random_case()
        assert_oracle(Mlx.at(x, index), "x[#{python}]", [x: x] ++ arrays)
      end
    end

    test "ranges that reach outside" do
      for size <- [0, 1, 4],
          x = Mlx.iota({size}),
          first <- -6..6,
          last <- -6..6,
          step <- [1, 2, 5, -1, -2, -5],
          not (step < 0 and first >= 0 and last < 0) do
        # The end that is included in Elixir; `None` is what lies before the first element.
        stop = if step > 0, do: last + 1, else: last - 1
        stop = if stop == if(step > 0, do: 0, else: -1) and last in [-1, 0], do: "None", else: stop
        assert_oracle(x[first..last//step], "x[#{first}:#{stop}:#{step}]", x: x)
      end
    end

    test "updating, compared with numpy" do
      :rand.seed(:exsss, {4, 5, 6})

      for _ <- 1..100, {update, call} <- @updates do
        {x, index, python, arrays} = random_case()
        values = random_values(Mlx.at(x, index).shape)
        names = Enum.map_join(arrays, "", fn {name, _} -> ", #{name}" end)
        in_place = "(lambda np, x, v#{names}: (lambda index: (#{call}, x)[1])((#{python})))"
        numpy = "#{in_place}(np := __import__('numpy'), *map(np.array, (x, v#{names})))"
        assert_oracle(update.(x, index, values), numpy, [x: x, v: values] ++ arrays)
      end
    end

    test "dividing" do
      x = Mlx.array([[1.0, 2.0], [3.0, 4.0]])
      assert_oracle(Mlx.divide_at(x, [.., 0], 3), "x.at[:, 0].divide(3)", x: x)
      assert_oracle(Mlx.divide_at(x, [[0, 0]], 3.0), "x.at[mx.array([0, 0])].divide(3)", x: x)
    end

    test "numbers take the type of the array" do
      for type <- Mlx.Type.all() -- [:bool, :c64] do
        x = Mlx.array([1, 2, 3], type: type)
        assert_oracle(Mlx.put_at(x, 1, 7), "(x.__setitem__(1, 7), x)[1]", x: x)
        assert_oracle(Mlx.add_at(x, 0..1, 2), "x.at[0:2].add(2)", x: x)
      end
    end

    test "masks" do
      x = Mlx.reshape(Mlx.arange(6), {2, 3})
      mask = Mlx.array([[true, false, true], [false, false, true]])
      rows = Mlx.array([false, true])
      set = "(x.__setitem__(m, v), x)[1]"
      assert_oracle(Mlx.put_at(x, mask, 9), "(x.__setitem__(m, 9), x)[1]", x: x, m: mask)
      v = Mlx.array([7, 8, 9])
      assert_oracle(Mlx.put_at(x, mask, v), set, x: x, m: mask, v: v)
      assert_oracle(Mlx.put_at(x, rows, v), set, x: x, m: rows, v: v)
    end
  end

  test "repeated indices add up" do
    assert [2.0, 1.0] = Mlx.to_list(Mlx.add_at(Mlx.zeros({2}), [[0, 1, 0]], 1))
    assert [4, 3] = Mlx.to_list(Mlx.multiply_at(Mlx.array([1, 3]), [[0, 0]], 2))
  end

  test "Access reads and updates" do
    x = Mlx.array([[1, 2], [3, 4]])
    assert [3, 4] = Mlx.to_list(x[1])
    assert [[1, 2], [30, 40]] = x |> update_in([1], &Mlx.multiply(&1, 10)) |> Mlx.to_list()
    assert [[0, 2], [0, 4]] = x |> put_in([[.., 0]], 0) |> Mlx.to_list()
  end

  test "an empty index is the array" do
    x = Mlx.array([1, 2])
    assert x[[]].shape == {2}
    assert Mlx.array(5)[[]].shape == {}
    assert Mlx.array(5)[:new_axis].shape == {1}
    assert Mlx.array(5)[:...].shape == {}
  end

  test "zero-size axes and selections" do
    x = Mlx.zeros({0, 3})
    assert x[..].shape == {0, 3}
    assert x[[.., 1]].shape == {0}
    assert x[[[]]].shape == {0, 3}
    assert Mlx.put_at(Mlx.array([1, 2]), 1..0//1, 5) |> Mlx.to_list() == [1, 2]
    assert_raise ArgumentError, ~r/axis 0 of size 0/, fn -> x[0] end
    assert_raise ArgumentError, ~r/axis 0 of size 0/, fn -> x[Mlx.array([0])] end
  end

  test "what cannot select" do
    x = Mlx.array([[1, 2], [3, 4]])
    assert_raise ArgumentError, ~r/boolean mask/, fn -> x[Mlx.greater(x, 2)] end
    assert_raise ArgumentError, ~r/boolean mask/, fn -> Mlx.add_at(x, Mlx.greater(x, 2), 1) end
    none = Mlx.zeros({0})
    assert_raise ArgumentError, ~r/no values/, fn -> Mlx.put_at(x, Mlx.greater(x, 2), none) end
    assert_raise ArgumentError, ~r/integer type, got: :f32/, fn -> x[Mlx.array([0.0])] end
    assert_raise ArgumentError, ~r/do not broadcast/, fn -> Mlx.put_at(x, [[0, 1], [0, 1, 1]], 5) end
    assert_raise ArgumentError, ~r/do not fit/, fn -> Mlx.put_at(x, 0, Mlx.zeros({2, 2})) end
    assert_raise Mlx.Error, fn -> Mlx.put_at(x, 0, Mlx.zeros({3})) end
    assert_raise Mlx.Error, fn -> x[[Mlx.array([0, 1]), Mlx.array([0, 1, 1])]] end
  end

  test "index arrays out of bounds are clamped" do
    x = Mlx.array([10, 20, 30])
    assert [30, 10, 10, 30] = Mlx.to_list(x[Mlx.array([1000, -1000, 0, -1])])
    assert [10, 20, 5] = Mlx.to_list(Mlx.put_at(x, Mlx.array([99]), 5))
  end

  test "or checked, when the configuration says so" do
    Application.put_env(:mlx, :bounds_check, :raise)
    on_exit(fn -> Application.delete_env(:mlx, :bounds_check) end)
    x = Mlx.array([10, 20, 30])
    assert [30, 10] = Mlx.to_list(x[Mlx.array([2, -3])])
    assert_raise ArgumentError, ~r/index 3 is out of bounds for axis 0 of size 3/, fn -> x[Mlx.array([0, 3])] end
    assert_raise ArgumentError, ~r/index -4 is out of bounds/, fn -> Mlx.take(x, Mlx.array([-4])) end
    assert_raise ArgumentError, ~r/index 3 is out of bounds/, fn -> Mlx.put_at(x, Mlx.array([3]), 1) end
  end

  test "the stream option" do
    stream = Mlx.Stream.new(:cpu)
    x = Mlx.array([1, 2, 3])
    assert [1, 3] = Mlx.to_list(Mlx.at(x, [[0, 2]], stream: stream))
    assert [1, 0, 3] = Mlx.to_list(Mlx.put_at(x, 1, 0, stream: :cpu))
    assert_raise ArgumentError, ~r/unknown option :axis/, fn -> Mlx.at(x, 0, axis: 1) end
  end

  # A random array and an index for it, the index in Python, and the arrays that both mention.

  defp random_case do
    sizes = for _ <- 1..Enum.random(1..4), do: Enum.random(1..5)
    x = Mlx.reshape(Mlx.arange(1, Enum.product(sizes) + 1), List.to_tuple(sizes))
    common = Enum.random([[], [3], [2, 1], [1, 2], [2, 3]])
    # An index is for the first axes, for all, or behind an ellipsis for the last.
    count = Enum.random(1..length(sizes))

    {mentioned, before, behind} =
      case Enum.random([:first, :first_with_ellipsis, :last]) do
        :first -> {Enum.take(sizes, count), [], []}
        :first_with_ellipsis -> {Enum.take(sizes, count), [], [{:..., "..."}]}
        :last -> {Enum.take(sizes, -count), [{:..., "..."}], []}
      end

    elements = Enum.flat_map(Enum.with_index(mentioned), fn {size, n} -> element(size, n, common) ++ new_axis() end)
    elements = before ++ elements ++ behind
    {index, python, arrays} = Enum.reduce(elements, {[], [], []}, &add_element/2)
    {x, Enum.reverse(index), Enum.join(Enum.reverse(python), ", ") <> ",", arrays}
  end

  defp add_element({index, python}, {indices, pythons, arrays}), do: {[index | indices], [python | pythons], arrays}

  defp add_element({index, python, array}, {indices, pythons, arrays}) do
    {[index | indices], [python | pythons], [{String.to_atom(python), array} | arrays]}
  end

  defp new_axis, do: if(Enum.random(1..6) == 1, do: [{:new_axis, "None"}], else: [])

  defp element(size, n, common) do
    case Enum.random([:integer, :range, :range, :full, :array, :array, :list]) do
      :integer -> [integer(size)]
      :range -> [range(size)]
      :full -> [{.., "slice(None)"}]
      :array -> [array(size, n, common)]
      :list -> [list(size, n)]
    end
  end

  defp integer(size) do
    i = Enum.random(-size..(size - 1))
    {i, "#{i}"}
  end

  defp range(size) do
    {a, b} = {Enum.random(0..(size - 1)), Enum.random(0..(size - 1))}
    step = Enum.random([1, 1, 2, 3])

    {first, last, step} =
      if Enum.random(1..3) == 1, do: {max(a, b), min(a, b), -step}, else: {min(a, b), max(a, b), step}

    stop = if step > 0, do: last + 1, else: if(last == 0, do: nil, else: last - 1)
    python = "slice(#{first}, #{stop || "None"}, #{step})"
    {Range.new(signed(first, size), signed(last, size), step), python}
  end

  # The same place, counted from either end.
  defp signed(i, size), do: Enum.random([i, i - size])

  # Distinct indices, so that it is defined what replacing does. Shapes that do not fit become 0-d.
  defp array(size, n, common) do
    shape = Enum.drop(common, Enum.random(0..length(common)))
    shape = if Enum.product(shape) <= size, do: shape, else: []
    values = 0..(size - 1) |> Enum.shuffle() |> Enum.take(Enum.product(shape)) |> Enum.map(&signed(&1, size))
    index = Mlx.reshape(Mlx.array(values), List.to_tuple(shape))
    {index, "a#{n}", index}
  end

  defp list(size, n) do
    value = Enum.random(0..(size - 1))
    {[value], "a#{n}", Mlx.array([value])}
  end

  # Values for a selection: of its shape, or something that broadcasts to it.
  defp random_values(shape) do
    sizes = for size <- Tuple.to_list(shape), do: Enum.random([size, size, 1])
    sizes = Enum.drop(sizes, Enum.random([0, 0, 0, 1]))
    count = Enum.product(sizes)
    values = for _ <- 1..count//1, do: Enum.random(-9..9)
    Mlx.reshape(Mlx.array(values, type: :s32), List.to_tuple(sizes))
  end
end
