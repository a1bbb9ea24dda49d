defmodule Mlx.Training.Window do
  @moduledoc false
  # The losses since the last report and what was counted, still on the device, and when it was.

  alias Mlx.Array

  defstruct losses: [], counts: [], started: 0, rate: 0.0

  @type t :: %__MODULE__{
          losses: [Array.t()],
          counts: [Array.t()],
          started: integer(),
          rate: float()
        }

  @doc "A window that begins now. The rate is that of the one before."
  @spec new(float()) :: t()
  def new(rate \\ 0.0), do: %__MODULE__{started: System.monotonic_time(), rate: rate}

  @doc """
  The window with the loss of a step and what its batches count, after the step before it is computed: the device has at most
  two of them.
  """
  @spec add(t(), Array.t(), [Array.t()]) :: t()
  def add(%{losses: losses} = window, loss, counts \\ []) do
    losses |> Enum.take(1) |> Mlx.eval()
    %{window | losses: [loss | losses], counts: counts ++ window.counts}
  end

  @doc "The sum of what was counted."
  @spec counted(t()) :: integer()
  def counted(%{counts: counts}), do: Enum.sum_by(counts, &Mlx.to_number/1)

  @doc "The mean of the losses, and the next window."
  @spec close(t()) :: {number() | atom(), t()}
  def close(%{losses: [_ | _] = losses} = window) do
    mean = losses |> Enum.reverse() |> Mlx.stack() |> Mlx.as_type(:f32) |> Mlx.mean() |> Mlx.to_number()
    {mean, new(length(losses) / seconds(window))}
  end

  # A clock may stand still between two steps.
  defp seconds(%{started: started}),
    do: max(System.monotonic_time() - started, 1) / System.convert_time_unit(1, :second, :native)
end
