defmodule Mlx.Descriptions.Products do
  @moduledoc "Products that sum over axes of whole arrays."

  use Mlx.Description

  import Mlx.Differential.Input, only: [random: 2]
  import Mlx.Differential.{Factors, Operands}

  alias Mlx.Conformance.LinearAlgebra

  @doc "The descriptions."
  def operations do
    pair = [a: :array, b: :array]
    sides = "axes is the option :axes, an integer or {axes_of_a, axes_of_b}"
    einsum = [subscripts: :text, operands: variadic(:array)]

    [
      operation(:matmul,
        python: python("matmul", pair),
        examples: [
          matmul: [[array({3, 4}), array({4, 5}), nil], [array({2, 3, 4}), array({4}), nil]]
        ],
        share: 3,
        draw: &matmul/0
      ),
      operation(:dot, draw: &dot/0),
      operation(:tensordot,
        python: python("tensordot", pair ++ [axes: default(:any, 2)], adapter: &LinearAlgebra.tensordot/3, note: sides),
        examples: [
          tensordot: [[array({3, 4}), array({4, 3}), [1], [0], nil]],
          tensordot_axis: [[array({3, 4}), array({4, 3}), 1, nil]]
        ],
        without_options: :arrays,
        draw: &tensordot/0
      ),
      operation(:inner, python: python("inner", pair), draw: &inner/0),
      operation(:outer, python: python("outer", pair), draw: &outer/0),
      operation(:vecdot,
        python: python("vecdot", pair ++ [axis: option(:integer, :axis)]),
        without_options: :arrays,
        draw: &vecdot/0
      ),
      operation(:kron, python: python("kron", pair), draw: &kron/0),
      operation(:einsum,
        python: python("einsum", einsum, adapter: &LinearAlgebra.einsum/3, note: "the arrays are a list"),
        examples: [
          einsum: [
            ["ij,jk->ik", [array({3, 4}), array({4, 5})], nil],
            ["ii->i", [array({4, 4})], nil],
            ["i,j", [array({3}), array({2})], nil]
          ]
        ],
        share: 2,
        draw: &einsum/0
      ),
      operation(:einsum_path,
        python:
          python("einsum_path", einsum,
            adapter: &LinearAlgebra.einsum/3,
            note: "the arrays are a list; the description is a map"
          ),
        not_drawn: "it gives no arrays, and is compared with Python by its own test"
      ),
      operation(:addmm,
        python: python("addmm", [c: :array] ++ pair ++ [alpha: option(:number, :alpha), beta: option(:number, :beta)]),
        examples: [addmm: [[array({3, 5}), array({3, 4}), array({4, 5}), 0.5, 2.0, nil]]],
        share: 2,
        draw: &addmm/0
      ),
      operation(:hadamard_transform,
        python: python("hadamard_transform", a: :array, scale: option(:number, :scale)),
        examples: [hadamard_transform: [[array({2, 8}), nil, nil], [array({2, 12}), 0.5, nil]]],
        draw: &hadamard_transform/0
      )
    ]
  end

  defp size, do: one_of([0, 1, 2, 3, 5, 8, 16, 33])

  defp matmul do
    {shape_a, shape_b} = factor_shapes()
    {a, b} = pair(shape_a, shape_b, values: one_of([:finite, :any]))
    {[a, b], Python.call("mx.matmul", [a, b])}
  end

  # Matrices, stacks of them, and vectors in the place of one.
  defp factor_shapes do
    {m, k, n} = {size(), size(), size()}
    batch = shape(rank: 0..2, empty: false) |> Tuple.to_list() |> Enum.map(&min(&1, 4)) |> List.to_tuple()

    case :rand.uniform(6) do
      1 -> {{k}, join(batch, [k, n])}
      2 -> {join(batch, [m, k]), {k}}
      _ -> {join(batch, [m, k]), join(beside(batch), [k, n])}
    end
  end

  defp join(batch, sizes), do: List.to_tuple(Tuple.to_list(batch) ++ sizes)

  defp dot do
    {shape_a, shape_b} =
      one_of([{{}, {2, 3}}, {{3}, {3}}, {{2, 3}, {3}}, {{2, 3, 4}, {4, 5}}, {{2, 3, 4}, {2, 4, 3}}, {{4}, {2, 4, 3}}])

    {a, b} = pair(shape_a, shape_b, values: :finite)

    python =
      if shape_a == {},
        do: Python.call("mx.multiply", [a, b]),
        else: Python.call("mx.tensordot", [a, b, [[tuple_size(shape_a) - 1], [max(tuple_size(shape_b) - 2, 0)]]])

    {[a, b], python}
  end

  defp tensordot do
    case :rand.uniform(2) do
      1 ->
        count = one_of(0..2)
        common = several(count, &some_size/0)

        {a, b} =
          pair(
            List.to_tuple(several(one_of(0..2), &some_size/0) ++ common),
            List.to_tuple(common ++ several(one_of(0..2), &some_size/0)),
            values: :finite
          )

        {[a, b, [axes: count]], Python.call("mx.tensordot", [a, b, count])}

      2 ->
        {x, y, z, w} = {some_size(), some_size(), some_size(), some_size()}
        {a, b} = pair({x, y, z}, {z, w, y}, values: :finite)
        {axes_a, axes_b} = one_of([{[1, 2], [2, 0]}, {[2], [0]}, {[-1, 1], [0, -1]}])
        {[a, b, [axes: {axes_a, axes_b}]], Python.call("mx.tensordot", [a, b, [axes_a, axes_b]])}
    end
  end

  defp inner do
    size = some_size()
    rest = fn -> several(one_of(0..2), &some_size/0) end
    {a, b} = pair(List.to_tuple(rest.() ++ [size]), List.to_tuple(rest.() ++ [size]), values: :finite)
    {[a, b], Python.call("mx.inner", [a, b])}
  end

  defp outer do
    {a, b} = pair(shape(rank: 0..2), shape(rank: 0..2), {type(), type()}, [])
    {[a, b], Python.call("mx.outer", [a, b])}
  end

  defp vecdot do
    shape = shape(rank: 1..3)
    axis = axis(shape)
    {a, b} = pair(shape, shape, values: :finite)
    {[a, b, [axis: axis]], Python.call("mx.vecdot", [a, b, axis: axis])}
  end

  defp kron do
    small = fn -> List.to_tuple(several(one_of(0..3), fn -> one_of(1..4) end)) end
    {a, b} = pair(small.(), small.(), {type(), type()}, [])
    {[a, b], Python.call("mx.kron", [a, b])}
  end

  # Subscripts, and the letters of each operand.
  @einsums [
    {"ij,jk->ik", ["ij", "jk"]},
    {"ij,jk", ["ij", "jk"]},
    {"bij,bjk->bik", ["bij", "bjk"]},
    {"bhqd,bhkd->bhqk", ["bhqd", "bhkd"]},
    {"ij->ji", ["ij"]},
    {"ii->i", ["ii"]},
    {"ii", ["ii"]},
    {"ij->", ["ij"]},
    {"i,i->", ["i", "i"]},
    {"i,j->ij", ["i", "j"]},
    {"ij,ij->ij", ["ij", "ij"]},
    {"ij,jk,kl->il", ["ij", "jk", "kl"]},
    {"ijk,ilm,njm,nlk->", ["ijk", "ilm", "njm", "nlk"]},
    {"b...i,b...j->...ij", ["bxi", "bxj"]},
    {"ij,kj,kl->li", ["ij", "kj", "kl"]}
  ]

  defp einsum do
    {subscripts, operands} = one_of(@einsums)
    sizes = Map.new(Enum.uniq(String.graphemes(Enum.join(operands))), &{&1, some_size()})
    type = one_of([float_type(), float_type(), :c64])

    arrays =
      for {letters, name} <- Enum.zip(operands, ~w(a b c d)) do
        shape = letters |> String.graphemes() |> Enum.map(&sizes[&1]) |> List.to_tuple()
        random(name, shape: shape, type: type, values: :finite)
      end

    {[subscripts, arrays], Python.call("mx.einsum", [subscripts | arrays])}
  end

  # Over no elements, Python leaves elements of the result unwritten.
  defp addmm do
    {m, k, n} = {size(), some_size(), size()}
    {a, b} = pair({m, k}, {k, n}, values: :finite)

    c =
      random("c",
        shape: one_of([{m, n}, {n}, {1, n}, {m, 1}, {}]),
        type: one_of([a.type, a.type, type()]),
        values: :finite
      )

    {alpha, beta} = {one_of([1, 1, 0.5, -2.0]), one_of([1, 1, 0, 0.25])}
    {[c, a, b, [alpha: alpha, beta: beta]], Python.call("mx.addmm", [c, a, b, alpha: alpha, beta: beta])}
  end

  defp hadamard_transform do
    size = one_of([1, 12, 20, 28]) * 2 ** one_of(0..5)

    x =
      random("x",
        shape: one_of([{size}, {3, size}, {2, 2, size}]),
        type: one_of([:f32, :f32, :f16, :bf16]),
        values: :finite
      )

    scale = one_of([nil, nil, 0.5])
    {[x, [scale: scale]], Python.call("mx.hadamard_transform", [x, scale: scale])}
  end
end
