defmodule SetupTest do
  use ExUnit.Case, async: true

  alias Mlx.FileTree

  # The library itself does without it, so that Mix leaves it out.
  Mix.ensure_application!(:crypto)

  @setup Path.expand("../bin/setup", __DIR__)
  @tools ~w(bash awk basename cat chmod cut date dirname env find flock grep head id ls mkdir mv perl printf pwd rm sed
            sha256sum shasum sleep sort tail tar touch tr uname wc)

  @moduletag :tmp_dir

  # Runs bin/setup with an empty cache, and with the programs that `programs` gives (name => shell script) before all
  # others.
  defp run_setup(folder, target, environment, programs \\ %{}) do
    bin = Path.join(folder, "bin")
    for {name, script} <- programs, do: write_program(bin, name, script)
    path = "#{bin}:#{environment["PATH"] || System.get_env("PATH")}"
    unset = for name <- ~w(MLX_DIR MLX_C_DIR MLX_BACKEND CXX apple_compiler), do: {name, nil}
    given = Map.new(unset ++ [{"MLX_CACHE", Path.join(folder, "cache")}]) |> Map.merge(Map.new(environment))

    {output, status} = System.cmd(bash(), [@setup, target], env: Map.put(given, "PATH", path), stderr_to_stdout: true)
    {output |> String.split("\n", trim: true) |> Enum.filter(&String.starts_with?(&1, "bin/setup: ")), status, output}
  end

  # Another bash, such as the one of macOS.
  defp bash, do: System.get_env("MLX_TEST_BASH", "bash")

  defp write_program(bin, name, script) do
    File.mkdir_p!(bin)
    path = Path.join(bin, name)
    File.write!(path, "#!/bin/sh\n#{script}\n")
    File.chmod!(path, 0o755)
  end

  defp uname(name, machine) do
    %{"uname" => "case $1 in -s) echo #{name} ;; -m) echo #{machine} ;; *) echo #{name} #{machine} ;; esac"}
  end

  # What a Mac of this release answers, whose compiler makes programs that do nothing.
  defp mac(release, programs \\ %{}) do
    %{"sw_vers" => "echo #{release}", "xcode-select" => "echo /Library/Developer", "clang++" => compiler()}
    |> Map.merge(uname("Darwin", "arm64"))
    |> Map.merge(programs)
  end

  defp compiler do
    ~S"""
    while [ "$1" != -o ]; do shift; done
    printf '#!/bin/sh\n' >"$2"
    chmod +x "$2"
    """
  end

  defp few_tools(folder) do
    bin = Path.join(folder, "few")
    File.mkdir_p!(bin)
    for tool <- @tools, path = System.find_executable(tool), do: File.ln_s!(path, Path.join(bin, tool))
    bin
  end

  test "platforms without MLX are named", %{tmp_dir: folder} do
    for {name, machine, words} <- [
          {"Darwin", "x86_64", "Intel Mac"},
          {"FreeBSD", "amd64", "FreeBSD amd64"},
          {"Linux", "riscv64", "Linux riscv64"}
        ] do
      assert {[sentence], 1, _output} = run_setup(folder, "native", %{}, uname(name, machine))
      assert sentence =~ words
    end
  end

  test "macOS must be new enough", %{tmp_dir: folder} do
    programs = Map.put(uname("Darwin", "arm64"), "sw_vers", "echo 13.6")
    assert {[sentence], 1, _output} = run_setup(folder, "native", %{}, programs)
    assert sentence =~ "macOS 14 or newer"
    assert sentence =~ "13.6"
  end

  test "missing tools are named in one sentence, with what installs them on macOS", %{tmp_dir: folder} do
    few = %{"PATH" => few_tools(folder)}
    linux = uname("Linux", "x86_64")
    assert {[sentence], 1, _output} = run_setup(folder, "native", few, linux)
    for tool <- ~w(elixir erlang-dev g++-14 cmake python3), do: assert(sentence =~ tool)

    macos = Map.put(uname("Darwin", "arm64"), "sw_vers", "echo 15.1")
    assert {[sentence], 1, _output} = run_setup(folder, "native", few, macos)
    assert sentence =~ "xcode-select --install && brew install elixir"
  end

  test "what is not missing is not spoken of", %{tmp_dir: folder} do
    few = %{"PATH" => few_tools(folder), "apple_compiler" => "clang++"}

    there =
      %{"elixir" => "echo 1.18.4", "g++" => compiler()} |> Map.merge(Map.new(~w(erl make python3 curl), &{&1, ""}))

    assert {[sentence], 1, _output} = run_setup(folder, "native", few, Map.merge(there, uname("Linux", "x86_64")))
    assert sentence =~ "missing on this machine (Debian's names): cmake; install that"
    for other <- ~w(Elixir elixir OTP g++), do: refute(sentence =~ other)

    assert {[sentence], 1, _output} = run_setup(folder, "native", few, mac("15.1", there))
    assert sentence =~ ~r/missing on this machine: cmake; run: brew install cmake$/

    old = Map.put(there, "elixir", "echo 1.16.3")
    assert {[sentence], 1, _output} = run_setup(folder, "native", few, mac("15.1", old))
    assert sentence =~ "missing on this machine: elixir (1.18 or newer), cmake; run: brew install elixir cmake"
  end

  test "a shell under Rosetta is told from an Intel Mac", %{tmp_dir: folder} do
    programs = Map.put(uname("Darwin", "x86_64"), "sysctl", ~S([ "$*" = "-n sysctl.proc_translated" ] && echo 1))
    assert {[sentence], 1, _output} = run_setup(folder, "toolchain", %{}, programs)
    assert sentence =~ "Rosetta"
    assert sentence =~ "arch -arm64 bash"
    refute sentence =~ "Intel Macs;"

    programs = Map.put(uname("Darwin", "x86_64"), "sysctl", "echo 0")
    assert {[sentence], 1, _output} = run_setup(folder, "toolchain", %{}, programs)
    assert sentence =~ "Intel Macs;"
  end

  test "a Mac gets the wheel that its release can load", %{tmp_dir: folder} do
    wheels = Path.join(folder, "wheels")
    write_wheels(wheels)

    # The tools are looked for once, and found again in the cache.
    for {release, tag} <- [{"14.7.1", "macosx_14_0"}, {"26.1", "macosx_15_0"}, {"26.2", "macosx_26_0"}] do
      environment = %{"PIP_NO_INDEX" => "1", "PIP_FIND_LINKS" => wheels, "apple_compiler" => "clang++"}
      assert {[sentence], 1, _output} = run_setup(folder, "toolchain", environment, mac(release))
      assert [_text, sum] = Regex.run(~r/as mlx-metal .* has the checksum (\w+)/, sentence)
      assert sum == sha256(Path.wildcard("#{wheels}/mlx_metal-*-#{tag}_arm64.whl")), "for macOS #{release}"
    end
  end

  test "the platform follows from the release of macOS", %{tmp_dir: folder} do
    script = ". #{Path.expand("../setup/native.sh", __DIR__)}; macos_platform"

    for {release, platform} <- [
          {"13.7", ""},
          {"14.0", "macos14-arm64"},
          {"14", "macos14-arm64"},
          {"15.5", "macos15-arm64"},
          # The wheel for macOS 26 is for 26.2 and newer.
          {"26", "macos15-arm64"},
          {"26.0.1", "macos15-arm64"},
          {"26.1", "macos15-arm64"},
          {"26.2", "macos26-arm64"},
          {"26.10", "macos26-arm64"},
          {"27.0", "macos26-arm64"}
        ] do
      write_program(Path.join(folder, "bin"), "sw_vers", "echo #{release}")
      environment = [{"PATH", "#{folder}/bin:#{System.get_env("PATH")}"}]
      assert {output, 0} = System.cmd(bash(), ["-euc", script], env: environment)
      assert {release, String.trim(output)} == {release, platform}
    end
  end

  defp sha256([file]), do: Base.encode16(:crypto.hash(:sha256, File.read!(file)), case: :lower)

  test "wheels are taken that ask for a newer Python, as they are not installed", %{tmp_dir: folder} do
    wheels = Path.join(folder, "wheels")
    write_wheels(wheels, "Requires-Python: >=4\n")
    offline = %{"PIP_NO_INDEX" => "1", "PIP_FIND_LINKS" => wheels}
    assert {[sentence], 1, _output} = run_setup(folder, "toolchain", offline)
    assert sentence =~ "checksum"
  end

  test "an old compiler of Apple's is not said to be missing", %{tmp_dir: folder} do
    old = mac("14.0", %{"clang++" => "exit 1", "c++" => "exit 1"})
    environment = %{"apple_compiler" => "clang++"}
    assert {[sentence], 1, _output} = run_setup(folder, "toolchain", environment, old)
    assert sentence =~ "a newer Xcode (its command line tools) is needed"
    refute sentence =~ "missing on"

    without_elixir = Map.put(old, "elixir", "exit 1")
    assert {[sentence], 1, _output} = run_setup(folder, "toolchain", environment, without_elixir)
    assert sentence =~ "a newer Xcode (its command line tools) is needed"
    assert sentence =~ "missing on this machine: elixir (1.18 or newer); run: brew install elixir"

    assert {[sentence], 1, _output} = run_setup(folder, "toolchain", %{"CXX" => "clang++"}, old)
    assert sentence =~ "CXX=clang++ does not build"
  end

  # Apple's compilers that only ask for the command line tools lie in /usr/bin, so this looks at one function alone.
  test "compilers of Apple's that are not installed are left alone, and the others come after them", %{tmp_dir: folder} do
    write_program(Path.join(folder, "bin"), "xcode-select", "exit 2")
    environment = [{"PATH", "#{folder}/bin:#{System.get_env("PATH")}"}, {"apple_compiler", nil}]
    tools = Path.expand("../setup/tools.sh", __DIR__)
    script = ". #{tools}; platform=macos14-arm64; compiler_names; have_compiler /usr/bin/env || echo not there"
    assert {"/usr/bin/clang++ clang++ c++\nnot there\n", 0} = System.cmd(bash(), ["-c", script], env: environment)

    write_program(Path.join(folder, "bin"), "xcode-select", "exit 0")
    assert {"/usr/bin/clang++ clang++ c++\n", 0} = System.cmd(bash(), ["-c", script], env: environment)
  end

  # What lies some lines off has patch leave the file as it was beside it.
  test "MLX's sources are those of the crate without the crate's own changes, and nothing else", %{tmp_dir: folder} do
    lines = fn words -> Enum.map_join(words, &"#{&1}\n") end
    changed = lines.(~w(zero one two three its four five six))
    patch = "--- a/mlx/a.h\n+++ b/mlx/a.h\n@@ -1,6 +1,7 @@\n one\n two\n three\n+its\n four\n five\n six\n"
    crate = "rlx-mlx-sys-0.2.19"

    files = %{"vendor/mlx/CMakeLists.txt" => "", "vendor/mlx/mlx/a.h" => changed, "patches/0001-its.patch" => patch}
    archive = Path.join(folder, "registry/cache/index/#{crate}.crate")
    File.mkdir_p!(Path.dirname(archive))
    entries = for {name, content} <- files, do: {~c"#{crate}/#{name}", content}
    :ok = :erl_tar.create(archive, entries, [:compressed])

    write_program(Path.join(folder, "bin"), "cargo", "exit 1")
    path = "#{folder}/bin:#{System.get_env("PATH")}"
    places = [{"root", Path.expand("..", __DIR__)}, {"part", Path.join(folder, "part")}]

    script = """
    for name in cache crates native; do . "$root/setup/$name.sh"; done
    mkdir "$part" && mlx_from_crate mlx && cd "$part/mlx-0.32.4" && find . -type f | sort && cat mlx/a.h
    """

    assert {output, 0} = System.cmd(bash(), ["-c", script], env: [{"PATH", path}, {"CARGO_HOME", folder} | places])
    assert output == "./CMakeLists.txt\n./mlx/a.h\n" <> lines.(~w(zero one two three four five six))
  end

  test "MLX for a Mac's processor alone is built from its sources", %{tmp_dir: folder} do
    environment = %{
      "MLX_BACKEND" => "cpu",
      "apple_compiler" => "clang++",
      "CARGO_HOME" => folder,
      "PIP_NO_INDEX" => "1"
    }

    programs = mac("15.1", %{"cargo" => "exit 1", "curl" => "exit 1"})
    assert {[sentence], 1, output} = run_setup(folder, "toolchain", environment, programs)
    assert output =~ "MLX 0.32.4: sources"
    assert sentence =~ "the sources of MLX 0.32.4 could not be downloaded, neither with cargo nor with curl"

    assert {[sentence], 1, _output} = run_setup(folder, "toolchain", %{environment | "MLX_BACKEND" => "cuda"}, programs)
    assert sentence =~ "metal or cpu on macOS"
  end

  test "the locale is one that the system has", %{tmp_dir: folder} do
    script = ". #{Path.expand("../setup/locale.sh", __DIR__)}; use_utf8 2>/dev/null; echo $LC_ALL"
    unset = for name <- ~w(LC_ALL LC_CTYPE LANG), do: {name, nil}

    for {name, given, locale} <- [
          {"Darwin", %{}, "en_US.UTF-8"},
          {"Linux", %{}, "C.UTF-8"},
          {"Darwin", %{"LC_ALL" => "C.utf8"}, "C.utf8"},
          {"Linux", %{"LANG" => "C"}, "C.UTF-8"}
        ] do
      for {program, text} <- uname(name, "arm64"), do: write_program(Path.join(folder, "bin"), program, text)
      environment = unset ++ Enum.to_list(given) ++ [{"PATH", "#{folder}/bin:#{System.get_env("PATH")}"}]
      assert {output, 0} = System.cmd(bash(), ["-c", script], env: environment)
      assert output == locale <> "\n"
    end
  end

  test "a compiler without <format> is refused", %{tmp_dir: folder} do
    assert {[sentence], 1, _output} = run_setup(folder, "toolchain", %{"CXX" => "old-c++"}, %{"old-c++" => "exit 1"})
    assert sentence =~ "CXX=old-c++"
  end

  test "wrong environment variables are named", %{tmp_dir: folder} do
    assert {[sentence], 1, _output} = run_setup(folder, "native", %{"MLX_BACKEND" => "opencl"})
    assert sentence =~ "MLX_BACKEND=opencl"

    assert {[sentence], 1, _output} = run_setup(folder, "toolchain", %{"MLX_DIR" => folder})
    assert sentence =~ "MLX_DIR=#{folder}"

    assert {[sentence], 1, _output} = run_setup(folder, "native", %{"MLX_CACHE" => "/dev/null/cache"})
    assert sentence =~ "MLX_CACHE"
  end

  # The headers of MLX that the sources include, in the order in which the set-up looks for them.
  defp included_headers do
    sources = Path.wildcard(Path.expand("../c_src/**/*.{cpp,hpp}", __DIR__))

    headers =
      for source <- sources,
          [_line, header] <- Regex.scan(~r/^#include <(mlx\/(?!c\/)[^>]+)>/m, File.read!(source)),
          uniq: true,
          do: header

    Enum.sort(headers)
  end

  test "MLX and mlx-c of other versions are refused before anything is built", %{tmp_dir: folder} do
    mlx = Path.join(folder, "mlx")

    version = fn patch ->
      "#define MLX_VERSION_MAJOR 0\n#define MLX_VERSION_MINOR 32\n#define MLX_VERSION_PATCH #{patch}\n"
    end

    headers = included_headers() -- ["mlx/mlx.h", "mlx/version.h"]
    FileTree.write!(mlx, %{"include/mlx/mlx.h" => "", "include/mlx/version.h" => version.(2)})
    assert {[sentence], 1, _output} = run_setup(folder, "toolchain", %{"MLX_DIR" => mlx}, uname("Linux", "x86_64"))
    assert sentence =~ "MLX_DIR=#{mlx} does not hold include/#{List.first(headers)}"

    {last, others} = List.pop_at(headers, -1)
    FileTree.write!(mlx, Map.new(others, &{"include/#{&1}", ""}))
    assert {[sentence], 1, _output} = run_setup(folder, "toolchain", %{"MLX_DIR" => mlx}, uname("Linux", "x86_64"))
    assert sentence =~ "MLX_DIR=#{mlx} does not hold include/#{last}"

    FileTree.write!(mlx, %{"include/#{last}" => ""})
    assert {[sentence], 1, _output} = run_setup(folder, "toolchain", %{"MLX_DIR" => mlx}, uname("Linux", "x86_64"))
    assert sentence =~ "MLX_DIR=#{mlx} does not hold lib/libmlx.so"

    FileTree.write!(mlx, %{"lib/libmlx.so" => ""})
    assert {[sentence], 1, _output} = run_setup(folder, "toolchain", %{"MLX_DIR" => mlx}, uname("Linux", "x86_64"))
    assert sentence =~ "MLX_DIR=#{mlx} holds MLX 0.32.2; the NIF is made for MLX 0.32.4"

    FileTree.write!(mlx, %{"include/mlx/version.h" => version.(4)})
    mlx_c = Path.join(folder, "mlx-c")
    cmake = "share/cmake/MLXC/MLXCConfigVersion.cmake"
    FileTree.write!(mlx_c, %{"include/mlx/c/mlx.h" => "", "lib/libmlxc.a" => ""})
    given = %{"MLX_DIR" => mlx, "MLX_C_DIR" => mlx_c}
    assert {[sentence], 1, _output} = run_setup(folder, "toolchain", given)
    assert sentence =~ "MLX_C_DIR=#{mlx_c} does not hold include/mlx/c/error.h"
    FileTree.write!(mlx_c, %{"include/mlx/c/error.h" => ""})

    for {version, fits} <- [{"0.6.0", false}, {"0.7.0", true}, {"0.8.1", true}, {"0.9.0", false}] do
      FileTree.write!(mlx_c, %{cmake => ~s[set(PACKAGE_VERSION "#{version}")\n]})
      {sentences, status, _output} = run_setup(folder, "toolchain", given)
      assert status == if(fits, do: 0, else: 1)
      assert fits or hd(sentences) =~ "holds mlx-c #{version}; the NIF is made for mlx-c 0.7.0, and 0.8 fits as well"
    end
  end

  test "a download with another checksum is refused, and nothing of it is kept", %{tmp_dir: folder} do
    wheels = Path.join(folder, "wheels")
    write_wheels(wheels)
    offline = %{"PIP_NO_INDEX" => "1", "PIP_FIND_LINKS" => wheels}
    assert {[sentence], 1, _output} = run_setup(folder, "toolchain", offline)
    assert sentence =~ "checksum"
    assert folder |> Path.join("cache") |> File.ls!() |> Enum.sort() == ["lock", "setup.log", "tools"]

    File.rm_rf!(wheels)
    assert {[sentence], 1, _output} = run_setup(folder, "toolchain", offline)
    assert sentence =~ "could not be downloaded"
  end

  test "a download that fails says what pip says", %{tmp_dir: folder} do
    # Nobody listens there.
    index = "http://127.0.0.1:9/simple"
    offline = %{"PIP_INDEX_URL" => index, "PIP_RETRIES" => "2", "PIP_NO_INDEX" => "0", "PIP_FIND_LINKS" => ""}
    assert {[sentence], 1, output} = run_setup(folder, "toolchain", offline)

    assert sentence =~
             "could not be downloaded with pip, which said (all of the output is in #{folder}/cache/setup.log):"

    assert [_before, words] = String.split(output, sentence <> "\n")
    assert [retried, "  ERROR: Could not find a version" <> _, "  ERROR: No matching distribution" <> _] = lines(words)
    assert retried =~ "Connection refused"
  end

  test "a download that fails says what cargo and curl say, each line once", %{tmp_dir: folder} do
    cargo = """
    printf 'error: download of config.json failed\\n\\nCaused by:\\n  [6] Could not resolve hostname\\n' >&2
    exit 101
    """

    curl = "echo 'curl: (6) Could not resolve host: github.com' >&2; exit 6"
    environment = %{"MLX_BACKEND" => "cpu", "apple_compiler" => "clang++", "CARGO_HOME" => folder}

    assert {[sentence], 1, output} =
             run_setup(folder, "toolchain", environment, mac("15.1", %{"cargo" => cargo, "curl" => curl}))

    assert [_before, words] = String.split(output, sentence <> "\n")

    assert lines(words) == [
             "  error: download of config.json failed",
             "  [6] Could not resolve hostname",
             "  curl: (6) Could not resolve host: github.com"
           ]
  end

  defp lines(text), do: String.split(text, "\n", trim: true)

  # A cache as another checkout has left it, with libraries that tell which ones they are.
  defp write_cache(folder, openblas) do
    mlx = Path.join(folder, "cache/mlx-#{version_of("mlx-cpu")}-cpu")

    FileTree.write!(mlx, %{
      "mlx/lib/libmlx.so" => "",
      "mlx_cpu.libs/libblas-1.so" => "old",
      "mlx_cpu.libs/liblapack-1.so" => "old",
      "mlx_cpu.libs/libscipy_openblas.so" => "OpenBLAS #{openblas} "
    })

    File.mkdir_p!(Path.join(folder, "cache/mlx-c-#{version_of("mlx-c")}-mlx-#{version_of("mlx-cpu")}-cpu"))
    mlx
  end

  # The compiler leaves a text in what it makes, and Python does nothing.
  defp set_up_blas(folder) do
    programs = Map.merge(uname("Linux", "x86_64"), %{"new-c++" => compiler(), "python3" => ""})
    {_sentences, status, output} = run_setup(folder, "toolchain", %{"CXX" => "new-c++"}, programs)
    assert status == 0, output
    output
  end

  defp openblas_step, do: "OpenBLAS #{version_of("scipy-openblas32")} ..."

  test "a cached MLX gets another BLAS when this is made of other things, and nothing else", %{tmp_dir: folder} do
    mlx = write_cache(folder, version_of("scipy-openblas32"))
    blas = Path.join(mlx, "mlx_cpu.libs/libblas-1.so")

    output = set_up_blas(folder)
    assert output =~ openblas_step()
    refute output =~ "MLX #{version_of("mlx-cpu")}"
    refute output =~ "could not"
    assert File.read!(blas) == "#!/bin/sh\n"
    assert File.read_link!(Path.join(mlx, "mlx_cpu.libs/liblapack-1.so")) == "libblas-1.so"
    assert File.exists?(Path.join(mlx, "mlx/lib/libmlx.so"))
    refute set_up_blas(folder) =~ openblas_step()

    File.write!(blas, "old")
    File.write!(Path.join(mlx, "openblas.key"), "another checkout's")
    assert set_up_blas(folder) =~ openblas_step()
    assert File.read!(blas) == "#!/bin/sh\n"
  end

  test "an OpenBLAS of another version is replaced, and stays where that fails", %{tmp_dir: folder} do
    mlx = write_cache(folder, "0.3.1")
    output = set_up_blas(folder)
    assert output =~ "what was downloaded as scipy-openblas32 #{version_of("scipy-openblas32")} has the checksum"
    assert output =~ "OpenBLAS could not be added"
    assert output =~ "to try again remove #{mlx}/openblas.key"
    assert File.read!(Path.join(mlx, "mlx_cpu.libs/libblas-1.so")) == "old"
    refute set_up_blas(folder) =~ openblas_step()
  end

  defp version_of(name) do
    Enum.find_value(pins(), fn pin -> match?([^name, _version | _rest], pin) and Enum.at(pin, 1) end)
  end

  defp pins do
    @setup
    |> Path.dirname()
    |> Path.join("../setup/sources.txt")
    |> File.read!()
    |> String.split("\n")
    |> Enum.map(&String.split/1)
  end

  # Wheels with the names of the pinned ones and nothing in them.
  defp write_wheels(folder, metadata \\ "") do
    File.mkdir_p!(folder)

    for [name, version, _platform, tag, _sum] <- pins(),
        String.starts_with?(name, "mlx-") and tag =~ ~r/^(manylinux|macosx)/ do
      package = "#{String.replace(name, "-", "_")}-#{version}"

      files = [
        {~c"#{package}.dist-info/METADATA", "Metadata-Version: 2.1\nName: #{name}\nVersion: #{version}\n#{metadata}"},
        {~c"#{package}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-#{tag}\n"},
        {~c"#{package}.dist-info/RECORD", ""}
      ]

      {:ok, _file} = :zip.create(~c"#{folder}/#{package}-py3-none-#{tag}.whl", files)
    end
  end
end
