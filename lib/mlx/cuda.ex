defmodule Mlx.CUDA do
  @moduledoc """
  What is special to NVIDIA's GPUs.

  Python: `mlx.core.cuda`.
  """

  @doc """
  Whether the library was built for CUDA.

      iex> is_boolean(Mlx.CUDA.available?())
      true

  Python: `mlx.core.cuda.is_available`.
  """
  @spec available?() :: boolean()
  def available?, do: Mlx.Native.cuda_is_available()
end
