defmodule Mlx.LM.Server.Error do
  @moduledoc """
  Why a request to `Mlx.LM.Server` has no answer. `:reason` is one of

  | reason | what happened |
  | --- | --- |
  | `:invalid` | the prompt or an option is wrong |
  | `:too_large` | the prompt is longer than the model's context, or its caches do not fit into the memory of the server |
  | `:queue_full` | as many requests wait as may |
  | `:deadline` | the time of `:deadline` is over |
  | `:cancelled` | `Mlx.LM.Server.cancel/2` was called |
  | `:shutdown` | the server stops, or is not there |
  | `:failed` | the computation broke down, or the server did |

      iex> error = Mlx.LM.Server.Error.new(:deadline, "Mlx.LM.Server.generate: there was no answer within 5 ms")
      iex> {error.reason, Exception.message(error)}
      {:deadline, "Mlx.LM.Server.generate: there was no answer within 5 ms"}
  """

  use Mlx.Arguments.Mismatch

  @reasons [:invalid, :too_large, :queue_full, :deadline, :cancelled, :shutdown, :failed]

  @type reason :: :invalid | :too_large | :queue_full | :deadline | :cancelled | :shutdown | :failed

  @type t :: %__MODULE__{reason: reason(), message: String.t()}

  @enforce_keys [:reason, :message]
  defexception [:reason, :message]

  @doc "The error of a reason."
  @spec new(reason(), String.t()) :: t()
  def new(reason, message) when reason in @reasons and is_binary(message) do
    %__MODULE__{reason: reason, message: message}
  end
end
