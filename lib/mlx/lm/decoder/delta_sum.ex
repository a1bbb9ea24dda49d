defmodule Mlx.LM.Decoder.DeltaSum do
  @moduledoc false
  # A state of a matrix for each head, which decays, is changed by a product of itself, and takes up a value:
  #
  #     state = state (diag(exp(decay)) + a bᵀ) + value keyᵀ
  #     output = state query
  #
  # The delta rule is this with a = exp(decay) * key and b = -beta * key, and so is RWKV 7's rule.
  #
  # A sequence is computed in chunks. Inside of a chunk the products u = state a follow from each other by a triangular
  # matrix; its inverse makes the step from chunk to chunk linear in the state. Source: Yang et al., "Parallelizing Linear
  # Transformers with the Delta Rule over Sequence Length" (2024).

  alias Mlx.Array

  @chunk 16
  # So many positions are computed at once.
  @pieces %{bounded: 512, unbounded: 64}

  @doc """
  The outputs and the last state.

  | argument | shape |
  | --- | --- |
  | `queries`, `keys`, `a`, `b` | `{batch, length, heads, key size}` |
  | `values` | `{batch, length, heads, size}` |
  | `decays` | as keys, or with 1 in the place of the key size: logarithms of factors, at most 0 |
  | `state` | `{batch, heads, size, key size}`, or `nil` for zeros |

  `least` is what the decays for each feature are at least: -2 for `:bounded` (default), and nothing for `:unbounded`, which
  takes more time and memory.
  """
  @spec call(Array.t(), Array.t(), Array.t(), {Array.t(), Array.t()}, Array.t(), Array.t() | nil, atom()) ::
          {Array.t(), Array.t()}
  def call(
        queries,
        keys,
        %Array{shape: {batch, length, heads, size}} = values,
        {a, b},
        decays,
        state,
        least \\ :bounded
      ) do
    all = for x <- [queries, keys, values, a, b, decays], do: x |> Mlx.as_type(:f32) |> Mlx.swap_axes(1, 2)
    state = state || Mlx.zeros({batch, heads, size, Mlx.axis_size(keys, 3)})

    {outputs, state} =
      if length == 1 do
        step(all, state)
      else
        {outputs, state} = all |> pieces(length, @pieces[least]) |> Enum.map_reduce(state, &piece(&1, least, &2))
        {Mlx.concatenate(outputs, axis: 2), state}
      end

    {Mlx.swap_axes(outputs, 1, 2), state}
  end

  # Rows are {batch, heads, 1, features}.
  defp step([queries, keys, values, a, b, decays], state) do
    [column_a, column_v, column_q] = for x <- [a, values, queries], do: Mlx.swap_axes(x, -1, -2)
    changed = state |> Mlx.matmul(column_a) |> Mlx.multiply(b)
    state = state |> Mlx.multiply(Mlx.exp(decays)) |> Mlx.add(changed) |> Mlx.add(Mlx.multiply(column_v, keys))
    {state |> Mlx.matmul(column_q) |> Mlx.swap_axes(-1, -2), state}
  end

  defp pieces(all, length, piece) when length <= piece, do: [all]

  defp pieces(all, length, piece) do
    all |> Enum.map(&Mlx.split(&1, Enum.to_list(piece..(length - 1)//piece), axis: 2)) |> Enum.zip_with(& &1)
  end

  defp piece([%Array{shape: {batch, heads, length, _}} | _] = all, least, state) do
    steps = min(@chunk, length)
    count = div(length + steps - 1, steps)
    [queries, keys, values, a, b, decays] = Enum.map(all, &chunked(&1, count, steps))
    sums = Mlx.cumulative_sum(decays, axis: -2)
    before = Mlx.exp(Mlx.subtract(sums, decays))
    total = sums |> rows(steps - 1, 1)
    to_end = Mlx.exp(Mlx.subtract(total, sums))

    # {batch, heads, count, steps, steps}: what a step takes from those up to it.
    {query_b, query_key, a_b, a_key} = scores(least, queries, a, b, keys, sums, decays)
    inverse = inverse(a_b, steps)
    from_state = Mlx.matmul(inverse, Mlx.multiply(a, before))
    from_values = Mlx.matmul(inverse, Mlx.matmul(a_key, values))

    # From chunk to chunk: state = state * (total decay + change) + added.
    [late_b, late_keys] = for x <- [b, keys], do: Mlx.multiply(x, to_end)
    change = Mlx.matmul(Mlx.swap_axes(from_state, -1, -2), late_b)
    added = Mlx.add(product(from_values, late_b), product(values, late_keys))
    {states, state} = carried(Mlx.exp(total), change, added, state)

    read = Mlx.add(Mlx.multiply(queries, Mlx.exp(sums)), Mlx.matmul(query_b, from_state))
    own = Mlx.add(Mlx.matmul(query_b, from_values), Mlx.matmul(query_key, values))
    outputs = Mlx.add(Mlx.matmul(read, Mlx.swap_axes(states, -1, -2)), own)
    size = Mlx.axis_size(values, -1)
    outputs = Mlx.reshape(outputs, {batch, heads, count * steps, size})
    {Mlx.slice(outputs, [0, 0, 0, 0], [batch, heads, length, size]), state}
  end

  # A step that is not there changes nothing.
  defp chunked(%Array{shape: {batch, heads, length, features}} = x, count, steps) do
    x = if count * steps == length, do: x, else: Mlx.pad(x, [{0, 0}, {0, 0}, {0, count * steps - length}, {0, 0}])
    Mlx.reshape(x, {batch, heads, count, steps, features})
  end

  # With one decay for all features of a head, products of rows decay as a whole.
  defp scores(_least, queries, a, b, keys, %Array{shape: {_, _, _, steps, 1}} = sums, decays) do
    columns = Mlx.swap_axes(sums, -1, -2)
    upto = decay(Mlx.subtract(sums, columns), steps, 0)
    below = decay(Mlx.subtract(Mlx.subtract(sums, decays), columns), steps, -1)
    [b, keys] = for x <- [b, keys], do: Mlx.swap_axes(x, -1, -2)

    {Mlx.multiply(Mlx.matmul(queries, b), upto), Mlx.multiply(Mlx.matmul(queries, keys), upto),
     Mlx.multiply(Mlx.matmul(a, b), below), Mlx.multiply(Mlx.matmul(a, keys), below)}
  end

  # Otherwise each feature decays by itself. Factors from the beginning of a chunk are numbers only for bounded ones.
  defp scores(:unbounded, queries, a, b, keys, %Array{shape: {_, _, _, steps, _}} = sums, decays) do
    others = Mlx.stack([b, keys], axis: -1)
    [query_b, query_key] = by_feature(queries, sums, sums, others, steps, 0)
    [a_b, a_key] = by_feature(a, Mlx.subtract(sums, decays), sums, others, steps, -1)
    {query_b, query_key, a_b, a_key}
  end

  defp scores(:bounded, queries, a, b, keys, %Array{shape: {_, _, _, steps, _}} = sums, decays) do
    queries = Mlx.multiply(queries, Mlx.exp(sums))
    a = Mlx.multiply(a, Mlx.exp(Mlx.subtract(sums, decays)))
    [b, keys] = for x <- [b, keys], do: x |> Mlx.multiply(Mlx.exp(Mlx.negate(sums))) |> Mlx.swap_axes(-1, -2)
    [upto, below] = for diagonal <- [0, -1], do: Mlx.tri(steps, steps, k: diagonal)

    {Mlx.multiply(Mlx.matmul(queries, b), upto), Mlx.multiply(Mlx.matmul(queries, keys), upto),
     Mlx.multiply(Mlx.matmul(a, b), below), Mlx.multiply(Mlx.matmul(a, keys), below)}
  end

  # The products of each row with the two others at each step that it sees.
  defp by_feature(rows, exponents, sums, others, steps, diagonal) do
    seen = Mlx.new_axis(Mlx.transpose(Mlx.tri(steps, steps, k: diagonal, type: :bool)), -1)
    apart = Mlx.subtract(Mlx.new_axis(exponents, -3), Mlx.new_axis(sums, -2))
    rows = Mlx.multiply(Mlx.new_axis(rows, -3), Mlx.exp(Mlx.select(seen, apart, :neg_infinity)))
    rows |> Mlx.matmul(others) |> Mlx.unstack(axis: -1) |> Enum.map(&Mlx.swap_axes(&1, -1, -2))
  end

  defp decay(exponents, steps, diagonal) do
    Mlx.exp(Mlx.select(Mlx.tri(steps, steps, k: diagonal, type: :bool), exponents, :neg_infinity))
  end

  # The inverse of 1 - x, for one with nothing on the diagonal and above it, row by row.
  defp inverse(%Array{shape: {batch, heads, count, steps, steps}} = x, steps) do
    unit = Mlx.broadcast(Mlx.eye(steps), {batch, heads, count, steps, steps})

    Enum.reduce(1..(steps - 1)//1, rows(unit, 0, 1), fn row, above ->
      taken = Mlx.slice(x, [0, 0, 0, row, 0], [batch, heads, count, 1, row])
      Mlx.concatenate([above, Mlx.add(rows(unit, row, 1), Mlx.matmul(taken, above))], axis: -2)
    end)
  end

  defp carried(%Array{shape: {_, _, count, _, _}} = total, change, added, state) do
    {states, state} =
      [total, change, added]
      |> Enum.map(fn x -> x |> Mlx.split(count, axis: 2) |> Enum.map(&Mlx.squeeze(&1, axes: [2])) end)
      |> Enum.zip_with(&List.to_tuple/1)
      |> Enum.map_reduce(state, fn {total, change, added}, state ->
        {state, state |> Mlx.multiply(total) |> Mlx.add(Mlx.matmul(state, change)) |> Mlx.add(added)}
      end)

    {Mlx.stack(states, axis: 2), state}
  end

  defp product(a, b), do: a |> Mlx.swap_axes(-1, -2) |> Mlx.matmul(b)

  defp rows(%Array{shape: {batch, heads, count, _, features}} = x, first, length) do
    Mlx.slice(x, [0, 0, 0, first, 0], [batch, heads, count, length, features])
  end
end
