defmodule Mlx.Descriptions.Fast do
  @moduledoc "`Mlx.Fast`."

  use Mlx.Description, of: Mlx.Fast

  import Mlx.Differential.Input, only: [of: 3, random: 2]

  @doc "The descriptions."
  def operations, do: normalizations() ++ attentions() ++ [rotation(), entropy()]

  defp normalizations do
    eps = [eps: option(:number, :eps)]
    parameters = [x: :array, weight: default(:array, nil)]

    [
      operation(:rms_norm,
        python: python("fast.rms_norm", parameters ++ eps),
        examples: [
          fast_rms_norm: [[array({4, 5}), array({5}), 1.0e-5, nil], [array({4, 5}), nil, 1.0e-5, nil]]
        ],
        draw: &rms_norm/0
      ),
      operation(:layer_norm,
        python: python("fast.layer_norm", parameters ++ [bias: default(:array, nil)] ++ eps),
        examples: [fast_layer_norm: [[array({4, 5}), array({5}), array({5}), 1.0e-5, nil]]],
        draw: &layer_norm/0
      )
    ]
  end

  defp attentions do
    arrays = [q: :array, k: :array, v: :array]
    [keys, values, gates] = [array({1, 3, 2, 4}), array({1, 3, 4, 4}), array({1, 3, 4})]

    [
      operation(:scaled_dot_product_attention,
        python:
          python(
            "fast.scaled_dot_product_attention",
            arrays ++
              [scale: option(:number, :scale), mask: option({:either, [:array, :word]}, :mask)] ++
              [sinks: option(:array, :sinks), force_fused: option(:boolean, :force_fused)],
            note: "the mask :causal, or an array; scale is an option"
          ),
        examples: [fast_scaled_dot_product_attention: attention_examples()],
        share: 3,
        draw: &attention/0
      ),
      operation(:gated_delta_update,
        python:
          python(
            "fast.gated_delta_update",
            arrays ++
              [gamma: :array, beta: :array, initial_state: option(:array, :state), mask: option(:array, :mask)]
          ),
        # mlx-c 0.7 lacks it.
        kinds: [fast_gated_delta_update: ~w(array array array array array optional_array optional_array stream)a],
        examples: [
          fast_gated_delta_update: [
            [keys, keys, values, gates, gates, nil, nil, nil],
            [keys, keys, values, gates, gates, array({1, 4, 4, 4}), array({1, 3}, :bool), nil]
          ]
        ],
        draw: &gated_delta_update/0
      )
    ]
  end

  defp attention_examples do
    grouped = [array({1, 4, 3, 8}), array({1, 2, 5, 8}), array({1, 2, 5, 8}), 0.35]
    masked = [array({1, 4, 3, 8}), array({1, 4, 5, 8}), array({1, 4, 5, 8}), 0.35]

    [
      grouped ++ ["", nil, nil, false, nil],
      grouped ++ ["causal", nil, array({4}), false, nil],
      masked ++ ["array", array({3, 5}, :bool), nil, false, nil]
    ]
  end

  defp rotation do
    parameters = [
      a: :array,
      dims: :integer,
      traditional: option(:boolean, :traditional),
      base: nullable(:number, :base),
      scale: option(:number, :scale),
      offset: option({:either, [:integer, :array]}, :offset),
      freqs: option(:array, :freqs)
    ]

    operation(:rope,
      python: python("fast.rope", parameters, note: "all but the dimensions are options"),
      examples: [
        fast_rope: [
          [array({1, 2, 3, 8}), 8, false, 1.0e4, 1.0, 0, nil, nil],
          [array({1, 2, 3, 8}), 4, true, nil, 1.0, 5, array({2}), nil]
        ],
        fast_rope_dynamic: [
          [array({1, 2, 3, 8}), 8, false, 1.0e4, 1.0, array({}, :s32), nil, nil],
          [array({2, 2, 3, 8}), 4, true, nil, 1.0, array({2}, :s32), array({2}), nil]
        ]
      ],
      other_gradient: "Python: that of one pair of features is spread over both",
      share: 3,
      draw: &rope/0
    )
  end

  defp entropy do
    operation(:cross_entropy,
      python: python("fast.cross_entropy", logits: :array, targets: :array),
      examples: [fast_cross_entropy: [[array({4, 5}), array({4}, :s32), nil]]],
      draw: &cross_entropy/0
    )
  end

  defp call(function, arguments), do: Python.call("mx.fast.#{function}", arguments)

  defp type, do: one_of([:f32, :f32, :f16, :bf16])

  defp normalised do
    x = random("x", shape: shape(rank: 1..3, empty: false), type: type(), values: :finite)
    size = size_along(x.shape, -1)

    {x, fn name -> one_of([nil, random(name, shape: {size}, type: x.type, values: :finite)]) end,
     one_of([1.0e-5, 1.0e-3])}
  end

  defp gated_delta_update do
    {batch, length, heads, groups} = {one_of(1..2), one_of(1..5), one_of(1..2), one_of(1..2)}
    {key_size, size} = {one_of([2, 4]), one_of([2, 3])}
    type = type()
    given = fn name, shape -> random(name, shape: shape, type: type, values: :finite) end
    [q, k] = for name <- ["q", "k"], do: given.(name, {batch, length, heads, key_size})
    v = given.("v", {batch, length, heads * groups, size})
    [g, b] = for name <- ["g", "b"], do: given.(name, {batch, length, heads * groups})
    state = one_of([nil, random("s", shape: {batch, heads * groups, size, key_size}, type: :f32, values: :finite)])
    mask = one_of([nil, random("m", shape: {batch, length}, type: :bool)])
    arguments = [q, k, v, g, b, initial_state: state, mask: mask]
    {[q, k, v, g, b, [state: state, mask: mask]], call("gated_delta_update", arguments)}
  end

  defp rms_norm do
    {x, parameter, eps} = normalised()
    weight = parameter.("w")
    {[x, weight, [eps: eps]], call("rms_norm", [x, weight, eps])}
  end

  defp layer_norm do
    {x, parameter, eps} = normalised()
    {weight, bias} = {parameter.("w"), parameter.("b")}
    {[x, weight, bias, [eps: eps]], call("layer_norm", [x, weight, bias, eps])}
  end

  defp rope do
    {batch, features} = {one_of(1..3), one_of([4, 8, 16])}
    shape = one_of([{batch, one_of(1..5), features}, {batch, 2, one_of(1..5), features}])
    x = random("x", shape: shape, type: type(), values: :finite)
    dimensions = one_of(for n <- [2, 4, 8, 16], n <= features, do: n)
    {traditional, scale} = {flag(), one_of([1.0, 0.5])}

    {base, freqs} =
      one_of([
        {10_000.0, nil},
        {500.0, nil},
        {nil, random("f", shape: {div(dimensions, 2)}, type: :f32, values: :positive)}
      ])

    offset = one_of([0, 3, of("o", one_of(0..9), :s32), of("o", several(batch, fn -> one_of(0..9) end), :s32)])
    options = [traditional: traditional, base: base, scale: scale, offset: offset, freqs: freqs]
    {[x, dimensions, options], call("rope", [x, dimensions] ++ options)}
  end

  defp attention do
    {batch, kv_heads, groups, features} = {one_of(1..2), one_of(1..2), one_of(1..2), one_of([4, 8, 64])}
    {query_length, key_length, type} = {one_of(1..5), one_of(5..8), type()}
    heads = kv_heads * groups

    array = fn name, heads, length ->
      random(name, shape: {batch, heads, length, features}, type: type, values: :finite)
    end

    {q, k, v} = {array.("q", heads, query_length), array.("k", kv_heads, key_length), array.("v", kv_heads, key_length)}
    scores = {batch, heads, query_length, key_length}

    mask =
      one_of([
        nil,
        :causal,
        random("m", shape: beside(scores), type: type, values: :finite),
        random("m", shape: beside(scores), type: :bool, values: :finite)
      ])

    sinks = one_of([nil, nil, random("s", shape: {heads}, type: type, values: :finite)])
    options = [scale: one_of([0.5, 0.125]), mask: mask, sinks: sinks]
    {[q, k, v, options], call("scaled_dot_product_attention", [q, k, v] ++ options)}
  end

  defp cross_entropy do
    {rows, classes} = {one_of([{3}, {2, 3}, {1}]), one_of(1..9)}
    logits = random("x", shape: Tuple.insert_at(rows, tuple_size(rows), classes), type: type(), values: :finite)
    targets = random("t", shape: rows, type: one_of([:s32, :u32]), values: 0..(classes - 1))
    {[logits, targets], call("cross_entropy", [logits, targets])}
  end
end
