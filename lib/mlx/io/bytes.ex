defmodule Mlx.IO.Bytes do
  @moduledoc false
  # The bytes of a file or of a binary, read by their place, so that a file is never held as a whole.

  @enforce_keys [:from, :size]
  defstruct [:from, :size, :path]

  @type t :: %__MODULE__{from: binary() | {:file, :file.fd()}, size: non_neg_integer(), path: Path.t() | nil}

  # Linux reads at most 2 GB at once.
  @most_at_once 0x40000000

  @doc "The bytes of a binary. Their `path` is nil."
  @spec of(binary()) :: t()
  def of(binary), do: %__MODULE__{from: binary, size: byte_size(binary)}

  @doc "Calls a function with the bytes of a file. Raises `Mlx.Error`, without a path, when there is no such file."
  @spec open(Path.t(), (t() -> result)) :: result when result: term()
  def open(path, fun) do
    size = size!(path)
    file = ok!(:file.open(path, [:read, :raw, :binary]))

    try do
      fun.(%__MODULE__{from: {:file, file}, size: size, path: path})
    after
      :file.close(file)
    end
  end

  # What is no regular file may keep who opens it waiting.
  defp size!(path) do
    case ok!(File.stat(path)) do
      %File.Stat{type: :regular, size: size} -> size
      %File.Stat{type: type} -> raise Mlx.Error, "it is a #{type}"
    end
  end

  @doc "So many bytes from a place on. Raises `Mlx.Error`, without a path, when there are not so many."
  @spec read!(t(), non_neg_integer(), non_neg_integer()) :: binary()
  def read!(%__MODULE__{size: all}, offset, size) when offset + size > all do
    raise Mlx.Error, "it is too short: it has #{all} bytes, and byte #{offset + size} is needed"
  end

  def read!(%__MODULE__{from: {:file, file}}, offset, size), do: pread!(file, offset, size)
  def read!(%__MODULE__{from: binary}, offset, size), do: binary_part(binary, offset, size)

  defp pread!(_file, _offset, 0), do: <<>>

  defp pread!(file, offset, size) do
    case :file.pread(file, offset, min(size, @most_at_once)) do
      {:ok, bytes} when byte_size(bytes) == size -> bytes
      {:ok, bytes} -> bytes <> pread!(file, offset + byte_size(bytes), size - byte_size(bytes))
      :eof -> raise Mlx.Error, "it became shorter while it was read"
      {:error, reason} -> ok!({:error, reason})
    end
  end

  defp ok!({:ok, result}), do: result
  defp ok!({:error, reason}), do: raise(Mlx.Error, to_string(:file.format_error(reason)))
end
