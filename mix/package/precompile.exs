for name <- ~w(target archive), do: Code.require_file("#{name}.exs", __DIR__)

defmodule Mlx.Package.Precompile do
  @moduledoc false
  # `mix mlx.precompile`, for who makes a release:
  #
  #   mix mlx.precompile --target TARGET [--output FOLDER]    makes the archive of a target, in the folder `archives`
  #   mix mlx.precompile --checksums [--output FOLDER]        writes archives.txt of the archives there

  alias Mlx.Package.{Archive, Target}

  @compile {:no_warn_undefined, [Archive, Target]}

  @root Path.expand("../..", __DIR__)
  @usage "mix mlx.precompile takes --target TARGET or --checksums, and --output FOLDER; the targets are "

  @doc "Runs the task."
  @spec run([String.t()]) :: :ok
  def run(arguments) do
    switches = [target: :string, output: :string, checksums: :boolean]

    case OptionParser.parse(arguments, strict: switches) do
      {options, [], []} -> run(Map.new(options), Path.expand(options[:output] || "archives"))
      _wrong -> Mix.raise(usage())
    end
  end

  defp run(%{checksums: true} = options, output) when not is_map_key(options, :target) do
    prefix = "mlx-#{version()}-nif-"

    case for path <- Path.wildcard(Path.join(output, prefix <> "*.tar.gz")), do: Archive.line(path) do
      [] ->
        Mix.raise("there is no archive #{prefix}... in #{output}")

      lines ->
        File.write!(Path.join(@root, "archives.txt"), Enum.map(Enum.sort(lines), &[&1, "\n"]))
        Mix.shell().info("archives.txt trusts #{length(lines)} archives of #{version()}")
    end
  end

  defp run(%{target: target} = options, output) when not is_map_key(options, :checksums) do
    if target not in Target.all(), do: Mix.raise(usage())
    files = Path.join(output, target)
    File.mkdir_p!(files)

    case System.cmd("bash", [Path.join(@root, "bin/precompile"), target, files],
           into: IO.stream(),
           stderr_to_stdout: true
         ) do
      {_output, 0} -> pack(files, target, Path.join(output, Archive.name(version(), target)))
      {_output, status} -> Mix.raise("bin/precompile ended with status #{status}; see its message above")
    end
  end

  defp run(_options, _output), do: Mix.raise(usage())

  # What was packed is unpacked as who installs it does.
  defp pack(files, target, archive) do
    Archive.pack(files, archive)

    case Archive.unpack(archive, target, files) do
      :ok -> File.rm_rf!(files)
      {:error, sentence} -> Mix.raise(sentence)
    end

    Mix.shell().info(Archive.line(archive))
  end

  defp version, do: Mix.Project.config()[:version]
  defp usage, do: @usage <> Enum.join(Target.all(), ", ")
end
