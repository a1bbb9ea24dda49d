defmodule Mlx.LM.Decoder.LinearScan do
  @moduledoc false
  # A recurrence of numbers: `state = factor * state + added`, for each element by itself.
  #
  # A sequence is cut into about as many chunks as a chunk has steps. All chunks take a step at once, and then the states
  # go from chunk to chunk. So the graph grows with the root of the length.

  alias Mlx.Array

  @doc """
  The states after each step, and the last one.

  `factors` and `added` have the shape `{batch, length, ...}`, and `state` has `{batch, ...}`, or is `nil` for zeros.
  """
  @spec call(Array.t(), Array.t(), Array.t() | nil) :: {Array.t(), Array.t()}
  def call(%Array{shape: shape} = factors, added, state) do
    [batch, length | rest] = Tuple.to_list(shape)
    state = state || Mlx.zeros([batch | rest], type: added.type)

    if length == 1 do
      state = Mlx.add(Mlx.multiply(Mlx.squeeze(factors, axes: [1]), state), Mlx.squeeze(added, axes: [1]))
      {Mlx.new_axis(state, 1), state}
    else
      steps = length |> :math.sqrt() |> ceil()
      count = div(length + steps - 1, steps)
      {local, decays} = [factors, added] |> Enum.map(&by_step(&1, count, steps)) |> local()
      states = Mlx.add(local, Mlx.multiply(decays, Mlx.new_axis(before(local, decays, state), 2)))
      states = states |> Mlx.reshape([batch, count * steps | rest]) |> rows(0, length)
      {states, states |> rows(length - 1, 1) |> Mlx.squeeze(axes: [1])}
    end
  end

  # For each step of a chunk an array {batch, count, ...}. Steps that are not there come last, and are cut off afterwards.
  defp by_step(%Array{shape: shape} = x, count, steps) do
    [batch, length | rest] = Tuple.to_list(shape)
    widths = [{0, 0}, {0, count * steps - length} | Enum.map(rest, fn _ -> {0, 0} end)]
    x = if count * steps == length, do: x, else: Mlx.pad(x, widths)
    x |> Mlx.reshape([batch, count, steps | rest]) |> Mlx.split(steps, axis: 2) |> Enum.map(&Mlx.squeeze(&1, axes: [2]))
  end

  # {batch, count, steps, ...}: the states when each chunk begins with zeros, and the products of the factors.
  defp local([[first_factor | factors], [first_added | added]]) do
    states =
      Enum.scan([first_added | Enum.zip(factors, added)], fn {factor, x}, state ->
        Mlx.add(Mlx.multiply(factor, state), x)
      end)

    {Mlx.stack(states, axis: 2), [first_factor | factors] |> Enum.scan(&Mlx.multiply/2) |> Mlx.stack(axis: 2)}
  end

  # {batch, count, ...}: the state before each chunk.
  defp before(%Array{shape: shape} = local, decays, state) do
    count = elem(shape, 1)
    steps = elem(shape, 2)

    {before, _state} =
      [local, decays]
      |> Enum.map(fn x ->
        x |> last_step(steps) |> Mlx.split(count, axis: 1) |> Enum.map(&Mlx.squeeze(&1, axes: [1]))
      end)
      |> Enum.zip_with(&List.to_tuple/1)
      |> Enum.map_reduce(state, fn {added, decay}, state -> {state, Mlx.add(Mlx.multiply(decay, state), added)} end)

    Mlx.stack(before, axis: 1)
  end

  defp last_step(%Array{shape: shape} = x, steps) do
    [batch, count, _steps | rest] = Tuple.to_list(shape)
    starts = [0, 0, steps - 1 | Enum.map(rest, fn _ -> 0 end)]
    x |> Mlx.slice(starts, [batch, count, 1 | rest]) |> Mlx.squeeze(axes: [2])
  end

  defp rows(%Array{shape: shape} = x, first, count) do
    [batch, _length | rest] = Tuple.to_list(shape)
    Mlx.slice(x, [0, first | Enum.map(rest, fn _ -> 0 end)], [batch, count | rest])
  end
end
