defmodule SetupTest do
  use ExUnit.Case, async: true

  @setup Path.expand("../bin/setup", __DIR__)
  @tools ~w(bash awk basename cat chmod cut date dirname env find flock grep head id ls mkdir mv perl printf pwd rm sed
            sha256sum shasum sleep sort tail tar touch tr uname)

  @moduletag :tmp_dir

  # Runs bin/setup with an empty cache, and with the programs that `programs` gives (name => shell script) before all
  # others.
  defp run_setup(folder, target, environment, programs \\ %{}) do
    bin = Path.join(folder, "bin")
    for {name, script} <- programs, do: write_program(bin, name, script)
    path = "#{bin}:#{environment["PATH"] || System.get_env("PATH")}"
    unset = for name <- ~w(MLX_DIR MLX_C_DIR MLX_BACKEND CXX), do: {name, nil}
    given = Map.new(unset ++ [{"MLX_CACHE", Path.join(folder, "cache")}]) |> Map.merge(Map.new(environment))

    {output, status} = System.cmd("bash", [@setup, target], env: Map.put(given, "PATH", path), stderr_to_stdout: true)
    {output |> String.split("\n", trim: true) |> Enum.filter(&String.starts_with?(&1, "bin/setup: ")), status, output}
  end

  defp write_program(bin, name, script) do
    File.mkdir_p!(bin)
    path = Path.join(bin, name)
    File.write!(path, "#!/bin/sh\n#{script}\n")
    File.chmod!(path, 0o755)
  end

  defp uname(name, machine) do
    %{"uname" => "case $1 in -s) echo #{name} ;; -m) echo #{machine} ;; *) echo #{name} #{machine} ;; esac"}
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

  # Wheels with the names of the pinned ones and nothing in them.
  defp write_wheels(folder) do
    File.mkdir_p!(folder)
    pins = @setup |> Path.dirname() |> Path.join("../setup/sources.txt") |> File.read!()

    for [name, version, _platform, tag, _sum] <- pins |> String.split("\n") |> Enum.map(&String.split/1),
        String.starts_with?(name, "mlx-") and tag =~ ~r/^(manylinux|macosx)/ do
      package = "#{String.replace(name, "-", "_")}-#{version}"

      files = [
        {~c"#{package}.dist-info/METADATA", "Metadata-Version: 2.1\nName: #{name}\nVersion: #{version}\n"},
        {~c"#{package}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-#{tag}\n"},
        {~c"#{package}.dist-info/RECORD", ""}
      ]

      {:ok, _file} = :zip.create(~c"#{folder}/#{package}-py3-none-#{tag}.whl", files)
    end
  end
end
