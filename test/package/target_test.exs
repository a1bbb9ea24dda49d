for name <- ~w(target), do: Code.require_file("../../mix/package/#{name}.exs", __DIR__)

defmodule Mlx.Package.TargetTest do
  use ExUnit.Case, async: true

  alias Mlx.Package.Target

  defp machine(architecture, more) do
    unknown = %{glibc: {2, 41}, darwin: nil, nif: {2, 17}, otp: "27"}
    architecture |> Target.parse() |> Map.merge(unknown) |> Map.merge(more)
  end

  test "each platform has its archive" do
    for {architecture, more, environment, target} <- [
          {"x86_64-pc-linux-gnu", %{}, %{}, "x86_64-linux-gnu"},
          {"x86_64-unknown-linux-gnu", %{glibc: {2, 35}}, %{"MLX_BACKEND" => "cpu"}, "x86_64-linux-gnu"},
          {"x86_64-pc-linux-gnu", %{glibc: nil}, %{}, "x86_64-linux-gnu"},
          {"aarch64-unknown-linux-gnu", %{}, %{}, "aarch64-linux-gnu"},
          {"x86_64-pc-linux-gnu", %{}, %{"MLX_BACKEND" => "cuda"}, "x86_64-linux-gnu-cuda13"},
          {"aarch64-apple-darwin23.0.0", %{darwin: {23, 0}}, %{}, "aarch64-apple-darwin-macos14"},
          {"arm-apple-darwin24.6.0", %{darwin: {24, 6}}, %{}, "aarch64-apple-darwin-macos14"},
          {"aarch64-apple-darwin25.1.0", %{darwin: {25, 1}}, %{}, "aarch64-apple-darwin-macos14"},
          {"aarch64-apple-darwin25.2.0", %{darwin: {25, 2}}, %{"MLX_BACKEND" => "metal"},
           "aarch64-apple-darwin-macos26"},
          {"aarch64-apple-darwin26.0.0", %{darwin: {26, 0}}, %{}, "aarch64-apple-darwin-macos26"}
        ] do
      assert Target.find(machine(architecture, more), environment) == {:ok, target}
      assert target in Target.all()
    end
  end

  test "a machine without an archive is told why, in one sentence" do
    for {architecture, more, environment, words} <- [
          {"x86_64-alpine-linux-musl", %{}, %{}, "whose C library is musl: MLX needs glibc 2.35"},
          {"x86_64-pc-linux-gnu", %{glibc: {2, 31}}, %{}, "its glibc is 2.31, and MLX needs 2.35 or newer"},
          {"riscv64-unknown-linux-gnu", %{}, %{}, "riscv64-linux-gnu; set MLX_BUILD=true"},
          {"aarch64-unknown-linux-gnu", %{}, %{"MLX_BACKEND" => "cuda"}, "MLX_BACKEND=cuda; set MLX_BUILD=true"},
          {"x86_64-apple-darwin23.1.0", %{darwin: {23, 1}}, %{}, "Intel Macs, for which MLX is not made"},
          {"aarch64-apple-darwin22.6.0", %{darwin: {22, 6}}, %{}, "it is macOS 13, and MLX needs macOS 14"},
          {"aarch64-apple-darwin25.0.0", %{darwin: {25, 0}}, %{"MLX_BACKEND" => "cpu"}, "macOS with MLX_BACKEND=cpu"},
          {"x86_64-pc-linux-gnu", %{nif: {2, 16}, otp: "25"}, %{}, "OTP 25 is too old for the precompiled library"},
          {"win32", %{}, %{}, "win32"}
        ] do
      assert {:error, sentence} = Target.find(machine(architecture, more), environment)
      assert sentence =~ words
      refute sentence =~ "\n"
    end
  end

  test "another machine than this one is named as Nerves does it" do
    here = machine("x86_64-apple-darwin22.0.0", %{darwin: {22, 0}})
    arm = %{"TARGET_ARCH" => "aarch64", "TARGET_OS" => "linux", "TARGET_ABI" => "gnu"}
    assert Target.crossed?(arm)
    refute Target.crossed?(%{"TARGET_ARCH" => ""})
    assert Target.find(here, arm) == {:ok, "aarch64-linux-gnu"}
    assert Target.find(here, %{"TARGET_ARCH" => "x86_64"}) == {:ok, "x86_64-linux-gnu"}

    assert Target.find(here, %{"TARGET_ARCH" => "aarch64", "TARGET_OS" => "darwin"}) ==
             {:ok, "aarch64-apple-darwin-macos14"}

    assert {:error, sentence} = Target.find(here, %{arm | "TARGET_ABI" => "musl"})
    assert sentence =~ "musl"
  end

  test "this machine is described, and its glibc is what getconf says" do
    machine = Target.machine()
    assert machine.processor in ["x86_64", "aarch64"]
    assert machine.nif >= {2, 17}

    if System.find_executable("getconf") && machine.system == "linux" do
      {"glibc " <> version, 0} = System.cmd("getconf", ["GNU_LIBC_VERSION"])

      assert machine.glibc ==
               version |> String.trim() |> String.split(".") |> Enum.map(&String.to_integer/1) |> List.to_tuple()
    end
  end
end
