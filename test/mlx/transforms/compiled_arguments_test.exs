defmodule Mlx.Transforms.CompiledArgumentsTest do
  # The containers that compiled functions take and return: what they return is what the function itself returns.
  use ExUnit.Case, async: true

  alias Mlx.{Native, Tree}

  defmodule Pair do
    @moduledoc false
    defstruct [:second, :first, name: "pair"]
  end

  # The second of two calls is the one that finds the form.
  defp assert_same(fun, arguments) do
    compiled = Mlx.compile(fun)
    expected = terms(apply(fun, arguments))
    for _call <- 1..2, do: assert(terms(apply(compiled, arguments)) == expected)
    compiled
  end

  defp terms(container), do: Tree.map(container, &{&1.type, &1.shape, Mlx.to_binary(&1)})

  # Numbers the arrays in their order, so that one in a wrong place is seen.
  defp numbered(container) do
    {numbered, _count} =
      Tree.map_reduce(container, 1, fn array, number -> {Mlx.multiply(array, number), number + 1} end)

    numbered
  end

  defp arrays(count), do: for(number <- 1..count//1, do: Mlx.array([number, 10 * number], type: :f32))

  test "lists, tuples, maps and structs, at any depth" do
    [a, b, c, d] = arrays(4)

    for container <- [
          [],
          {},
          %{},
          [a, b, c, d],
          {a, [b, {c, %{d: d}}]},
          [[a, b], [c | d]],
          [1 | {a, 2}],
          %{:b => b, "a" => a, 3 => c, nil => nil, {1, 2} => [d]},
          %Pair{first: a, second: [b, %Pair{first: c, second: d}]},
          [x: a, y: [z: b], name: "text", rate: 0.5, on: true],
          {a, a, b, a}
        ] do
      assert_same(fn x, y -> {numbered(x), Mlx.add(y, 1)} end, [container, Mlx.array(1)])
    end
  end

  test "maps of more entries than the VM sorts" do
    map = Map.new(Enum.zip(Enum.shuffle(1..100), arrays(100)))
    assert_same(fn map -> numbered(map) end, [map])
  end

  test "keys that are equal numbers" do
    [a, b, c] = arrays(3)
    many = Map.new(10..60, &{&1, Mlx.array(&1)})
    assert_same(&numbered/1, [%{1 => a, 1.0 => b, 2 => c}])
    assert_same(&numbered/1, [Map.merge(many, %{1 => a, 1.0 => b})])
    assert_same(fn x -> %{1.0 => Mlx.add(x, 1), 1 => Mlx.add(x, 2)} end, [a])
  end

  test "thousands of arrays and of nested lists" do
    [a | _] = many = arrays(6_000)
    assert_same(fn many -> Enum.take(numbered(many), 3) end, [many])
    nested = Enum.reduce(1..100_000, a, fn _level, inner -> [inner] end)
    assert_same(fn nested -> Tree.map(nested, &Mlx.add(&1, 1)) end, [nested])
  end

  test "what differs in anything but values is recorded anew, and nothing else is" do
    me = self()

    compiled =
      Mlx.compile(fn arguments ->
        send(me, :recorded)
        arguments |> Tree.arrays() |> Enum.map(&Mlx.add(&1, 1))
      end)

    [a, b] = arrays(2)

    for container <- [
          [a],
          [a, b],
          {a},
          {a, b},
          [{a}, b],
          [[a], b],
          %{a: a},
          %{b: a},
          [a, 1],
          [a, 1.0],
          [a, "1"],
          [a, :one],
          [a | 1],
          [Mlx.array([1, 2])],
          [Mlx.array([1.0])],
          [Mlx.array([[1.0, 2.0]])]
        ] do
      for _call <- 1..2, do: compiled.(container)
      assert_received :recorded
      refute_received :recorded
      compiled.(Tree.map(container, &Mlx.multiply(&1, 2)))
      refute_received :recorded
    end
  end

  test "any shape of as many axes, where that is wanted" do
    me = self()

    compiled =
      Mlx.compile(
        fn [x, y] ->
          send(me, :recorded)
          Mlx.add(x, y)
        end,
        shapeless: true
      )

    for size <- 1..3, do: assert(Mlx.to_list(compiled.([Mlx.ones({size}), 1])) == List.duplicate(2.0, size))
    assert_received :recorded
    refute_received :recorded
    assert Mlx.shape(compiled.([Mlx.ones({1, 2}), 1])) == {1, 2}
    assert_received :recorded
  end

  test "an array that is gone, and one that is none" do
    compiled = Mlx.compile(fn [x] -> Mlx.add(x, 1) end)
    [x, gone] = arrays(2)
    compiled.([x])
    Native.deallocate(gone)

    assert_raise ArgumentError, "Mlx.compile: the array was deallocated", fn -> compiled.([gone]) end

    assert_raise ArgumentError, ~r/^Mlx.compile: the memory of this array/, fn ->
      compiled.([%{x | ref: make_ref()}])
    end
  end

  test "processes that call it at once, while forms come and go" do
    compiled = Mlx.compile(fn x, number -> [Mlx.add(x, number), %{x: x}] end, keep: 2)
    x = Mlx.array([1, 2])

    1..8
    |> Task.async_stream(fn process ->
      for call <- 1..40 do
        number = rem(process * call, 5)
        assert [sum, %{x: _x}] = compiled.(x, number)
        assert Mlx.to_list(sum) == [1 + number, 2 + number]
      end
    end)
    |> Stream.run()
  end
end
