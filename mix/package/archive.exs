defmodule Mlx.Package.Archive do
  @moduledoc false
  # An archive of a target: its name, what it may hold, and how it is packed and unpacked. It is a tar file of regular files,
  # compressed with gzip. Two that are packed of the same files have the same bytes.

  # What MLX itself asks for by name, and the same of all wheels.
  @linux [~r"\Amlx_nif\.so\z", ~r"\Amlx/lib/libmlx\.so\z"] ++
           for(
             name <- ~w(libblas-[0-9a-f]{8}\\.so[.0-9]* liblapack-[0-9a-f]{8}\\.so[.0-9]* libscipy_openblas\\.so),
             do: ~r"\Amlx_[a-z0-9_]{1,20}\.libs/#{name}\z"
           )

  @macos [~r"\Amlx_nif\.so\z", ~r"\Amlx/lib/libmlx\.dylib\z", ~r"\Amlx/lib/mlx\.metallib\z"]
  # With CUDA, MLX compiles kernels with these as it runs.
  @headers ~r"\Amlx/include/(cccl|cute|cutlass)(/[A-Za-z0-9_][A-Za-z0-9_.+-]*){1,12}\z"

  @licences ~r"\Alicenses/[A-Za-z-]{1,40}\.txt\z"

  # Of all files together, and of the CUDA wheel's alone, which is the largest.
  @most_bytes 4_000_000_000

  @block 512

  @doc "The name of an archive. NIF 2.17 is that of OTP 26."
  @spec name(String.t(), String.t()) :: String.t()
  def name(version, target), do: "mlx-#{version}-nif-2.17-#{target}.tar.gz"

  @doc "The lines of archives.txt, the file of the package that says which archives it trusts: the name, the bytes, the SHA-256."
  @spec checksums(Path.t()) :: %{String.t() => {pos_integer(), String.t()}}
  def checksums(file) do
    case File.read(file) do
      {:ok, text} ->
        for line <- String.split(text, "\n", trim: true),
            [name, bytes, sha256] <- [String.split(line)],
            into: %{},
            do: {name, {String.to_integer(bytes), sha256}}

      {:error, _none} ->
        %{}
    end
  end

  @doc "The line of archives.txt for an archive."
  @spec line(Path.t()) :: String.t()
  def line(file), do: "#{Path.basename(file)} #{File.stat!(file).size} #{sha256(file)}"

  @doc "The SHA-256 of a file."
  @spec sha256(Path.t()) :: String.t()
  def sha256(file) do
    {:ok, _started} = Application.ensure_all_started(:crypto)

    file
    |> File.stream!(1_048_576)
    |> Enum.reduce(:crypto.hash_init(:sha256), &:crypto.hash_update(&2, &1))
    |> :crypto.hash_final()
    |> Base.encode16(case: :lower)
  end

  @doc "Packs all files of a folder."
  @spec pack(Path.t(), Path.t()) :: :ok
  def pack(folder, file) do
    names = for path <- Path.wildcard(Path.join(folder, "**")), File.regular?(path), do: Path.relative_to(path, folder)
    zip = :zlib.open()
    # 31: a gzip header, which zlib writes without a time and a name.
    :ok = :zlib.deflateInit(zip, 9, :deflated, 31, 9, :default)

    File.open!(file, [:write, :raw, :binary], fn out ->
      for name <- Enum.sort(names) do
        path = Path.join(folder, name)
        size = File.stat!(path).size
        write(out, :zlib.deflate(zip, header(name, size)))
        for bytes <- File.stream!(path, 1_048_576), do: write(out, :zlib.deflate(zip, bytes))
        write(out, :zlib.deflate(zip, zeros(padding(size))))
      end

      write(out, :zlib.deflate(zip, zeros(2 * @block), :finish))
    end)

    :zlib.close(zip)
  end

  defp write(out, bytes), do: :ok = :file.write(out, bytes)

  # A file that anybody may read, of user and group 0, of the first second of 1970. The folders of a long name have a field of
  # their own.
  defp header(path, size) do
    {folder, name} = if byte_size(path) < 100, do: {"", path}, else: {Path.dirname(path), Path.basename(path)}
    fields = [pad(name, 100), octal(0o644, 8), octal(0, 8), octal(0, 8), octal(size, 12), octal(0, 12)]
    rest = ["0", zeros(100), "ustar\0", "00", zeros(64), octal(0, 8), octal(0, 8), pad(folder, 155), zeros(12)]
    sum = Enum.sum(:binary.bin_to_list(IO.iodata_to_binary([fields, "        ", rest])))
    [fields, octal(sum, 7), " ", rest]
  end

  defp octal(number, width), do: (number |> Integer.to_string(8) |> String.pad_leading(width - 1, "0")) <> "\0"
  defp pad(text, width), do: text <> zeros(width - byte_size(text))
  defp zeros(count), do: :binary.copy(<<0>>, count)
  defp padding(size), do: rem(@block - rem(size, @block), @block)

  @doc """
  Unpacks an archive of a target into a new folder. The error is a sentence; the folder is gone then. No file gets a name
  that is not expected, and each that is has to be there.
  """
  @spec unpack(Path.t(), String.t(), Path.t()) :: :ok | {:error, String.t()}
  def unpack(file, target, folder) do
    File.rm_rf!(folder)
    File.mkdir_p!(folder)
    zip = :zlib.open()
    :ok = :zlib.inflateInit(zip, 31)

    try do
      file
      |> File.stream!(65_536)
      |> Enum.reduce(start(target, folder), &inflate(zip, &1, &2))
      |> complete()
    catch
      {:refused, reason} -> refuse(file, folder, reason)
      :error, :data_error -> refuse(file, folder, "is not compressed with gzip")
      :error, :enospc -> refuse(file, folder, "could not be unpacked, as the disk is full")
    after
      :zlib.close(zip)
    end
  rescue
    error in File.Error -> refuse(file, folder, "could not be unpacked: #{Exception.message(error)}")
  end

  defp refuse(file, folder, reason) do
    File.rm_rf!(folder)
    {:error, "the archive #{file} #{reason}"}
  end

  defp start(target, folder),
    do: %{
      folder: folder,
      expected: expected(target),
      allowed: allowed(target),
      names: %{},
      total: 0,
      buffer: "",
      entry: nil,
      ended: false
    }

  @doc "Patterns of the names of the files that the archive of a target holds, without licences; each is there once."
  @spec expected(String.t()) :: [Regex.t()]
  def expected(target), do: if(target =~ "darwin", do: @macos, else: @linux)

  defp allowed(target), do: if(target =~ "cuda", do: [@licences, @headers], else: [@licences])

  defp inflate(_zip, _bytes, %{ended: true} = state), do: state
  defp inflate(zip, bytes, state), do: step(:zlib.safeInflate(zip, bytes), zip, state)

  defp step({:continue, bytes}, zip, state), do: step(:zlib.safeInflate(zip, []), zip, take(state, bytes))
  defp step({:finished, bytes}, _zip, state), do: take(state, bytes)

  defp take(state, bytes), do: parse(%{state | buffer: IO.iodata_to_binary([state.buffer, bytes])})

  defp parse(%{ended: true} = state), do: %{state | buffer: ""}

  defp parse(%{entry: nil, buffer: <<block::binary-size(@block), rest::binary>>} = state) do
    if block == zeros(@block), do: %{state | ended: true, buffer: ""}, else: parse(open(block, %{state | buffer: rest}))
  end

  defp parse(%{entry: {out, left, padding}, buffer: buffer} = state) when buffer != "" do
    bytes = binary_part(buffer, 0, min(left, byte_size(buffer)))
    with {:error, reason} <- :file.write(out, bytes), do: :erlang.error(reason)
    rest = binary_part(buffer, byte_size(bytes), byte_size(buffer) - byte_size(bytes))
    left = left - byte_size(bytes)
    skipped = if left == 0, do: min(padding, byte_size(rest)), else: 0
    rest = binary_part(rest, skipped, byte_size(rest) - skipped)

    if left == 0 and skipped == padding do
      :ok = :file.close(out)
      parse(%{state | entry: nil, buffer: rest})
    else
      parse(%{state | entry: {out, left, padding - skipped}, buffer: rest})
    end
  end

  defp parse(state), do: state

  defp open(block, state) do
    <<name::binary-100, _owner::binary-24, size::binary-12, _time::binary-12, sum::binary-8, type::binary-1,
      _link::binary-100, magic::binary-5, _more::binary-83, folder::binary-155, _rest::binary>> = block

    <<before::binary-148, _sum::binary-8, behind::binary>> = block
    name = if text(folder) == "", do: text(name), else: text(folder) <> "/" <> text(name)
    if number(sum) != Enum.sum(:binary.bin_to_list(before <> "        " <> behind)), do: refused("is damaged")
    if magic != "ustar" or type != "0", do: refused("holds #{inspect(name)}, which is no regular file")
    if is_map_key(state.names, name), do: refused("holds #{inspect(name)} twice")

    if not Enum.any?(state.allowed ++ state.expected, &(name =~ &1)),
      do: refused("holds #{inspect(name)}, which is not expected there")

    size = number(size)
    if size == 0, do: refused("holds #{inspect(name)}, which is empty")
    if state.total + size > @most_bytes, do: refused("holds more bytes than any such archive")
    path = Path.join(state.folder, name)
    File.mkdir_p!(Path.dirname(path))
    out = File.open!(path, [:write, :raw, :binary, :exclusive])
    %{state | names: Map.put(state.names, name, true), total: state.total + size, entry: {out, size, padding(size)}}
  end

  defp text(field), do: field |> :binary.split(<<0>>) |> hd()

  defp number(field) do
    case field |> text() |> String.trim() |> Integer.parse(8) do
      {number, ""} -> number
      _other -> refused("is damaged")
    end
  end

  defp complete(%{ended: false}), do: refused("ends too early")

  defp complete(state) do
    case Enum.find(state.expected, fn pattern -> not Enum.any?(Map.keys(state.names), &(&1 =~ pattern)) end) do
      nil ->
        :ok

      pattern ->
        refused("lacks what is named like #{pattern |> Regex.source() |> String.replace(~r/\\A|\\z|\\(?=\.)/, "")}")
    end
  end

  defp refused(reason), do: throw({:refused, reason})
end
