defmodule Mlx.LM.Decoder.ExpertChoice do
  @moduledoc false
  # Which experts of `Mlx.LM.Decoder.Experts` each token takes, and how much of each.

  alias Mlx.Array
  alias Mlx.LM.Decoder.Experts
  alias Mlx.NN.Activations

  @doc """
  The scores and the chosen experts, `{batch, length, top}`, for what the gate gives, `{batch, length, experts}`. A layer with
  a table needs the tokens `{batch, length}`.
  """
  @spec call(Experts.t(), Array.t(), Array.t() | nil) :: {Array.t(), Array.t()}
  def call(%Experts{logit_scale: scale} = layer, logits, ids) do
    logits = if scale, do: logits |> Mlx.as_type(:f32) |> Mlx.multiply(scale), else: logits
    choose(layer, capped(layer, logits), ids)
  end

  defp choose(%Experts{tid2eid: %Array{} = table} = layer, logits, ids) do
    chosen = table |> Mlx.take(ids, axis: 0) |> Mlx.as_type(:u32)
    taken = Mlx.take_along_axis(scores(layer.scores, logits), chosen, axis: -1)
    {scaled(layer, normalized(layer, taken)), chosen}
  end

  defp choose(layer, logits, _ids), do: choose(layer, logits)

  defp choose(%Experts{scores: :softmax_of_chosen} = layer, logits) do
    chosen = greatest(logits, layer.top)
    {logits |> Mlx.take_along_axis(chosen, axis: -1) |> Mlx.softmax(axes: -1, precise: true), chosen}
  end

  defp choose(%Experts{scores: :sigmoid_of_chosen} = layer, logits) do
    chosen = greatest(logits, layer.top)
    {logits |> Mlx.take_along_axis(chosen, axis: -1) |> Mlx.as_type(:f32) |> Mlx.sigmoid(), chosen}
  end

  defp choose(%Experts{scores: :sparse_mixer} = layer, logits) do
    {chosen, _left} = Enum.map_reduce(1..layer.top, logits, fn _choice, left -> mixed(layer, logits, left) end)
    {scores, experts} = Enum.unzip(chosen)
    {Mlx.concatenate(scores, axis: -1), Mlx.concatenate(experts, axis: -1)}
  end

  defp choose(%Experts{} = layer, logits) do
    scores = scores(layer.scores, logits)
    wanted = if layer.e_score_correction_bias, do: Mlx.add(scores, layer.e_score_correction_bias), else: scores
    chosen = layer |> in_groups(wanted) |> greatest(layer.top)
    taken = Mlx.take_along_axis(scores, chosen, axis: -1)
    {scaled(layer, normalized(layer, taken)), chosen}
  end

  # The best one of those that are left, and its score among those that are close to it.
  defp mixed(%Experts{jitter: jitter}, logits, left) do
    most = Mlx.reduce_max(left, axes: [-1], keep_axes: true)
    expert = left |> Mlx.argmax(axis: -1, keep_axis: true) |> Mlx.stop_gradient()
    apart = Mlx.divide(Mlx.subtract(most, logits), Mlx.max(Mlx.abs(logits), most))
    close = Mlx.select(Mlx.greater(apart, 2 * jitter), :neg_infinity, left)
    score = close |> Mlx.softmax(axes: -1, precise: true) |> Mlx.take_along_axis(expert, axis: -1)
    {{score, expert}, Mlx.put_along_axis(left, expert, Mlx.array(:neg_infinity, type: left.type), axis: -1)}
  end

  defp capped(%Experts{logit_cap: nil}, logits), do: logits

  defp capped(%Experts{logit_cap: cap}, logits) do
    logits |> Mlx.as_type(:f32) |> Mlx.divide(cap) |> Mlx.tanh() |> Mlx.multiply(cap)
  end

  defp scores(:sqrt_softplus, logits), do: logits |> Mlx.as_type(:f32) |> Activations.softplus() |> Mlx.sqrt()
  defp scores(:softmax, logits), do: Mlx.softmax(logits, axes: -1, precise: true)
  defp scores(:sigmoid, logits), do: logits |> Mlx.as_type(:f32) |> Mlx.sigmoid()

  defp normalized(%Experts{normalize: false}, scores), do: scores

  defp normalized(%Experts{scores: :sigmoid}, scores) do
    Mlx.divide(scores, Mlx.add(Mlx.sum(scores, axes: [-1], keep_axes: true), 1.0e-20))
  end

  defp normalized(_layer, scores), do: Mlx.divide(scores, Mlx.sum(scores, axes: [-1], keep_axes: true))

  defp scaled(%Experts{scale: scale}, scores) when scale == 1, do: scores
  defp scaled(%Experts{scale: scale}, scores), do: Mlx.multiply(scores, scale)

  # Experts of the groups that are not among the best are not chosen.
  defp in_groups(%Experts{groups: nil}, wanted), do: wanted
  defp in_groups(%Experts{groups: {count, count}}, wanted), do: wanted

  defp in_groups(%Experts{groups: {groups, kept}} = layer, %Array{shape: {batch, length, experts}} = wanted) do
    grouped = Mlx.reshape(wanted, {batch, length, groups, div(experts, groups)})
    worth = worth(layer.group_worth, grouped)
    worst = worth |> Mlx.argpartition(groups - kept - 1) |> Mlx.slice([0, 0, 0], [batch, length, groups - kept])
    worst = Mlx.stop_gradient(worst)
    worst = Mlx.broadcast(Mlx.new_axis(worst, -1), {batch, length, groups - kept, div(experts, groups)})

    grouped
    |> Mlx.put_along_axis(worst, Mlx.array(layer.dropped, type: wanted.type), axis: -2)
    |> Mlx.reshape({batch, length, experts})
  end

  defp worth(:best, grouped), do: Mlx.reduce_max(grouped, axes: [-1])
  defp worth(:two_best, grouped), do: grouped |> Mlx.top_k(2, axis: -1) |> Mlx.sum(axes: [-1])

  defp greatest(%Array{shape: shape} = scores, count) do
    lengths = shape |> Tuple.to_list() |> List.replace_at(-1, count)
    starts = List.duplicate(0, tuple_size(shape))
    scores |> Mlx.negate() |> Mlx.argpartition(count - 1) |> Mlx.slice(starts, lengths) |> Mlx.stop_gradient()
  end
end
