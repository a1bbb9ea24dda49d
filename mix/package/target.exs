defmodule Mlx.Package.Target do
  @moduledoc false
  # Which archive a machine takes, or why there is none for it.

  # macOS 26.2 and 14, by the release of their kernel.
  @macos [{{25, 2}, "macos26"}, {{23, 0}, "macos14"}]
  @glibc {2, 35}
  @nif {2, 17}

  @build "set MLX_BUILD=true to build from source, for which the README names the tools"

  @doc "All targets that there are archives for."
  @spec all() :: [String.t()]
  def all do
    ~w(x86_64-linux-gnu aarch64-linux-gnu x86_64-linux-gnu-cuda13) ++
      for({_release, name} <- @macos, do: "aarch64-apple-darwin-#{name}")
  end

  @doc """
  The target of a machine, as `machine/0` describes it. `environment` has TARGET_ARCH, TARGET_OS and TARGET_ABI, where it is
  compiled for another machine, and MLX_BACKEND.
  """
  @spec find(map(), map()) :: {:ok, String.t()} | {:error, String.t()}
  def find(machine, environment) do
    case crossed(environment) do
      nil -> with {:ok, target} <- of(machine, environment), :ok <- readable(machine), do: {:ok, target}
      crossed -> of(Map.merge(%{glibc: nil, darwin: nil}, crossed), environment)
    end
  end

  @doc "Whether it is compiled for another machine, as Nerves does."
  @spec crossed?(map()) :: boolean()
  def crossed?(environment), do: crossed(environment) != nil

  # As elixir_make and Nerves name them. Of a Mac that is not this one the release is not known: the oldest serves it.
  defp crossed(%{"TARGET_ARCH" => architecture} = environment) when architecture != "" do
    system = environment["TARGET_OS"] || "linux"
    abi = environment["TARGET_ABI"] || "gnu"
    %{processor: architecture, system: system, abi: if(system == "linux", do: abi, else: ""), darwin: {23, 0}}
  end

  defp crossed(_environment), do: nil

  defp of(%{system: "linux", abi: "musl" <> _} = machine, _environment),
    do:
      none(
        "#{shown(machine)}, whose C library is musl: MLX needs glibc 2.35 or newer, as Debian, Ubuntu and Fedora have it",
        nil
      )

  defp of(%{system: "linux", processor: processor} = machine, environment) when processor in ["x86_64", "aarch64"] do
    cond do
      machine.abi not in ["gnu", ""] ->
        none(shown(machine), @build)

      old?(machine.glibc, @glibc) ->
        none("this system: its glibc is #{text(machine.glibc)}, and MLX needs 2.35 or newer", nil)

      true ->
        with_backend("#{processor}-linux-gnu", environment["MLX_BACKEND"])
    end
  end

  defp of(%{system: "darwin", processor: "aarch64"} = machine, environment) do
    case {environment["MLX_BACKEND"], Enum.find(@macos, fn {release, _name} -> not old?(machine.darwin, release) end)} do
      {_any, nil} -> none("this system: it is macOS #{macos(machine.darwin)}, and MLX needs macOS 14 or newer", nil)
      {backend, {_release, name}} when backend in [nil, "", "metal"] -> {:ok, "aarch64-apple-darwin-#{name}"}
      {backend, _release} -> none("macOS with MLX_BACKEND=#{backend}", @build)
    end
  end

  defp of(%{system: "darwin", processor: "x86_64"}, _environment) do
    none(
      "Intel Macs, for which MLX is not made",
      "on Apple Silicon, use an Elixir and an Erlang for Apple Silicon and not under Rosetta (Homebrew has them in /opt/homebrew)"
    )
  end

  defp of(machine, _environment), do: none(shown(machine), @build)

  defp with_backend(target, backend) when backend in [nil, "", "cpu"], do: {:ok, target}
  defp with_backend("x86_64-linux-gnu", "cuda"), do: {:ok, "x86_64-linux-gnu-cuda13"}
  defp with_backend(target, backend), do: none("#{target} with MLX_BACKEND=#{backend}", @build)

  defp readable(%{nif: nif, otp: otp}) do
    if old?(nif, @nif),
      do: {:error, "OTP #{otp} is too old for the precompiled library; use OTP 26 or newer"},
      else: :ok
  end

  defp none(what, nil), do: {:error, "there is no precompiled library for #{what}"}
  defp none(what, advice), do: {:error, "there is no precompiled library for #{what}; #{advice}"}

  # What is not known is taken for new enough; the library is loaded once after it was unpacked.
  defp old?(nil, _least), do: false
  defp old?(version, least), do: version < least

  defp shown(machine), do: Enum.reject([machine.processor, machine.system, machine.abi], &(&1 == "")) |> Enum.join("-")

  defp text({major, minor}), do: "#{major}.#{minor}"

  # Darwin 20 to 24 are macOS 11 to 15, and 25 is 26.
  defp macos({major, _minor}) when major >= 25, do: major + 1
  defp macos({major, _minor}), do: major - 9

  @doc "This machine. No program is started to learn that."
  @spec machine() :: map()
  def machine do
    parse(to_string(:erlang.system_info(:system_architecture)))
    |> Map.merge(%{
      glibc: glibc(),
      darwin: darwin(),
      nif: :erlang.system_info(:nif_version) |> to_string() |> version(),
      otp: System.otp_release()
    })
    |> musl()
  end

  @doc "The parts of a name such as `x86_64-pc-linux-gnu`."
  @spec parse(String.t()) :: map()
  def parse(architecture) do
    processor = architecture |> String.split("-") |> hd() |> processor()

    cond do
      architecture =~ "linux" ->
        %{processor: processor, system: "linux", abi: architecture |> String.split("-") |> List.last()}

      architecture =~ "darwin" ->
        %{processor: processor, system: "darwin", abi: ""}

      true ->
        %{processor: processor, system: architecture, abi: ""}
    end
  end

  defp processor(name) when name in ["arm", "arm64"], do: "aarch64"
  defp processor(name) when name in ["amd64", "x64"], do: "x86_64"
  defp processor(name), do: name

  defp darwin do
    with {:unix, :darwin} <- :os.type(),
         {major, minor, _patch} <- :os.version(),
         do: {major, minor},
         else: (_other -> nil)
  end

  # The C library that the VM runs with says its version in its own file.
  defp glibc do
    with path when is_binary(path) <- mapped(~r{ (/\S*/libc[.-]\S*)$}m), {:ok, bytes} <- File.read(path) do
      glibc_of(bytes)
    else
      _unknown -> nil
    end
  end

  @doc "The version of glibc that a file of it says."
  @spec glibc_of(binary()) :: {integer(), integer()} | nil
  def glibc_of(bytes) do
    case Regex.run(~r/GNU C Library[^\n]{0,80} version (\d+\.\d+)/, bytes) do
      [_all, version] -> version(version)
      nil -> nil
    end
  end

  # Some builds for musl have the name of one for glibc.
  defp musl(machine), do: if(mapped(~r{ (/\S*/ld-musl\S*)$}m), do: %{machine | abi: "musl"}, else: machine)

  defp mapped(pattern) do
    with {:ok, maps} <- File.read("/proc/self/maps"),
         [_all, path] <- Regex.run(pattern, maps),
         do: path,
         else: (_none -> nil)
  end

  defp version(text) do
    case text |> String.split(".") |> Enum.map(&Integer.parse/1) do
      [{major, _}, {minor, _} | _] -> {major, minor}
      _other -> nil
    end
  end
end
