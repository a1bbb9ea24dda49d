defmodule Mlx.TreeTest do
  use ExUnit.Case, async: true

  import Mlx.Differential.Draw

  alias Mlx.Differential.Python
  alias Mlx.Tree

  doctest Mlx.Tree

  defmodule Layer do
    defstruct [:weight, :bias, rate: 0.1]
  end

  defp numbers(container), do: Tree.map(container, &Mlx.to_number/1)
  defp array(number), do: Mlx.array(number)

  describe "containers" do
    test "are improper lists, keyword lists, maps with any keys and structs" do
      [a, b, c] = for n <- 1..3, do: Mlx.array(n)
      assert Tree.arrays([a | b]) == [a, b]
      assert Tree.arrays(x: a, y: {b, c}) == [a, b, c]
      assert Tree.arrays(%{2 => b, 1 => a, "z" => c}) == [a, b, c]
      assert Tree.arrays(:leaf) == []
      assert Tree.arrays(%Layer{weight: c, bias: {a, b}}) == [a, b, c]
      assert Tree.with_arrays([a | %Layer{weight: b}], [3, 4]) == [3 | %Layer{weight: 4}]
    end

    test "take as many arrays as they hold" do
      assert_raise ArgumentError, ~r/more arrays than given/, fn -> Tree.with_arrays([array(1)], []) end
      assert_raise ArgumentError, ~r/more arrays than the container/, fn -> Tree.with_arrays([], [array(1)]) end
    end

    test "of any size keep the order of their keys" do
      map = Map.new(1..100, &{&1, array(&1)})
      assert map |> Tree.arrays() |> Enum.map(&Mlx.to_number/1) == Enum.to_list(1..100)
      assert map |> Tree.map_reduce(0, fn _, n -> {n, n + 1} end) == {Map.new(1..100, &{&1, &1 - 1}), 100}
    end

    test "are not changed where they hold no arrays" do
      container = [%Layer{}, 1.0 | {:a, %{b: "c"}}]
      assert Tree.map(container, fn _ -> flunk() end) == container
    end
  end

  describe "several containers" do
    test "are walked by the keys of the first" do
      layers = [%Layer{weight: array(1), bias: array(2)}]
      others = [[%{weight: 10, bias: %{m: 20}, more: 30}, :more], {[weight: :a, bias: :b]}]

      assert Tree.map(layers, others, &{Mlx.to_number(&1), &2, &3}) ==
               [%Layer{weight: {1, 10, :a}, bias: {2, %{m: 20}, :b}}]

      assert Tree.map_with_path(layers, others, fn path, _, _, last -> {path, last} end) ==
               [%Layer{weight: {"0.weight", :a}, bias: {"0.bias", :b}}]
    end

    test "need an element for every array" do
      assert_raise ArgumentError, ~r/nothing at "a.1"/, fn ->
        Tree.map(%{a: [array(1), array(2)]}, [%{a: [1]}], fn _, _ -> nil end)
      end

      assert Tree.zip([%{a: array(1), rate: 0.1}, %{a: 2}]) |> Map.fetch!(:rate) == 0.1
    end
  end

  describe "paths" do
    test "are of keyword lists with different keys, and of indices otherwise" do
      assert Tree.flatten(a: array(1), b: array(2)) |> Enum.map(&elem(&1, 0)) == ["a", "b"]
      assert Tree.flatten(a: array(1), a: array(2)) |> Enum.map(&elem(&1, 0)) == ["0.1", "1.1"]
    end

    test "need keys that are text" do
      assert_raise ArgumentError, ~r/atoms, strings or integers, got: {:a}/, fn -> Tree.flatten(%{{:a} => array(1)}) end
      assert_raise ArgumentError, ~r/improper/, fn -> Tree.flatten([array(1) | array(2)]) end
    end

    test "lead back to the container" do
      container = %{layers: [%Layer{weight: array(1), bias: {array(2), :other}}], norm: [eps: 0.1, scale: array(3)]}
      assert container |> Tree.flatten() |> Tree.unflatten(container) |> numbers() == numbers(container)
      assert_raise ArgumentError, ~r/no arrays for \["1"\]/, fn -> Tree.unflatten(%{"0" => 1}, [array(1), array(2)]) end

      assert_raise ArgumentError, ~r/no arrays at \["b"\]/, fn ->
        Tree.unflatten([{"a", 1}, {"b", 2}], %{a: array(1)})
      end
    end

    test "may skip indices, but not make lists of any length" do
      assert Tree.unflatten([{"a.2", 1}]) == %{"a" => [%{}, %{}, 1]}
      assert Tree.unflatten([{"1000000000", 1}]) == %{"1000000000" => 1}
      assert Tree.unflatten([{"-1", 1}, {"0", 2}]) == %{"-1" => 1, "0" => 2}
      assert Tree.unflatten([]) == []
      assert Tree.unflatten([{"", 1}]) == 1
    end

    test "lead to one element each" do
      for paths <- [["a", "a"], ["a", "a.b"], ["x.a.b", "x.a"]] do
        assert_raise ArgumentError, ~r/something else at "a"/, fn ->
          Tree.unflatten(for path <- paths, do: {path, 1})
        end
      end
    end
  end

  describe "merging" do
    test "keeps structs and keyword lists" do
      assert Tree.merge(%Layer{weight: 1}, %{bias: 2}) == %Layer{weight: 1, bias: 2}
      assert Tree.merge(%Layer{weight: 1}, %Layer{bias: 2}) == %Layer{weight: 1, bias: 2}
      assert Tree.merge([a: 1, b: [c: 2]], b: [d: 3], e: 4) == [a: 1, b: [c: 2, d: 3], e: 4]
      assert_raise ArgumentError, ~r/no keys \[:scale\]/, fn -> Tree.merge(%Layer{}, %{scale: 1}) end
    end

    test "takes empty containers and nil for nothing" do
      assert Tree.merge(%{a: %{}, b: nil, c: {}, d: []}, %{a: [1], b: 2, d: []}) == %{a: [1], b: 2, c: {}, d: []}
      assert_raise ArgumentError, fn -> Tree.merge(%{a: []}, %{a: %{}}) end
    end

    test "needs a function where both have an element" do
      assert_raise ArgumentError, ~r/an element at "a.0"/, fn -> Tree.merge(%{a: [array(1)]}, %{a: [array(1)]}) end
      assert_raise ArgumentError, ~r/an element at "a"/, fn -> Tree.merge(%{a: %{b: 1}}, %{a: [1]}) end
      assert Tree.merge(%{a: [array(1)]}, %{a: [array(5)]}, fn a, b -> Mlx.subtract(b, a) end) |> numbers() == %{a: [4]}
    end
  end

  @cases 200

  @tag :oracle
  test "is Python's mlx.utils on random containers" do
    :rand.seed(:exsss, 1)

    cases = Enum.flat_map(1..@cases, fn _ -> walked(tree(3, 0)) ++ merged(tree(3, 1), tree(3, 1)) end)
    answers = Mlx.Oracle.ask_all(for {_got, python} <- cases, do: {python, []})

    for {{got, python}, answer} <- Enum.zip(cases, answers) do
      case got do
        :raised -> assert match?({:error, _}, answer), python
        _value -> assert answer == {:ok, [{:bool, {}, <<1>>}]}, "#{python}\n#{inspect(answer)}"
      end
    end

    assert Enum.count(cases, &match?({:raised, _}, &1)) > 10
  end

  # What Elixir gives, and whether that is what Python gives, in Python.
  defp walked(tree) do
    text = text(tree)
    wider = Tree.map(tree, &[&1, &1])

    questions([
      {Tree.flatten(tree), "tree_flatten(#{text})"},
      {tree |> Tree.flatten() |> Tree.unflatten(), "tree_unflatten(utils.tree_flatten(#{text}))"},
      {Tree.map(tree, &Mlx.add(&1, 1)), "tree_map(lambda x: x + 1, #{text})"},
      {Tree.map(tree, [wider], &{&1, &2}), "tree_map(lambda x, y: (x, y), #{text}, #{text(wider)})"},
      {Tree.map_with_path(tree, &{&1, &2}), "tree_map_with_path(lambda p, x: (p, x), #{text})"},
      {Tree.map_with_path(tree, [wider], fn path, _, other -> {path, other} end),
       "tree_map_with_path(lambda p, x, y: (p, y), #{text}, #{text(wider)})"},
      {Tree.reduce(tree, 5, &rem(&2 * 31 + Mlx.to_number(&1), 1009)),
       "tree_reduce(lambda a, x: (a * 31 + x) % 1009, #{text}, 5)"}
    ])
  end

  # Where one side lacks an element and it is empty in the other one, Python calls the function without any.
  defp merged(a, b) do
    questions([
      {Tree.merge(a, b, &{&1, &2}), "tree_merge(#{text(a)}, #{text(b)}, lambda a, b: (a, b))"},
      {merge(a, b), "tree_merge(#{text(a)}, #{text(b)})"}
    ])
  end

  defp questions(pairs) do
    for {got, python} <- pairs do
      {got, if(got == :raised, do: "utils.#{python}", else: "utils.#{python} == #{text(got)}")}
    end
  end

  defp merge(a, b) do
    Tree.merge(a, b)
  rescue
    ArgumentError -> :raised
  end

  defp text(tree), do: tree |> numbers() |> Python.term()

  # A container of at most so many levels, with at least so many elements in each.
  defp tree(0, _least), do: array(one_of(0..99))

  defp tree(levels, least) do
    element = fn -> tree(levels - one_of(1..levels), least) end

    case one_of([:list, :tuple, :map, :map]) do
      :list -> several(one_of(least..3), element)
      :tuple -> several(one_of(least..3), element) |> List.to_tuple()
      :map -> Map.new(Enum.take_random(~w(a b c d), one_of(least..3)), &{&1, element.()})
    end
  end

  describe "partition/2" do
    test "gives two containers of one form, which merge into the first" do
      model = %{
        layers: [%Layer{weight: array(1), bias: {array(2), :other}}, %Layer{weight: array(3), rate: &array/1}],
        norm: [eps: 0.1, scale: array(4)],
        empty: [[], {}, %{}],
        tuple: {array(5), "text"}
      }

      for fun <- [
            fn path, _array -> path =~ "weight" end,
            fn _path, array -> Mlx.to_number(array) > 2 end,
            fn _path, _array -> true end,
            fn _path, _array -> nil end
          ] do
        {chosen, others} = Tree.partition(model, fun)
        assert Tree.merge(chosen, others) == model
        assert Tree.merge(others, chosen) == model
        assert Tree.filter(model, fun) == chosen

        {expected, rest} = model |> Tree.flatten() |> Enum.split_with(fn {path, array} -> fun.(path, array) end)
        assert {Tree.flatten(chosen), Tree.flatten(others)} == {expected, rest}
        assert %{norm: [eps: 0.1, scale: _], layers: [%Layer{}, %Layer{rate: rate}]} = others
        assert is_function(rate)
      end
    end

    test "asks once for each array, in order, with its path" do
      parent = self()
      Tree.partition([array(1), %{b: array(2), a: {array(3)}}], fn path, _ -> send(parent, path) end)
      assert_received "0"
      assert_received "1.a.0"
      assert_received "1.b"
      refute_received _
    end

    test "of one array, and of none" do
      assert {%Mlx.Array{}, nil} = Tree.partition(array(1), fn "", _array -> true end)
      assert Tree.partition(%{a: 1}, fn _, _ -> flunk() end) == {%{a: 1}, %{a: 1}}
      assert Tree.partition([1 | 2], fn _, _ -> flunk() end) == {[1 | 2], [1 | 2]}
    end
  end

  describe ":is_leaf" do
    test "is asked from the outside in, and arrays are leaves as before" do
      tree = %{a: %Layer{weight: array(1)}, b: [%Layer{weight: array(2)}, array(3)], c: 4}
      layer? = &is_struct(&1, Layer)

      assert [{"a", %Layer{}}, {"b.0", %Layer{}}, {"b.1", %Mlx.Array{}}] = Tree.flatten(tree, is_leaf: layer?)
      assert %{a: Layer, b: [Layer, Mlx.Array], c: 4} = Tree.map(tree, & &1.__struct__, is_leaf: layer?)
      assert Tree.reduce(tree, 0, fn _leaf, count -> count + 1 end, is_leaf: layer?) == 3
      assert Tree.reduce([1 | 2], 0, &+/2, is_leaf: &is_integer/1) == 3

      assert {%{a: nil, b: [nil, _], c: 4}, %{a: %Layer{}, b: [%Layer{}, nil], c: 4}} =
               Tree.partition(tree, fn _path, leaf -> is_struct(leaf, Mlx.Array) end, is_leaf: layer?)

      assert Tree.map_with_path(tree, fn path, _leaf -> path end, is_leaf: layer?) ==
               %{a: "a", b: ["b.0", "b.1"], c: 4}
    end

    test "decides about containers without arrays" do
      assert Tree.map(%{a: {1, 2}, b: [{}]}, &tuple_size/1, is_leaf: &is_tuple/1) == %{a: 2, b: [0]}
      assert Tree.map(%{a: nil}, fn nil -> 0 end, is_leaf: &is_nil/1) == %{a: 0}
    end

    test "has to be a function of one argument" do
      for options <- [[is_leaf: :a], [is_leaf: fn -> true end], [leaf: &is_nil/1], [:is_leaf]] do
        message = ~r/^Mlx.Tree.flatten: expected the option :is_leaf, a function of one argument, got: /
        assert_raise ArgumentError, message, fn -> Tree.flatten(%{}, options) end
      end
    end
  end
end
