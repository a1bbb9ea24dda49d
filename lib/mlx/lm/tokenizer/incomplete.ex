defmodule Mlx.LM.Tokenizer.Incomplete do
  @moduledoc false
  # Bytes at the end of a text that may become a character with the next ones.

  @doc """
  The bytes up to the start of a character that is not complete, and that start.

      iex> Mlx.LM.Tokenizer.Incomplete.split(<<"a", 0xC3>>)
      {"a", <<0xC3>>}
  """
  @spec split(binary) :: {binary, binary}
  def split(bytes) do
    complete = byte_size(bytes) - unfinished(bytes)
    <<text::binary-size(complete), waiting::binary>> = bytes
    {text, waiting}
  end

  defp unfinished(bytes) do
    Enum.find(min(3, byte_size(bytes))..1//-1, 0, fn size ->
      start?(binary_part(bytes, byte_size(bytes), -size))
    end)
  end

  # The proper starts of well-formed characters.
  defguardp continues(byte) when byte in 0x80..0xBF

  defp start?(<<lead>>), do: lead in 0xC2..0xF4
  defp start?(<<0xE0, byte>>), do: byte in 0xA0..0xBF
  defp start?(<<0xED, byte>>), do: byte in 0x80..0x9F
  defp start?(<<0xF0, byte>>), do: byte in 0x90..0xBF
  defp start?(<<0xF4, byte>>), do: byte in 0x80..0x8F
  defp start?(<<lead, byte>>) when continues(byte), do: lead in 0xE1..0xEF or lead in 0xF1..0xF3
  defp start?(<<lead, second, byte>>) when continues(byte), do: lead >= 0xF0 and start?(<<lead, second>>)
  defp start?(_bytes), do: false
end
