Code.require_file("../../mix/package/install.exs", __DIR__)

defmodule Mlx.Package.InstallTest do
  # What stands between a user and the library: a server that lies, breaks and is not there, and a cache folder that others use.
  use ExUnit.Case, async: true

  import ExUnit.CaptureIO

  alias Mlx.{ArchiveServer, FileTree}
  alias Mlx.Package.{Archive, Install, Target}

  @moduletag :tmp_dir

  @target "x86_64-linux-gnu"
  @name Archive.name("1.2.3", @target)
  @files %{
    "mlx_nif.so" => "the nif",
    "mlx/lib/libmlx.so" => "mlx",
    "mlx_cpu.libs/libblas-0123abcd.so.3.10.0" => "blas",
    "mlx_cpu.libs/liblapack-0123abcd.so.3.10.0" => "lapack",
    "mlx_cpu.libs/libscipy_openblas.so" => "openblas",
    "licenses/MLX.txt" => "MIT"
  }
  @machine "x86_64-pc-linux-gnu" |> Target.parse() |> Map.merge(%{glibc: {2, 41}, darwin: nil, nif: {2, 17}, otp: "27"})

  setup_all do
    for application <- [:crypto, :ssl], do: Mix.ensure_application!(application)
    :ok
  end

  setup %{tmp_dir: world} do
    # Random, so that it is not compressed to a few bytes.
    FileTree.write!(Path.join(world, "files"), Map.put(@files, "mlx/lib/libmlx.so", :crypto.strong_rand_bytes(300_000)))
    archive = Path.join(world, @name)
    :ok = Archive.pack(Path.join(world, "files"), archive)
    trust(world, archive)
    %{archive: archive, bytes: File.read!(archive)}
  end

  defp trust(world, archive), do: File.write!(Path.join(world, "archives.txt"), Archive.line(archive) <> "\n")

  # An application that depends on the library, with a folder `priv` of its own.
  defp install(world, url, options \\ []) do
    package = %{
      version: "1.2.3",
      checksums: Path.join(world, "archives.txt"),
      address: url,
      priv: Path.join([world, Keyword.get(options, :application, "app"), "priv"]),
      settings:
        Map.merge(%{timeout: 500, connect_timeout: 2_000, attempts: 4, backoff: 1}, Map.new(options[:settings] || []))
    }

    environment = Map.merge(%{"MLX_CACHE" => Path.join(world, "cache")}, Map.new(options[:env] || []))
    machine = Keyword.get(options, :machine, @machine)
    parent = self()

    capture_io(fn ->
      send(parent, {:result, Install.run(package, options[:previous], environment, machine)})
    end)

    receive do: ({:result, result} -> result)
  end

  defp installed(world, application \\ "app") do
    folder = Path.join([world, application, "priv"])

    for path <- Path.wildcard(folder <> "/**"),
        File.regular?(path),
        into: %{},
        do: {Path.relative_to(path, folder), File.read!(path)}
  end

  defp whole?(world, application \\ "app") do
    expected =
      for path <- Path.wildcard(world <> "/files/**"),
          File.regular?(path),
          do: {Path.relative_to(path, world <> "/files"), File.read!(path)}

    installed(world, application) == Map.new(expected)
  end

  defp cache(world), do: world |> Path.join("cache/archives/*") |> Path.wildcard() |> Enum.map(&Path.basename/1)

  defp sentence({:error, sentence}) do
    refute sentence =~ "\n"
    sentence
  end

  test "what the server has is installed, once for all projects, and then without a server", context do
    %{tmp_dir: world, bytes: bytes} = context
    server = ArchiveServer.start(fn _request -> {:file, bytes} end)
    assert {:ok, installed} = install(world, server.url)
    assert whole?(world)
    assert [%{path: "/" <> @name, range: 0}] = ArchiveServer.requests(server)
    assert cache(world) == [@name]

    assert {:noop, ^installed} = install(world, "http://127.0.0.1:1", previous: installed)
    assert {:ok, ^installed} = install(world, "http://127.0.0.1:1", application: "other")
    assert whole?(world, "other")

    File.rm!(Path.join(world, "app/priv/mlx/lib/libmlx.so"))
    assert {:ok, ^installed} = install(world, "http://127.0.0.1:1", previous: installed)
    assert whole?(world)
    assert length(ArchiveServer.requests(server)) == 1
  end

  test "an archive that is not the one of the package is not used, and said to be another", context do
    %{tmp_dir: world, bytes: bytes} = context
    lie = :binary.replace(bytes, binary_part(bytes, 1000, 8), "12345678")

    for answer <- [{:file, lie}, {:whole, bytes <> "more"}, {:file, bytes <> bytes}] do
      server = ArchiveServer.start(fn _request -> answer end)
      words = sentence(install(world, server.url))
      assert words =~ "what #{server.url}/#{@name} sends has "
      assert words =~ "the file was changed after the release, or on its way; it was not used"
      assert installed(world) == %{}
      assert cache(world) == []
    end
  end

  test "a connection that breaks is gone on with where it broke", context do
    %{tmp_dir: world, bytes: bytes} = context

    server =
      ArchiveServer.start(fn
        %{number: 1} -> {:truncated, bytes, 100_000}
        %{number: 2} -> {:truncated, bytes, 50_000}
        _request -> {:file, bytes}
      end)

    assert {:ok, _installed} = install(world, server.url)
    assert whole?(world)
    assert [0, 100_000, 150_000] = for(request <- ArchiveServer.requests(server), do: request.range)
  end

  test "what one compilation left the next goes on with", context do
    %{tmp_dir: world, bytes: bytes} = context

    server =
      ArchiveServer.start(fn request ->
        if request.number == 1, do: {:truncated, bytes, 70_000}, else: {:file, bytes}
      end)

    words = sentence(install(world, server.url, settings: [attempts: 1]))
    assert words =~ "try again, or download the file otherwise and let MLX_NIF_ARCHIVE name it"
    assert cache(world) == [@name <> ".part"]
    assert {:ok, _installed} = install(world, server.url, settings: [attempts: 1])
    assert [0, 70_000] = for(request <- ArchiveServer.requests(server), do: request.range)
    assert cache(world) == [@name]
  end

  test "a server that knows no ranges begins anew, and what was left of another file, too", context do
    %{tmp_dir: world, bytes: bytes} = context
    part = Path.join(world, "cache/archives/#{@name}.part")

    FileTree.write!(Path.dirname(part), %{Path.basename(part) => "left of another"})
    server = ArchiveServer.start(fn _request -> {:whole, bytes} end)
    assert {:ok, _installed} = install(world, server.url)
    assert whole?(world)

    # It is found out at the end, and gone then.
    File.rm!(Path.join(world, "cache/archives/#{@name}"))
    File.write!(part, "left of another")
    server = ArchiveServer.start(fn _request -> {:file, bytes} end)
    assert sentence(install(world, server.url, application: "two")) =~ "the file was changed"
    assert {:ok, _installed} = install(world, server.url, application: "two")

    File.rm!(Path.join(world, "cache/archives/#{@name}"))
    File.write!(part, String.duplicate("x", byte_size(bytes) + 1))
    assert {:ok, _installed} = install(world, server.url, application: "three")

    File.rm!(Path.join(world, "cache/archives/#{@name}"))
    File.write!(part, "left of another")
    server = ArchiveServer.start(fn request -> if request.range > 0, do: {:status, 416, []}, else: {:file, bytes} end)
    assert {:ok, _installed} = install(world, server.url, application: "four")
    assert whole?(world, "four")
  end

  test "a damaged file of the cache is downloaded again", context do
    %{tmp_dir: world, bytes: bytes} = context
    FileTree.write!(Path.join(world, "cache/archives"), %{@name => binary_part(bytes, 0, 1000)})
    server = ArchiveServer.start(fn _request -> {:file, bytes} end)
    assert {:ok, _installed} = install(world, server.url)
    assert File.read!(Path.join(world, "cache/archives/#{@name}")) == bytes
  end

  test "redirects are followed, but not for ever, and not from https to http", context do
    %{tmp_dir: world, bytes: bytes} = context
    files = ArchiveServer.start(fn _request -> {:file, bytes} end)

    server =
      ArchiveServer.start(fn _request -> {:status, 302, [{"location", "#{files.url}/elsewhere?signature=secret"}]} end)

    assert {:ok, _installed} = install(world, server.url)
    assert [%{path: "/elsewhere?signature=secret"}] = ArchiveServer.requests(files)

    circle = ArchiveServer.start(fn _request -> {:status, 302, [{"location", "/again"}]} end)
    assert sentence(install(world, circle.url, env: [{"MLX_CACHE", world <> "/c2"}])) =~ "redirects too often"
    file = ArchiveServer.start(fn _request -> {:status, 302, [{"location", "file:///etc/passwd"}]} end)
    assert sentence(install(world, file.url, env: [{"MLX_CACHE", world <> "/c2"}])) =~ "which is not followed"
    nowhere = ArchiveServer.start(fn _request -> {:status, 301, []} end)
    assert sentence(install(world, nowhere.url, env: [{"MLX_CACHE", world <> "/c2"}])) =~ "redirects to nowhere"
  end

  test "each failure of a server is one sentence that says what to do", context do
    %{tmp_dir: world} = context

    for {answer, words} <- [
          {{:status, 404, []}, "there is no archive at URL/#{@name} (status 404); download the file otherwise"},
          {{:status, 500, []}, "answered with the status 500; try again, or download the file otherwise"},
          {{:raw, "no http at all\r\n\r\n"}, "answered with something that is not HTTP"},
          {{:raw, "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n"}, "answered with a length that is none"},
          {{:raw, ""}, "closed the connection"},
          {:hang, "sent nothing for too long"}
        ] do
      server = ArchiveServer.start(fn _request -> answer end)
      found = sentence(install(world, server.url, settings: [attempts: 2]))
      assert found =~ String.replace(words, "URL", server.url)
      assert found =~ "set MLX_BUILD=true to build from source"
    end

    assert sentence(install(world, "http://127.0.0.1:1", settings: [attempts: 2])) =~
             ~r/not downloaded: cannot reach 127\.0\.0\.1 \(connection refused\), so this machine may be offline.*MLX_NIF_ARCHIVE/

    assert sentence(install(world, "ftp://x", [])) =~ "MLX_NIF_URL has to be an address"

    assert sentence(install(world, "http://x", env: [{"HEX_OFFLINE", "1"}])) =~
             "is not in the cache folder, and HEX_OFFLINE is set"
  end

  test "an archive of this machine has to be the right one, too", context do
    %{tmp_dir: world, archive: archive, bytes: bytes} = context
    assert {:ok, _installed} = install(world, "http://127.0.0.1:1", env: [{"MLX_NIF_ARCHIVE", archive}])
    assert whole?(world)

    assert {:ok, _installed} =
             install(world, "http://127.0.0.1:1", env: [{"MLX_NIF_ARCHIVE", world}], application: "two")

    assert cache(world) == []

    assert sentence(install(world, "http://127.0.0.1:1", env: [{"MLX_NIF_ARCHIVE", world <> "/none"}])) =~
             "MLX_NIF_ARCHIVE names no archive: there is no file #{world}/none"

    File.write!(archive, bytes <> "x")
    words = sentence(install(world, "http://127.0.0.1:1", env: [{"MLX_NIF_ARCHIVE", archive}], application: "three"))
    assert words =~ "this version of the package trusts #{@name} with #{byte_size(bytes)} bytes"
    assert installed(world, "three") == %{}
  end

  test "the right checksum does not let an archive write where it likes", context do
    %{tmp_dir: world} = context
    evil = Path.join(world, @name)
    {:ok, tar} = :erl_tar.open(to_charlist(evil), [:write, :compressed])
    :ok = :erl_tar.add(tar, "x", ~c"../../escaped", [])
    :ok = :erl_tar.close(tar)
    trust(world, evil)

    assert sentence(install(world, "http://127.0.0.1:1", env: [{"MLX_NIF_ARCHIVE", evil}])) =~
             "which is not expected there"

    refute File.exists?(Path.join(world, "escaped"))
    assert Path.wildcard(world <> "/app/*") == []
  end

  test "machines and copies without an archive are told so", context do
    %{tmp_dir: world} = context
    musl = Map.put(@machine, :abi, "musl")
    assert sentence(install(world, "http://x", machine: musl)) =~ "whose C library is musl"
    arm = Map.put(@machine, :processor, "aarch64")

    assert sentence(install(world, "http://x", machine: arm)) =~
             "mlx 1.2.3 has no archive mlx-1.2.3-nif-2.17-aarch64-linux-gnu.tar.gz"

    File.rm!(Path.join(world, "archives.txt"))
    assert sentence(install(world, "http://x")) =~ "has no list of archives that it trusts (archives.txt)"
  end

  test "who comes while another downloads the same waits, and takes it", context do
    %{tmp_dir: world, bytes: bytes} = context

    server =
      ArchiveServer.start(fn _request ->
        Process.sleep(300)
        {:file, bytes}
      end)

    results =
      ~w(one two three)
      |> Task.async_stream(&install(world, server.url, application: &1, settings: [timeout: 5_000]), timeout: 60_000)
      |> Enum.map(&elem(&1, 1))

    assert Enum.all?(results, &match?({:ok, _installed}, &1))
    for application <- ~w(one two three), do: assert(whole?(world, application))
    assert length(ArchiveServer.requests(server)) == 1
  end

  test "the cache folder is the user's own, and says so where it cannot be written", context do
    %{tmp_dir: world} = context
    assert Install.cache(%{"MLX_CACHE" => "/a/b"}) == "/a/b/archives"
    assert Install.cache(%{}) == Path.join(to_string(:filename.basedir(:user_cache, "mlx-elixir")), "archives")
    assert Install.cache(%{"MIX_XDG" => "1"}) =~ ~r"mlx-elixir/archives$"
    server = ArchiveServer.start(fn _request -> {:status, 404, []} end)
    words = sentence(install(world, server.url, env: [{"MLX_CACHE", "/dev/null/cache"}]))

    assert words =~
             "cannot write into the cache folder /dev/null/cache/archives (not a directory); let MLX_CACHE name another"
  end
end
