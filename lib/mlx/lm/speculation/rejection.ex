defmodule Mlx.LM.Speculation.Rejection do
  @moduledoc false
  # Rejection sampling (Leviathan, Kalman and Matias 2023): a token `x` that was drawn with the probabilities `q` is accepted
  # with the probability `min(1, p(x) / q(x))`; in place of the first that is not, a token is drawn with probabilities in
  # proportion to `max(p - q, 0)`. The tokens have the distribution `p` then, whatever `q` is.

  alias Mlx.{Array, Random}

  @doc """
  For drafts `{batch, count}`, the probabilities `{batch, count, vocabulary}` that they were drawn with, and those of the
  model `{batch, count + 1, vocabulary}`, of which the last are those after all drafts: how many drafts of each row are
  accepted, `{batch}`, and the token that follows them, `{batch}`. The random numbers are those of the key.
  """
  @spec choose(Array.t(), Array.t(), Array.t(), Array.t()) :: {Array.t(), Array.t()}
  def choose(
        %Array{shape: {batch, count}} = drafts,
        %Array{shape: {batch, count, vocabulary}} = draft,
        %Array{} = model,
        key
      ) do
    [accepting, drawing] = key |> Random.split() |> Mlx.unstack()
    index = drafts |> Mlx.as_type(:s32) |> Mlx.new_axis(2)
    at = fn probabilities -> probabilities |> Mlx.take_along_axis(index, axis: 2) |> Mlx.squeeze(axes: [2]) end
    before = Mlx.slice(model, [0, 0, 0], [batch, count, vocabulary])

    # Without a quotient, which of nothing would be no number.
    accepted =
      {batch, count}
      |> Random.uniform(key: accepting)
      |> Mlx.multiply(at.(draft))
      |> Mlx.less(at.(before))
      |> Mlx.as_type(:s32)
      |> Mlx.cumulative_product(axis: 1)
      |> Mlx.sum(axes: [1])

    # After all drafts nothing is taken off.
    draft = Mlx.concatenate([draft, Mlx.zeros({batch, 1, vocabulary}, type: draft.type)], axis: 1)
    place = accepted |> Mlx.reshape({batch, 1, 1}) |> Mlx.broadcast({batch, 1, vocabulary})
    [p, q] = for rows <- [model, draft], do: rows |> Mlx.take_along_axis(place, axis: 1) |> Mlx.squeeze(axes: [1])
    {accepted, p |> left(q) |> Mlx.log() |> Random.categorical(key: drawing) |> Mlx.as_type(:s32)}
  end

  # Where both are the same but for rounding, nothing may be left.
  defp left(p, q) do
    rest = Mlx.max(Mlx.subtract(p, q), 0)
    Mlx.select(Mlx.greater(Mlx.sum(rest, axes: [-1], keep_axes: true), 0), rest, p)
  end
end
