defmodule Mlx.Ops.MatrixProductsTest do
  use ExUnit.Case, async: true

  import Mlx.Oracle

  @moduletag :oracle

  defp range(shape, type \\ :f32), do: Mlx.reshape(Mlx.arange(Tuple.product(shape), type: type), shape)

  test "matrix products" do
    a = range({2, 3, 4})
    b = range({4, 5})
    v = range({4})
    assert_oracle(Mlx.matmul(a, b), "a @ b", a: a, b: b)
    assert_oracle(Mlx.matmul(a, v), "a @ v", a: a, v: v)
    assert_oracle(Mlx.matmul(v, b), "v @ b", v: v, b: b)
    assert_oracle(Mlx.matmul(v, v), "v @ v", v: v)
    assert_raise Mlx.Error, ~r/Mlx.matmul.*\(2,3,4\)|Mlx.matmul.*\{2, 3, 4\}/, fn -> Mlx.matmul(a, range({3, 4})) end

    assert_oracle(Mlx.addmm(range({5}), v, b, alpha: 2, beta: 0.5), "mx.addmm(c, v, b, 2, 0.5)",
      c: range({5}),
      v: v,
      b: b
    )
  end

  test "dot follows numpy" do
    numpy = "mx.array(__import__('numpy').dot(__import__('numpy').array(a), __import__('numpy').array(b)))"

    for {a, b} <- [
          {{4}, {4}},
          {{2, 4}, {4}},
          {{4}, {4, 3}},
          {{2, 4}, {4, 3}},
          {{2, 3, 4}, {5, 4, 2}},
          {{}, {3}},
          {{2}, {}}
        ] do
      assert_oracle(Mlx.dot(range(a), range(b)), numpy, a: range(a), b: range(b))
    end

    assert Mlx.to_list(Mlx.dot(2, Mlx.array([1, 2]))) == [2, 4]
    assert Mlx.to_number(Mlx.dot(2, 3)) == 6
  end

  test "sums over axes" do
    a = range({2, 3, 4})
    b = range({4, 3, 5})
    v = range({4})
    assert_oracle(Mlx.tensordot(a, b, axes: {[1, 2], [1, 0]}), "mx.tensordot(a, b, axes=[[1, 2], [1, 0]])", a: a, b: b)
    assert_oracle(Mlx.tensordot(a, b, axes: 1), "mx.tensordot(a, b, axes=1)", a: a, b: b)
    assert_oracle(Mlx.tensordot(a, a, axes: {[0], [0]}), "mx.tensordot(a, a, axes=[[0], [0]])", a: a)
    assert_oracle(Mlx.inner(a, v), "mx.inner(a, v)", a: a, v: v)
    assert_oracle(Mlx.outer(v, a), "mx.outer(v, a)", a: a, v: v)
    assert_oracle(Mlx.vecdot(a, a, axis: 1), "mx.vecdot(a, a, axis=1)", a: a)
    assert_oracle(Mlx.kron(range({2, 2}), range({3})), "mx.kron(a, b)", a: range({2, 2}), b: range({3}))

    assert_oracle(Mlx.einsum("aij,ajk->ik", [a, range({2, 4, 2})]), "mx.einsum('aij,ajk->ik', a, b)",
      a: a,
      b: range({2, 4, 2})
    )

    assert_oracle(Mlx.einsum("...ij->...ji", [a]), "mx.einsum('...ij->...ji', a)", a: a)
    assert_raise Mlx.Error, fn -> Mlx.einsum("ij,jk", [a]) end
    assert_raise Mlx.Error, fn -> Mlx.tensordot(a, b, axes: {[0], [0]}) end
  end

  defp assert_path(subscripts, arrays) do
    {path, info} = Mlx.einsum_path(subscripts, arrays)
    steps = Enum.flat_map(path, &[tuple_size(&1) | Tuple.to_list(&1)])
    costs = [info.naive_scaling, info.optimized_scaling, info.naive_cost, info.optimized_cost]
    names = for index <- 1..length(arrays), do: :"x#{index}"

    assert_oracle(
      [Mlx.array(steps), Mlx.array(costs, type: :s64)],
      "(lambda path, text: [mx.array([n for step in path for n in (len(step), *step)]), " <>
        "mx.array([int(line.split()[-1]) for line in text.splitlines()[1:]], mx.int64)])" <>
        "(*mx.einsum_path('#{subscripts}', #{Enum.join(names, ", ")}))",
      Enum.zip(names, arrays)
    )
  end

  test "paths of contractions" do
    sizes = for {letter, size} <- Enum.zip(?a..?h, [5, 3, 4, 5, 6, 7, 8, 9]), into: %{}, do: {<<letter>>, size}
    shape = fn indices -> indices |> String.graphemes() |> Enum.map(&sizes[&1]) |> List.to_tuple() end

    for subscripts <-
          ["dd", "ab->a", "ab,bc", "ab, bc -> abc", "eb,cb,fb->cef", "dd,fb,be,cdb->cef", "a,b,c,d"] ++
            ["bca,cdb,dbf,afc->", "dcc,fce,ea,dbf->ab", "abc,d,,ad->"] do
      [inputs | _] = subscripts |> String.replace(" ", "") |> String.split("->")
      assert_path(subscripts, for(indices <- String.split(inputs, ","), do: Mlx.zeros(shape.(indices))))
    end

    assert_path("...ij,...jk,kl->...il", [Mlx.zeros({3, 1, 2, 4}), Mlx.zeros({6, 4, 5}), Mlx.zeros({5, 2})])
    assert_path("i...,i,j...", [Mlx.zeros({3, 4}), Mlx.zeros({1}), Mlx.zeros({2, 1})])
  end

  test "paths of contractions that chance makes up" do
    :rand.seed(:exsss, 4)

    for _ <- 1..150 do
      sizes = for letter <- ?a..?g, into: %{}, do: {letter, :rand.uniform(6)}
      inputs = for _ <- 1..Enum.random(2..7), do: Enum.take_random(?a..?g, Enum.random(1..4))
      output = inputs |> Enum.concat() |> Enum.uniq() |> Enum.take_random(Enum.random(0..4))
      arrays = for input <- inputs, do: Mlx.zeros(List.to_tuple(Enum.map(input, &sizes[&1])))
      assert_path("#{Enum.join(inputs, ",")}->#{output}", arrays)
    end
  end

  test "paths of contractions that do not fit" do
    x = Mlx.zeros({2, 3})

    for {subscripts, arrays, message} <- [
          {"ij,jk", [x], "the subscripts are for 2 arrays, got 1"},
          {"ij", [], "expected at least one array"},
          {"ii", [x], "the index i of one array has the sizes 2 and 3"},
          {"ij,ik", [x, Mlx.zeros({4, 2})], "the index i has the sizes 2 and 4"},
          {"ij->k", [x], "the index k of the output belongs to no array"},
          {"ij->ii", [x], "an index is twice in the output"},
          {"ijk", [x], "an array of shape {2, 3} does not have the 3 indices of its subscripts"},
          {"i", [x], "an array of shape {2, 3} does not have the 1 indices of its subscripts"},
          {"......", [x], ~s(there is more than one ellipsis in "......")},
          {"i1", [x], "expected letters as indices, got: 1"},
          {"i->j->k", [x], ~s(expected one arrow in "i->j->k")}
        ] do
      assert_raise ArgumentError, "Mlx.einsum_path: " <> message, fn -> Mlx.einsum_path(subscripts, arrays) end
    end
  end

  test "einsum/2 refuses what MLX would misread" do
    for subscripts <- ["i1", "é", "i\n", <<"i", 255>>] do
      assert_raise ArgumentError, ~r/Mlx.einsum: expected letters/, fn ->
        Mlx.einsum(subscripts, [Mlx.zeros({1, 1})])
      end
    end

    many = Mlx.zeros(Tuple.duplicate(1, 51))
    assert_raise ArgumentError, ~r/not enough letters/, fn -> Mlx.einsum("...ij->...ji", [many]) end

    assert_raise ArgumentError, ~r/not enough letters/, fn ->
      Mlx.einsum_path("...,ijk->...", [many, Mlx.zeros({1, 1, 1})])
    end
  end

  test "products of parts" do
    a = range({64, 96})
    b = range({96, 32})
    left = Mlx.array([[true, false, true], [false, true, true]])
    masked = Mlx.block_masked_mm(a, b, block_size: 32, mask_left: left)
    assert_oracle(masked, "mx.block_masked_mm(a, b, 32, None, m, None)", a: a, b: b, m: left)

    stack = range({3, 2, 4})
    other = range({5, 4, 2})
    right = Mlx.array([4, 0, 1], type: :u32)
    left = Mlx.array([2, 2, 0], type: :u32)
    gathered = Mlx.gather_mm(stack, other, left_indices: left, right_indices: right)
    assert_oracle(gathered, "mx.gather_mm(a, b, l, r)", a: stack, b: other, l: left, r: right)

    a = range({4, 10})
    b = range({10, 3})
    segments = Mlx.array([[0, 4], [4, 10], [2, 2]], type: :u32)
    assert_oracle(Mlx.segmented_mm(a, b, segments), "mx.segmented_mm(a, b, s)", a: a, b: b, s: segments)
  end

  test "indices out of bounds of a stack are clamped" do
    a = range({2, 1, 1})
    clamped = Mlx.gather_mm(a, a, right_indices: Mlx.array([9, 1]))
    assert Mlx.to_list(Mlx.flatten(clamped)) == [0.0, 1.0]
  end

  test "indices of a stack count from the end below 0" do
    {a, b} = {range({3, 2, 4}), range({5, 4, 2})}

    for type <- [:s8, :s32, :s64] do
      [left, right] = for list <- [[-1, -3, -9], [-5, 4, -2]], do: Mlx.array(list, type: type)
      product = Mlx.gather_mm(a, b, left_indices: left, right_indices: right)
      expected = Mlx.stack([Mlx.matmul(a[2], b[0]), Mlx.matmul(a[0], b[4]), Mlx.matmul(a[0], b[3])])
      assert Mlx.to_list(product) == Mlx.to_list(expected)
    end
  end

  test "products of stacks that indices pick can be mapped" do
    {a, b} = {range({2, 3, 2, 4}), range({2, 5, 4, 2})}
    [left, right] = for list <- [[[2, 0], [1, 1]], [[4, -1], [0, 3]]], do: Mlx.array(list)
    product = &Mlx.gather_mm(&1, &2, left_indices: &3, right_indices: &4)
    expected = Mlx.stack(for i <- 0..1, do: product.(a[i], b[i], left[i], right[i]))
    assert Mlx.to_list(Mlx.vmap(product).(a, b, left, right)) == Mlx.to_list(expected)

    expected = Mlx.stack(for i <- 0..1, do: product.(a[i], b[0], nil, Mlx.array([4, 0, 1])))
    assert Mlx.to_list(Mlx.vmap(&product.(&1, b[0], nil, Mlx.array([4, 0, 1]))).(a)) == Mlx.to_list(expected)
  end

  test "hadamard_transform" do
    for size <- [1, 8, 12, 40] do
      x = range({2, size})
      assert_oracle(Mlx.hadamard_transform(x), "mx.hadamard_transform(x)", x: x)
    end

    assert_oracle(Mlx.hadamard_transform(range({8}), scale: 0.5), "mx.hadamard_transform(x, 0.5)", x: range({8}))

    for size <- [7, 36, 0] do
      assert_raise ArgumentError, ~r/Mlx.hadamard_transform: expected/, fn -> Mlx.hadamard_transform(range({size})) end
    end
  end

  test "stacks without matrices raise" do
    empty = Mlx.zeros({0, 4, 8})
    message = ~r/no elements/
    assert_raise ArgumentError, message, fn -> Mlx.gather_mm(range({1, 1, 4}), empty, right_indices: Mlx.array([0])) end

    assert_raise ArgumentError, message, fn ->
      Mlx.segmented_mm(Mlx.zeros({0, 3}), range({3, 3}), Mlx.array([[0, 1]]))
    end
  end

  test "addmm over no elements" do
    [a, b] = [Mlx.zeros({3, 0}), Mlx.zeros({0, 2})]

    for c <- [Mlx.array([[1.0], [2.0], [4.0]]), Mlx.array([[1.0, 9.0], [2.0, 9.0], [4.0, 9.0]])[[.., 0..0]]] do
      assert Mlx.to_list(Mlx.addmm(c, a, b, beta: 0.5)) == [[0.5, 0.5], [1.0, 1.0], [2.0, 2.0]]
    end
  end
end
