defmodule Mlx.Optimizers.Optimizer do
  @moduledoc """
  The behaviour of all optimizers. `Mlx.Optimizers.init/2` and `Mlx.Optimizers.update/4` call it.

  An optimizer that treats each parameter by itself uses `Mlx.Optimizers.PerParameter`, which has both functions.

  Python: `mlx.optimizers.Optimizer`.
  """

  alias Mlx.{Optimizers, Tree}

  @doc "The state before the first step."
  @callback init(optimizer :: Optimizers.t(), parameters :: Tree.t()) :: Optimizers.state()

  @doc "The parameters and the state after a step."
  @callback update(
              optimizer :: Optimizers.t(),
              gradients :: Tree.t(),
              parameters :: Tree.t(),
              state :: Optimizers.state()
            ) :: {parameters :: Tree.t(), Optimizers.state()}
end
