defmodule Mlx.Descriptions.ProductsOfParts do
  @moduledoc "Products of blocks, segments and matrices that are chosen by indices."

  use Mlx.Description

  import Mlx.Differential.Factors
  import Mlx.Differential.Input, only: [of: 3, random: 2]

  @doc "The descriptions."
  def operations do
    pair = [a: :array, b: :array]
    indices = [lhs_indices: option(:array, :left_indices), rhs_indices: option(:array, :right_indices)]

    masks =
      for {name, here} <- [mask_out: :mask_out, mask_lhs: :mask_left, mask_rhs: :mask_right],
          do: {name, option(:array, here)}

    [
      operation(:block_masked_mm,
        python: python("block_masked_mm", pair ++ [block_size: option(:integer, :block_size)] ++ masks),
        examples: [
          block_masked_mm: [
            [
              array({64, 32}),
              array({32, 64}),
              32,
              array({2, 2}, :bool),
              array({2, 1}, :bool),
              array({1, 2}, :bool),
              nil
            ],
            [array({64, 32}), array({32, 64}), 64, array({1, 1}), nil, nil, nil]
          ]
        ],
        draw: &block_masked_mm/0
      ),
      operation(:gather_mm,
        python: python("gather_mm", pair ++ indices ++ [sorted_indices: option(:boolean, :sorted)]),
        examples: [
          gather_mm: [
            [array({3, 2, 4}), array({3, 4, 5}), array({2}, :u32), array({2}, :u32), false, nil],
            [array({3, 2, 4}), array({3, 4, 5}), nil, array({3}, :u32, :zeros), true, nil]
          ]
        ],
        draw: &gather_mm/0
      ),
      operation(:segmented_mm,
        python: python("segmented_mm", pair ++ [segments: :array]),
        examples: [segmented_mm: [[array({3, 8}), array({8, 2}), array({2, 2}, :u32), nil]]],
        no_gradient: "MLX has none",
        draw: &segmented_mm/0
      )
    ]
  end

  defp block_masked_mm do
    block = one_of([32, 64])
    [m, k, n] = several(3, fn -> one_of([16, 32, 33, 64, 100]) end)
    # Python ends for other types.
    type = :f32
    {a, b} = pair({m, k}, {k, n}, {type, type}, values: :finite)
    mask_type = one_of([:bool, type])

    mask = fn name, rows, columns ->
      one_of([
        nil,
        random(name, shape: {blocks(rows, block), blocks(columns, block)}, type: mask_type, values: :finite)
      ])
    end

    {out, left, right} = {mask.("o", m, n), mask.("l", m, k), mask.("r", k, n)}

    {[a, b, [block_size: block, mask_out: out, mask_left: left, mask_right: right]],
     Python.call("mx.block_masked_mm", [a, b, block, {:mask_out, out}, {:mask_lhs, left}, {:mask_rhs, right}])}
  end

  defp blocks(size, block), do: div(size + block - 1, block)

  defp gather_mm do
    {m, k, n} = {some_size(), some_size(), some_size()}
    # Python ends for other types.
    {a, b} = pair({3, m, k}, {4, k, n}, {:f32, :f32}, values: :finite)
    count = one_of(1..5)
    index = fn name, size -> random(name, shape: {count}, type: one_of([:u32, :s32]), values: 0..(size - 1)) end

    {left, right} =
      one_of([
        {index.("l", 3), index.("r", 4)},
        {index.("l", 3), index.("r", 4)},
        {nil, random("r", shape: {3}, type: :u32, values: 0..3)}
      ])

    {[a, b, [left_indices: left, right_indices: right]],
     Python.call("mx.gather_mm", [a, b, lhs_indices: left, rhs_indices: right])}
  end

  defp segmented_mm do
    {m, k, n} = {some_size(), one_of(1..20), some_size()}
    type = one_of([:f32, :f32, :f16, :bf16, :f64])
    {a, b} = pair({m, k}, {k, n}, {type, type}, values: :finite)
    segments = of("s", several(one_of(1..4), fn -> Enum.sort([one_of(0..k), one_of(0..k)]) end), :u32)
    {[a, b, segments], Python.call("mx.segmented_mm", [a, b, segments])}
  end
end
