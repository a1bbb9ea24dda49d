defmodule Mix.Mlx.LibraryFiles do
  @moduledoc false
  # What `mix mlx.doctor` sees in the files of the native library, in the folder `priv`, without loading them. What is wrong is
  # raised.

  alias Mlx.Native.LoadFailure

  @elf %{62 => "x86_64", 183 => "aarch64"}
  @mach_o %{0x01000007 => "x86_64", 0x0100000C => "aarch64"}

  @doc "The file of the library, where there is one."
  @spec there!(Path.t()) :: Path.t()
  def there!(priv) do
    file = Path.join(priv, "mlx_nif.so")
    if not File.exists?(file), do: raise(missing(priv))
    file
  end

  defp missing(priv), do: "MLX cannot be used: " <> LoadFailure.reason(~c"", Path.join(priv, "mlx_nif"))

  @doc "What the library is made for, where that is what this VM, of a name such as `x86_64-pc-linux-gnu`, is made for."
  @spec made_for!(Path.t(), String.t()) :: String.t()
  def made_for!(priv, architecture) do
    made_for = format(Path.join(priv, "mlx_nif.so"), priv)
    here = here(architecture)

    if made_for != here,
      do: raise("#{Path.join(priv, "mlx_nif.so")} is for #{made_for}, and this Erlang is for #{here}")

    made_for
  end

  defp format(file, priv) do
    case File.open(file, [:read, :raw, :binary], &:file.read(&1, 20)) do
      {:ok, {:ok, <<0x7F, "ELF", _rest::binary-14, machine::little-16>>}} ->
        "#{@elf[machine] || "processor #{machine}"} on Linux"

      {:ok, {:ok, <<0xFEEDFACF::little-32, type::little-32, _rest::binary>>}} ->
        "#{@mach_o[type] || "processor #{type}"} on macOS"

      {:ok, _other} ->
        "no system: it is no library"

      {:error, _none} ->
        raise missing(priv)
    end
  end

  defp here(architecture) do
    processor = architecture |> String.split("-") |> hd()
    processor = if processor in ["arm", "arm64"], do: "aarch64", else: processor
    system = if architecture =~ "darwin", do: "macOS", else: "Linux"
    "#{processor} on #{system}"
  end

  @doc "Where MLX is, with its kernels for Metal, where they are needed."
  @spec mlx!(Path.t()) :: Path.t()
  def mlx!(priv) do
    folder = folder_of_mlx(priv)
    library = Enum.find(~w(libmlx.so libmlx.dylib), &File.exists?(Path.join(folder, &1)))
    if library == nil, do: raise("MLX is not in #{folder}: there is neither libmlx.so nor libmlx.dylib")

    if library == "libmlx.dylib" and not File.exists?(Path.join(folder, "mlx.metallib")),
      do: raise("mlx.metallib, which holds the kernels for Metal, is not in #{folder}, beside libmlx.dylib")

    folder
  end

  # An archive brings it; a build says where it took it from.
  defp folder_of_mlx(priv) do
    case File.read(Path.join(priv, "libmlx_folder")) do
      {:ok, folder} -> folder
      {:error, _none} -> Path.join(priv, "mlx/lib")
    end
  end

  @doc "What the library computes on: `:cpu`, `:metal` or `:cuda`."
  @spec backend(Path.t()) :: :cpu | :metal | :cuda
  def backend(priv) do
    folder = folder_of_mlx(priv)

    cond do
      File.exists?(Path.join(folder, "mlx.metallib")) -> :metal
      Path.wildcard(Path.join(folder, "../../mlx_cuda*")) != [] -> :cuda
      true -> :cpu
    end
  end

  @doc """
  macOS refuses to load files that a browser or another program has marked as downloaded. `attributes` gives the names of a
  file's extended attributes.
  """
  @spec quarantine!(Path.t(), (Path.t() -> String.t())) :: String.t()
  def quarantine!(priv, attributes \\ &attributes/1) do
    files =
      for folder <- [priv, folder_of_mlx(priv)],
          file <- Path.wildcard(Path.join(folder, "*")),
          File.regular?(file),
          do: file

    marked = for file <- files, attributes.(file) =~ "com.apple.quarantine", do: Path.basename(file)

    if marked != [],
      do: raise("macOS holds back #{Enum.join(Enum.uniq(marked), ", ")}, marked as downloaded (com.apple.quarantine)")

    "macOS holds no file back"
  end

  defp attributes(file) do
    case System.find_executable("xattr") do
      nil -> ""
      xattr -> xattr |> System.cmd([file], stderr_to_stdout: true) |> elem(0)
    end
  end
end
