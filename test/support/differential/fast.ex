defmodule Mlx.Differential.Fast do
  @moduledoc "Rows for `Mlx.Fast`."

  import Mlx.Differential.Draw
  import Mlx.Differential.Input, only: [of: 3, random: 2]

  alias Mlx.Differential.{Python, Row}

  @doc "The rows."
  def rows do
    [
      row(:rms_norm, &rms_norm/0),
      row(:layer_norm, &layer_norm/0),
      row(:rope, [share: 3], &rope/0),
      row(:scaled_dot_product_attention, [share: 3], &attention/0),
      row(:cross_entropy, &cross_entropy/0),
      row(:gated_delta_update, &gated_delta_update/0)
    ]
  end

  defp row(function, options \\ [], draw), do: Row.new(function, [module: Mlx.Fast] ++ options, draw)
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
