defmodule Mlx.Memory.Ticket do
  @moduledoc """
  A claim to wired memory, which `Mlx.Memory.wire/2` makes and `Mlx.Memory.release/1` ends.

    * `bytes` - how much memory is claimed
    * `owner` - the process that made the claim, with whose end it ends
    * `kind` - `:active`, or `:reserved` for memory that need not stay wired while nothing active is beside it
    * `policy`, `budget`, `group` - what decides on the claim: see `Mlx.Memory.wire/2`

  mlx-swift: `WiredMemoryTicket`.
  """

  @enforce_keys [:bytes, :kind, :policy, :budget, :group]
  defstruct [:ref, :owner | @enforce_keys]

  @typedoc "How the bytes of the tickets of one group come together."
  @type policy :: :max | :sum | {:fixed, non_neg_integer()}

  @typedoc "Whether memory is to stay wired for the ticket alone."
  @type kind :: :active | :reserved

  @type t :: %__MODULE__{
          ref: reference(),
          owner: pid(),
          bytes: non_neg_integer(),
          kind: kind(),
          policy: policy(),
          budget: non_neg_integer() | :infinity,
          group: term()
        }

  defimpl Inspect do
    def inspect(ticket, _opts) do
      "#Mlx.Memory.Ticket<#{ticket.bytes} bytes, #{ticket.kind}, owned by #{Kernel.inspect(ticket.owner)}>"
    end
  end
end
