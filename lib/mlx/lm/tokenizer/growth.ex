defmodule Mlx.LM.Tokenizer.Growth do
  @moduledoc false
  # Stops a tokenizer that makes texts ever longer: replacements in a sequence can double a text each.

  @least 1_000_000
  @times 100

  # What one token, or tokens that are joined, may become.
  @most 16_000_000

  @doc "The new text, when it is not far longer than the one that it was made from."
  @spec check(binary, binary) :: binary
  def check(new, old) when byte_size(new) <= @least or byte_size(new) <= @times * byte_size(old), do: new

  def check(new, old) do
    raise Mlx.Error,
      message: "the tokenizer makes a text of #{byte_size(old)} bytes one of #{byte_size(new)} bytes, which is too long"
  end

  @doc "The new text of tokens, when it is not longer than the old one, or not too long."
  @spec check_token(binary, binary) :: binary
  def check_token(new, old) when byte_size(new) <= byte_size(old) or byte_size(new) <= @most, do: new

  def check_token(new, _old) do
    raise Mlx.Error, message: "the tokenizer makes text of #{byte_size(new)} bytes from tokens, which is too long"
  end
end
