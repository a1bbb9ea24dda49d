defmodule Mlx.Application do
  @moduledoc false

  use Application

  @impl true
  def start(_type, _arguments) do
    children = [
      Mlx.Values.Garbage.Collector,
      Mlx.Memory.Wired,
      Mlx.Transforms.KernelProgress,
      Mlx.Distributed.Nodes,
      Mlx.LM.Grammar.Cache,
      Mlx.LM.Server.Group
    ]

    Supervisor.start_link(children, strategy: :one_for_one, name: Mlx.Supervisor)
  end
end
