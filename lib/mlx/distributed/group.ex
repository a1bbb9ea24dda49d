defmodule Mlx.Distributed.Group do
  @moduledoc """
  Processes of the operating system, on one machine or several, that compute together.

  Each has a rank, from 0 to one less than the size of the group. `Mlx.Distributed.init/1` makes a group.

  Python: `mlx.core.distributed.Group`; `rank` and `size` are fields here.
  """

  alias Mlx.Native

  @enforce_keys [:ref, :rank, :size]
  defstruct [:ref, :rank, :size]

  @type t :: %__MODULE__{ref: reference(), rank: non_neg_integer(), size: pos_integer()}

  @doc false
  @spec wrap(reference()) :: t()
  def wrap(ref),
    do: %__MODULE__{ref: ref, rank: Native.distributed_group_rank(ref), size: Native.distributed_group_size(ref)}

  defimpl Inspect do
    def inspect(group, _opts), do: "#Mlx.Distributed.Group<rank #{group.rank} of #{group.size}>"
  end
end
