defmodule Mlx.IO.GGUF do
  @moduledoc false
  # Loads GGUF files. MLX maps the file into memory and follows its header, so that is checked first.

  alias Mlx.{Array, Native, Stream}
  alias Mlx.IO.GGUFMetadata

  @spec load(Path.t(), Stream.t() | nil) :: {%{String.t() => Array.t()}, GGUFMetadata.t()}
  def load(path, stream) do
    header = GGUFMetadata.read(path)
    {writable(path, &Native.load_gguf(&1, stream)), header}
  end

  # MLX opens the file for writing too, though it only reads it, and is done with it when it has loaded the arrays.
  defp writable(path, load) do
    if File.stat!(path).access == :read_write, do: load.(path), else: with_copy(path, load)
  end

  defp with_copy(path, load) do
    copy = Path.join(System.tmp_dir!(), "mlx-#{System.pid()}-#{System.unique_integer([:positive])}.gguf")

    try do
      File.touch!(copy)
      File.chmod!(copy, 0o600)
      {:ok, _bytes} = :file.copy(path, copy)
      load.(copy)
    after
      File.rm(copy)
    end
  end
end
