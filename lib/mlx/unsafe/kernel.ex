defmodule Mlx.Unsafe.Kernel do
  @moduledoc """
  A kernel for a GPU, made by `Mlx.Unsafe.metal_kernel/5` or `Mlx.Unsafe.cuda_kernel/5`.
  """

  @enforce_keys [:ref, :name, :language]
  defstruct [:ref, :name, :language]

  @type t :: %__MODULE__{ref: reference(), name: String.t(), language: :metal | :cuda}

  defimpl Inspect do
    def inspect(kernel, _opts), do: "#Mlx.Unsafe.Kernel<#{kernel.language} #{kernel.name}>"
  end
end
