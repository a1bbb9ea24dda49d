defmodule Mlx.Application do
  @moduledoc false

  use Application

  @impl true
  def start(_type, _arguments) do
    Supervisor.start_link([Mlx.Pressure.Collector], strategy: :one_for_one, name: Mlx.Supervisor)
  end
end
