defmodule Mlx.LM.Decoder.DecayedSum do
  @moduledoc false
  # Linear attention with a decay for each head: a state of a matrix for each head, to which each step adds a product, and
  # which is read at each step.
  #
  #     state = exp(decay) * state + value keyᵀ
  #     output = state query
  #
  # A sequence is computed in chunks: inside of all chunks at once as attention whose scores decay, and from chunk to chunk
  # by their states. Source: Dao and Gu, "Transformers are SSMs" (2024).

  alias Mlx.Array

  @chunk 64

  @doc """
  The outputs and the last state.

  | argument | shape |
  | --- | --- |
  | `queries`, `keys` | `{batch, length, groups, key size}` |
  | `values` | `{batch, length, heads, size}`; the heads are a multiple of the groups |
  | `decays` | `{batch, length, heads}`, or what broadcasts to it: logarithms of factors, at most 0 |
  | `state` | `{batch, heads, size, key size}`, or `nil` for zeros |
  """
  @spec call(Array.t(), Array.t(), Array.t(), Array.t(), Array.t() | nil) :: {Array.t(), Array.t()}
  def call(queries, keys, %Array{shape: {batch, length, heads, size}} = values, decays, state) do
    [queries, keys, values, decays] = for x <- [queries, keys, values, decays], do: Mlx.as_type(x, :f32)
    state = state || Mlx.zeros({batch, heads, size, Mlx.axis_size(keys, 3)})

    if length == 1 do
      step(queries, keys, values, decays, state)
    else
      decays = Mlx.broadcast(decays, {batch, length, heads})
      {outputs, state} = chunks(queries, keys, values, decays, state)
      {outputs |> Mlx.slice([0, 0, 0, 0], [batch, length, heads, size]), state}
    end
  end

  defp step(queries, keys, %Array{shape: {batch, 1, heads, size}} = values, decays, state) do
    [queries, keys] = for x <- [queries, keys], do: of_heads(x, heads)
    decays = decays |> Mlx.exp() |> Mlx.swap_axes(1, 2) |> Mlx.new_axis(-1)
    values = Mlx.reshape(values, {batch, heads, size, 1})
    state = Mlx.add(Mlx.multiply(decays, state), Mlx.multiply(values, Mlx.swap_axes(keys, -1, -2)))
    {state |> Mlx.matmul(queries) |> Mlx.reshape({batch, 1, heads, size}), state}
  end

  # {batch, 1, groups, features} -> {batch, heads, features, 1}
  defp of_heads(%Array{shape: {batch, 1, groups, features}} = x, heads) do
    x = x |> Mlx.reshape({batch, groups, features, 1})
    if groups == heads, do: x, else: Mlx.repeat(x, div(heads, groups), axis: 1)
  end

  # In the comments: b batch, n chunks, g groups, r heads of a group, s steps of a chunk, p features of a value, k of a key.
  defp chunks(queries, keys, values, decays, state) do
    %Array{shape: {batch, length, heads, size}} = values
    %Array{shape: {_, _, groups, key_size}} = keys
    steps = min(@chunk, length)
    count = div(length + steps - 1, steps)
    shared = div(heads, groups)

    # {b, n, g, s, k}, {b, n, g, r, s, p} and {b, n, g, r, s}: a step that is not there adds nothing, and does not decay.
    [queries, keys] =
      for x <- [queries, keys], do: x |> chunked(count, steps, groups) |> Mlx.transpose(axes: [0, 1, 3, 2, 4])

    values = values |> chunked(count, steps, heads) |> Mlx.transpose(axes: [0, 1, 3, 2, 4])
    values = Mlx.reshape(values, {batch, count, groups, shared, steps, size})

    decays =
      decays |> Mlx.new_axis(-1) |> chunked(count, steps, heads) |> Mlx.squeeze(axes: [-1]) |> Mlx.swap_axes(2, 3)

    sums = decays |> Mlx.cumulative_sum(axis: -1) |> Mlx.reshape({batch, count, groups, shared, steps})

    total = Mlx.slice(sums, [0, 0, 0, 0, steps - 1], [batch, count, groups, shared, 1])
    inside = inside(queries, keys, values, sums)

    # {b, n, g, r * p, k}: what a chunk adds to the state, and the states before each chunk.
    weighted = Mlx.multiply(values, Mlx.new_axis(Mlx.exp(Mlx.subtract(total, sums)), -1))
    columns = weighted |> Mlx.swap_axes(-1, -2) |> Mlx.reshape({batch, count, groups, shared * size, steps})
    added = columns |> Mlx.matmul(keys) |> Mlx.reshape({batch, count, heads, size, key_size})
    {before, state} = carried(added, Mlx.reshape(Mlx.exp(total), {batch, count, heads, 1, 1}), state)

    read =
      Mlx.matmul(
        queries,
        before |> Mlx.reshape({batch, count, groups, shared * size, key_size}) |> Mlx.swap_axes(-1, -2)
      )

    read = read |> Mlx.reshape({batch, count, groups, steps, shared, size}) |> Mlx.swap_axes(3, 4)
    outputs = Mlx.add(inside, Mlx.multiply(read, Mlx.new_axis(Mlx.exp(sums), -1)))

    outputs = outputs |> Mlx.reshape({batch, count, heads, steps, size}) |> Mlx.swap_axes(2, 3)
    {Mlx.reshape(outputs, {batch, count * steps, heads, size}), state}
  end

  defp chunked(%Array{shape: {batch, length, _heads, features}} = x, count, steps, heads) do
    x = if count * steps == length, do: x, else: Mlx.pad(x, [{0, 0}, {0, count * steps - length}, {0, 0}, {0, 0}])
    Mlx.reshape(x, {batch, count, steps, heads, features})
  end

  # {b, n, g, r, s, p}: what the steps of a chunk give each other.
  defp inside(queries, keys, values, %Array{shape: {_, _, _, _, steps}} = sums) do
    scores = queries |> Mlx.matmul(Mlx.swap_axes(keys, -1, -2)) |> Mlx.new_axis(3)
    decay = Mlx.subtract(Mlx.new_axis(sums, -1), Mlx.new_axis(sums, -2))
    decay = Mlx.exp(Mlx.select(Mlx.tri(steps, steps, type: :bool), decay, :neg_infinity))
    scores |> Mlx.multiply(decay) |> Mlx.matmul(values)
  end

  defp carried(%Array{shape: {_batch, count, _, _, _}} = added, decays, state) do
    {before, state} =
      [added, decays]
      |> Enum.map(&Mlx.split(&1, count, axis: 1))
      |> Enum.zip_with(fn [added, decay] -> {Mlx.squeeze(added, axes: [1]), Mlx.squeeze(decay, axes: [1])} end)
      |> Enum.map_reduce(state, fn {added, decay}, state -> {state, Mlx.add(Mlx.multiply(state, decay), added)} end)

    {Mlx.stack(before, axis: 1), state}
  end
end
