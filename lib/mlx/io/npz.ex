defmodule Mlx.IO.Npz do
  @moduledoc false
  # The format of numpy for arrays with names: a zip archive with a npy file for each.

  alias Mlx.{Array, IO.Npy}

  # Zip without its 64-bit extension, which is all that older versions of Erlang write.
  @max_entry 0xFFFFFFFE

  @doc "The bytes of an archive that holds the arrays."
  @spec encode(%{String.t() => Array.t()}, boolean()) :: binary()
  def encode(arrays, compress) do
    entries = for {name, array} <- arrays, do: {String.to_charlist(name <> ".npy"), entry(name, array)}
    options = [:memory, compress: if(compress, do: :all, else: [])]

    case :zip.zip(~c"arrays.npz", entries, options) do
      {:ok, {_name, bytes}} -> bytes
      {:error, reason} -> raise Mlx.Error, "the archive cannot be made: #{inspect(reason)}"
    end
  end

  @doc "The arrays of an archive. Raises `Mlx.Error`, without a path, when it is damaged."
  @spec decode(binary(), Mlx.Stream.t() | nil) :: %{String.t() => Array.t()}
  def decode(bytes, stream) do
    for {name, data} <- unzip(bytes), name = List.to_string(name), not String.ends_with?(name, "/"), into: %{} do
      {String.replace_suffix(name, ".npy", ""), decode_entry(name, data, stream)}
    end
  end

  defp entry(name, array) do
    bytes = :erlang.iolist_to_binary(Npy.encode(array))
    if byte_size(bytes) > @max_entry, do: raise(Mlx.Error, "#{inspect(name)} is larger than the 4 GB of an entry")
    bytes
  end

  # On a damaged archive `:zip` returns an error, raises or exits, as the damage has it.
  defp unzip(bytes) do
    result =
      try do
        :zip.unzip(bytes, [:memory])
      catch
        _kind, reason -> {:error, reason}
      end

    case result do
      {:ok, entries} -> entries
      {:error, reason} -> raise Mlx.Error, "it is not a npz file, or damaged: #{inspect(reason)}"
    end
  end

  defp decode_entry(name, data, stream) do
    Npy.decode(data, stream)
  rescue
    error in Mlx.Error -> reraise Mlx.Error, "#{inspect(name)}: #{error.message}", __STACKTRACE__
  end
end
