defmodule Mlx.LM.Server.Entry do
  @moduledoc false
  # A request as the server keeps it: who gets its events, and how far it is. `intake` is the process that reads the prompt,
  # until there is a `request`; `active` says that the runner has it; `first` is when its first event came.

  alias Mlx.LM.Server.Request

  @enforce_keys [:ref, :target, :called, :monitors, :came]
  defstruct @enforce_keys ++ [:intake, :request, :timer, :first, active: false]

  @type t :: %__MODULE__{
          ref: reference(),
          target: pid() | reference(),
          called: String.t(),
          monitors: [reference()],
          came: integer(),
          intake: pid() | nil,
          request: Request.t() | nil,
          timer: reference() | nil,
          first: integer() | nil,
          active: boolean()
        }
end
