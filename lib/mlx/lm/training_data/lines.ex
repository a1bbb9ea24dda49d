defmodule Mlx.LM.TrainingData.Lines do
  @moduledoc false
  # The lines of a file that are not empty, one after the other, with their numbers and where they begin.

  @bytes 65_536
  # A line is in memory as a whole.
  @longest 64 * 1024 * 1024

  @type line :: {number :: pos_integer(), offset :: non_neg_integer(), binary()}

  @doc "The lines. Raises `Mlx.Error`."
  @spec stream(Path.t()) :: Enumerable.t()
  def stream(path) do
    Stream.resource(fn -> {open!(path), 1, 0, ""} end, &next(&1, path), fn {file, _number, _offset, _rest} ->
      :file.close(file)
    end)
  end

  @doc "Opens the file for reading. Raises `Mlx.Error`."
  @spec open!(Path.t()) :: :file.io_device()
  def open!(path) do
    with {:ok, %File.Stat{type: :regular}} <- File.stat(path),
         {:ok, file} <- :file.open(path, [:read, :raw, :binary]) do
      file
    else
      {:ok, %File.Stat{}} -> raise Mlx.Error, "#{path} is no file"
      {:error, reason} -> raise Mlx.Error, "cannot read #{path}: #{:file.format_error(reason)}"
    end
  end

  defp next({file, number, offset, rest}, path) do
    case :file.read(file, @bytes) do
      {:ok, bytes} ->
        {lines, number, offset, rest} = split(rest <> bytes, number, offset, [])
        if byte_size(rest) > @longest, do: raise(Mlx.Error, "#{path}, line #{number} is longer than #{@longest} bytes")
        {lines, {file, number, offset, rest}}

      :eof when rest == "" ->
        {:halt, {file, number, offset, rest}}

      :eof ->
        {kept(rest, number, offset, []), {file, number, offset, ""}}

      {:error, reason} ->
        raise Mlx.Error, "cannot read #{path}: #{:file.format_error(reason)}"
    end
  end

  defp split(text, number, offset, lines) do
    case :binary.split(text, "\n") do
      [line, rest] -> split(rest, number + 1, offset + byte_size(line) + 1, kept(line, number, offset, lines))
      [rest] -> {Enum.reverse(lines), number, offset, :binary.copy(rest)}
    end
  end

  defp kept(line, number, offset, lines) do
    if line =~ ~r/^\s*$/, do: lines, else: [{number, offset, line} | lines]
  end
end
