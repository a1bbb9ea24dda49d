if Code.ensure_loaded?(Nx) do
  # What `Mlx.Nx.Fast` hands to the backend: the options of each function. Its tensors are the arguments of the block.
  # An argument that may be left out comes last, or is announced by an option.

  defmodule Mlx.Nx.Block.RMSNorm do
    @moduledoc false
    # Arguments: x, and the weight if there is one.
    defstruct [:eps]
  end

  defmodule Mlx.Nx.Block.LayerNorm do
    @moduledoc false
    # Arguments: x, and those of weight and bias that there are.
    defstruct [:eps, :weight, :bias]
  end

  defmodule Mlx.Nx.Block.RoPE do
    @moduledoc false
    # Arguments: x, the offset, and the frequencies if there are some.
    defstruct [:dimensions, :traditional, :base, :scale]
  end

  defmodule Mlx.Nx.Block.Attention do
    @moduledoc false
    # Arguments: queries, keys, values, the sinks if there are some, and the mask if it is a tensor.
    defstruct [:scale, :causal, :sinks]
  end

  defmodule Mlx.Nx.Block.QuantizedMatmul do
    @moduledoc false
    # Arguments: x, weights, scales and biases.
    defstruct [:transpose, :group_size, :bits]
  end

  defmodule Mlx.Nx.Block.Gradient do
    @moduledoc false
    # Arguments: those of the block `of`, and the gradient of its result. Result: a tuple of the gradients of the first
    # `count` arguments.
    defstruct [:of, :count]
  end
end
