defmodule Mlx.LM.Families.GroupedRows do
  @moduledoc false
  # One matrix of q, k and v whose rows lie group by group: for each head of keys its queries, the key and the value.

  alias Mlx.Array
  alias Mlx.LM.Families.{Fields, Tensors}
  alias Mlx.LM.Family

  @parts for part <- ~w(q k v), do: "self_attn.#{part}_proj"

  @doc "The tensors with three matrices in the place of the one that has this name in `self_attn`."
  @spec split(Family.tensors(), String.t(), pos_integer(), pos_integer()) :: Family.tensors()
  def split(tensors, joint, heads, shared) do
    Tensors.replace(tensors, ~r/self_attn\.#{joint}\./, fn name, array ->
      for {part, rows} <- parts(array, div(heads, shared), shared),
          do: {String.replace(name, ".#{joint}.", ".#{part}_proj."), rows}
    end)
  end

  @doc "What `c:Mlx.LM.Family.joints/0` says of it. `shared` gives the number of heads of keys."
  @spec joint(String.t(), (Fields.t() -> pos_integer())) :: Family.joint()
  def joint(joint, shared), do: {"self_attn.#{joint}", @parts, &join(&1, shared.(&2))}

  defp join(parts, shared) do
    parts
    |> Enum.map(fn %Array{shape: shape} = part ->
      [rows | rest] = Tuple.to_list(shape)
      Mlx.reshape(part, List.to_tuple([shared, div(rows, shared) | rest]))
    end)
    |> Mlx.concatenate(axis: 1)
    |> Mlx.flatten(axes: [0, 1])
  end

  defp parts(%Array{shape: shape} = array, group, shared) do
    [rows | rest] = Tuple.to_list(shape)
    size = div(rows, shared * (group + 2))
    grouped = Mlx.reshape(array, List.to_tuple([shared, group + 2, size | rest]))

    for {part, {first, count}} <- [q: {0, group}, k: {group, 1}, v: {group + 1, 1}] do
      block = Mlx.slice(grouped, [0, first | List.duplicate(0, length(rest) + 1)], [shared, count, size | rest])
      {part, Mlx.reshape(block, List.to_tuple([shared * count * size | rest]))}
    end
  end
end
