for name <- ~w(target archive client download), do: Code.require_file("#{name}.exs", __DIR__)

defmodule Mlx.Package.Install do
  @moduledoc false
  # Brings the precompiled library of this platform into the folder `priv` of the application, from the cache folder or from the
  # release of this version. No program is started for that. `compile_native.exs` says when it is built from source instead.
  #
  #   MLX_NIF_ARCHIVE      an archive on this machine, or a folder of archives; its checksum has to be right, too
  #   MLX_NIF_URL          where the archives are downloaded from, in place of the release's page

  alias Mlx.Package.{Archive, Client, Download, Target}

  @compile {:no_warn_undefined, [Archive, Client, Download, Target]}

  @environment ~w(MLX_NIF_ARCHIVE MLX_NIF_URL MLX_BACKEND MLX_CACHE MIX_XDG TARGET_ARCH TARGET_OS TARGET_ABI HEX_OFFLINE)

  @doc "The variables of the environment that count."
  @spec environment() :: %{String.t() => String.t()}
  def environment,
    do: for(name <- @environment, value = System.get_env(name), value != "", into: %{}, do: {name, value})

  @doc """
  Installs the archive of the version that `package` describes: `:version`, `:checksums` (the file of the package that says
  which archives it trusts), `:address` of the release and `:priv`. `previous` is what was returned the time before.
  """
  @spec run(map(), term(), map(), map()) :: {:ok, term()} | {:noop, term()} | {:error, String.t()}
  def run(package, previous, environment \\ environment(), machine \\ Target.machine()) do
    with {:ok, target} <- Target.find(machine, environment),
         name = Archive.name(package.version, target),
         {:ok, wanted} <- wanted(package, name) do
      installed = {:archive, name, wanted}

      if previous == installed and complete?(package.priv, target) do
        {:noop, installed}
      else
        with {:ok, file} <- archive(name, wanted, package, environment),
             :ok <- unpack(file, target, package.priv),
             do: {:ok, installed}
      end
    end
  end

  defp wanted(package, name) do
    case Archive.checksums(package.checksums) do
      %{^name => wanted} ->
        {:ok, wanted}

      none when none == %{} ->
        {:error,
         "this copy of mlx #{package.version} has no list of archives that it trusts (#{Path.basename(package.checksums)}), as the " <>
           "package on Hex has; set MLX_BUILD=true to build from source"}

      _others ->
        {:error, "mlx #{package.version} has no archive #{name}; set MLX_BUILD=true to build from source"}
    end
  end

  defp archive(name, wanted, package, environment) do
    cond do
      given = environment["MLX_NIF_ARCHIVE"] ->
        given(given, name, wanted)

      file = cached(name, wanted, environment) ->
        {:ok, file}

      environment["HEX_OFFLINE"] in ["1", "true"] ->
        {:error, "#{name} is not in the cache folder, and HEX_OFFLINE is set"}

      true ->
        download(name, wanted, package, environment)
    end
  end

  defp given(given, name, wanted) do
    file = if File.dir?(given), do: Path.join(given, name), else: given

    cond do
      not File.regular?(file) ->
        {:error, "MLX_NIF_ARCHIVE names no archive: there is no file #{file}"}

      Download.same?(file, wanted) ->
        {:ok, file}

      true ->
        {bytes, sha256} = wanted

        {:error,
         "the archive #{file} has #{File.stat!(file).size} bytes and the SHA-256 #{Archive.sha256(file)}, and this version of " <>
           "the package trusts #{name} with #{bytes} bytes and the SHA-256 #{sha256} only; it was not used"}
    end
  end

  defp cached(name, wanted, environment) do
    case Download.cached(name, wanted, cache(environment)) do
      {:ok, file} -> file
      :none -> nil
    end
  end

  defp download(name, wanted, package, environment) do
    address = String.trim_trailing(environment["MLX_NIF_URL"] || package.address, "/")

    if URI.parse(address).scheme in ["http", "https"] do
      settings = Map.get(package, :settings, %{})
      say = &Mix.shell().info/1
      Client.with_modules(fn -> Download.fetch(name, wanted, address, cache(environment), settings, say) end)
    else
      {:error, "MLX_NIF_URL has to be an address that begins with https:// or http://, and is #{address}"}
    end
  end

  @doc "The folder of archives: in MLX_CACHE, or in the user's own folder. MIX_XDG asks for Linux's everywhere."
  @spec cache(map()) :: Path.t()
  def cache(environment) do
    folder =
      case environment do
        %{"MLX_CACHE" => folder} -> folder
        %{"MIX_XDG" => yes} when yes in ["1", "true"] -> :filename.basedir(:user_cache, "mlx-elixir", %{os: :linux})
        _others -> :filename.basedir(:user_cache, "mlx-elixir")
      end

    folder |> to_string() |> Path.expand() |> Path.join("archives")
  end

  # Files that a virtual machine has loaded are replaced, and not written over.
  defp unpack(file, target, priv) do
    part = "#{priv}.part.#{System.pid()}"

    with :ok <- Archive.unpack(file, target, part) do
      File.rm_rf!(priv)

      case File.rename(part, priv) do
        :ok -> :ok
        {:error, reason} -> {:error, "the folder #{priv} cannot be made: #{:file.format_error(reason)}"}
      end
    end
  end

  defp complete?(priv, target) do
    files = for path <- Path.wildcard(Path.join(priv, "**")), do: Path.relative_to(path, priv)
    Enum.all?(Archive.expected(target), fn pattern -> Enum.any?(files, &(&1 =~ pattern)) end)
  end
end
