defmodule Mlx.Error do
  @moduledoc """
  Raised when MLX, or a file it should read, does not allow what was asked for.

  `:message` says what was wrong and, for an operation, starts with the function's name.
  """
  defexception [:message]
end
