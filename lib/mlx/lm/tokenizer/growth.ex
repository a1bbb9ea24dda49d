defmodule Mlx.LM.Tokenizer.Growth do
  @moduledoc false
  # Stops a tokenizer that makes texts ever longer: replacements in a sequence can double a text each.

  @least 1_000_000
  @times 100

  @doc "The new text, when it is not far longer than the one that it was made from."
  @spec check(binary, binary) :: binary
  def check(new, old) when byte_size(new) <= @least or byte_size(new) <= @times * byte_size(old), do: new

  def check(new, old) do
    raise Mlx.Error,
      message: "the tokenizer makes a text of #{byte_size(old)} bytes one of #{byte_size(new)} bytes, which is too long"
  end
end
