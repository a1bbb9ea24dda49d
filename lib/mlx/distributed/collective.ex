defmodule Mlx.Distributed.Collective do
  @moduledoc false
  # Collective operations inside of functions that are recorded. There each is an instruction with derivatives, and takes
  # place when the recorded function runs.
  #
  # Each process differentiates its own copy of one and the same value, so that the cotangents of what all processes have
  # are those of all processes.

  alias Mlx.{Array, Native}
  alias Mlx.Distributed.Group
  alias Mlx.Transforms.Recording

  @type name :: :all_sum | :all_max | :all_min | :all_gather | :sum_scatter

  @doc "The result for an array that is traced. `timeout` is in milliseconds, or nil."
  @spec record(Array.t(), name(), Group.t(), non_neg_integer() | nil) :: Array.t()
  def record(x, name, group, timeout) do
    exchange = &exchange(&1, &2, group, timeout)

    Mlx.custom_function(&exchange.(name, &1),
      vjp: fn [x], cotangent, _result -> [cotangent_of(name, x, cotangent, group, exchange)] end,
      jvp: fn [_x], [tangent] -> exchange.(name, tangent) end
    ).(x)
  end

  defp exchange(name, x, group, timeout) do
    [result] = name |> Native.distributed_recorded(group.ref, timeout) |> Recording.run([x])
    result
  end

  defp cotangent_of(:all_gather, %Array{shape: {}}, cotangent, group, _exchange), do: Mlx.at(cotangent, group.rank)

  defp cotangent_of(:all_gather, %Array{shape: shape}, cotangent, group, _exchange) do
    [first | rest] = Tuple.to_list(shape)
    Mlx.slice(cotangent, [group.rank * first | Enum.map(rest, fn _length -> 0 end)], [first | rest])
  end

  defp cotangent_of(:sum_scatter, _x, cotangent, _group, exchange), do: exchange.(:all_gather, cotangent)
  defp cotangent_of(_combining, _x, cotangent, _group, _exchange), do: cotangent

  @doc "The array itself. Its cotangents are summed over the processes."
  @spec sum_cotangents(Array.t(), Group.t()) :: Array.t()
  def sum_cotangents(x, %Group{size: 1}), do: x

  def sum_cotangents(x, group) do
    if Native.is_traced([x]) do
      Mlx.custom_function(&Function.identity/1,
        vjp: fn [_x], cotangent, _result -> [exchange(:all_sum, cotangent, group, nil)] end,
        jvp: fn [_x], [tangent] -> tangent end
      ).(x)
    else
      x
    end
  end
end
