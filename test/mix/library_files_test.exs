defmodule Mix.Mlx.LibraryFilesTest do
  use ExUnit.Case, async: true

  alias Mix.Mlx.{Examination, LibraryFiles}
  alias Mlx.FileTree

  @moduletag :tmp_dir

  @elf_arm <<0x7F, "ELF", 2, 1, 1, 0::72, 3::little-16, 183::little-16, 1::little-32>>
  @mach_o <<0xFEEDFACF::little-32, 0x0100000C::little-32, 0::128>>

  defp message(fun), do: assert_raise(RuntimeError, fun).message

  test "the library that the tests run with is for this machine" do
    priv = to_string(:code.priv_dir(:mlx))

    assert LibraryFiles.made_for!(priv, to_string(:erlang.system_info(:system_architecture))) =~
             ~r/^(x86_64|aarch64) on (Linux|macOS)$/

    assert File.dir?(LibraryFiles.mlx!(priv))
  end

  test "a library for another processor or system is told", %{tmp_dir: priv} do
    FileTree.write!(priv, %{"mlx_nif.so" => @elf_arm})
    assert LibraryFiles.made_for!(priv, "aarch64-unknown-linux-gnu") == "aarch64 on Linux"

    assert message(fn -> LibraryFiles.made_for!(priv, "x86_64-pc-linux-gnu") end) ==
             "#{priv}/mlx_nif.so is for aarch64 on Linux, and this Erlang is for x86_64 on Linux"

    FileTree.write!(priv, %{"mlx_nif.so" => @mach_o})
    assert LibraryFiles.made_for!(priv, "arm-apple-darwin24.0.0") == "aarch64 on macOS"

    assert message(fn -> LibraryFiles.made_for!(priv, "x86_64-apple-darwin24.0.0") end) =~
             "and this Erlang is for x86_64 on macOS"

    FileTree.write!(priv, %{"mlx_nif.so" => "<html>"})
    assert message(fn -> LibraryFiles.made_for!(priv, "x86_64-pc-linux-gnu") end) =~ "it is no library"
  end

  test "a library that is missing is said with the words that the NIF has for it", %{tmp_dir: priv} do
    for check <- [&LibraryFiles.there!/1, &LibraryFiles.made_for!(&1, "x86_64-pc-linux-gnu")] do
      assert message(fn -> check.(priv) end) ==
               "MLX cannot be used: the native library is not at #{priv}/mlx_nif.so; `mix compile --force` builds it"
    end

    FileTree.write!(priv, %{"mlx_nif.so" => "it"})
    assert LibraryFiles.there!(priv) == Path.join(priv, "mlx_nif.so")
  end

  test "MLX without its kernels for Metal is told", %{tmp_dir: priv} do
    assert message(fn -> LibraryFiles.mlx!(priv) end) =~ "MLX is not in #{priv}/mlx/lib: there is neither"
    FileTree.write!(priv, %{"mlx/lib/libmlx.dylib" => ""})

    assert message(fn -> LibraryFiles.mlx!(priv) end) =~
             "mlx.metallib, which holds the kernels for Metal, is not in #{priv}/mlx/lib"

    FileTree.write!(priv, %{"mlx/lib/mlx.metallib" => ""})
    assert LibraryFiles.mlx!(priv) == Path.join(priv, "mlx/lib")
    assert LibraryFiles.backend(priv) == :metal

    elsewhere = Path.join(priv, "elsewhere")
    FileTree.write!(priv, %{"libmlx_folder" => elsewhere, "elsewhere/libmlx.so" => ""})
    assert LibraryFiles.mlx!(priv) == elsewhere
    assert LibraryFiles.backend(priv) == :cpu
  end

  test "the CUDA of an archive is known by its libraries", %{tmp_dir: priv} do
    FileTree.write!(priv, %{"mlx/lib/libmlx.so" => "", "mlx_cuda_13.libs/libscipy_openblas.so" => ""})
    assert LibraryFiles.backend(priv) == :cuda
  end

  test "files that macOS holds back are named", %{tmp_dir: priv} do
    FileTree.write!(priv, %{"mlx_nif.so" => "", "mlx/lib/libmlx.dylib" => "", "mlx/lib/mlx.metallib" => ""})
    assert LibraryFiles.quarantine!(priv, fn _file -> "com.apple.provenance\n" end) == "macOS holds no file back"
    marked = fn file -> if Path.extname(file) == ".dylib", do: "com.apple.quarantine\n", else: "" end

    assert message(fn -> LibraryFiles.quarantine!(priv, marked) end) ==
             "macOS holds back libmlx.dylib, marked as downloaded (com.apple.quarantine)"
  end

  test "each of these is a check of the doctor" do
    names = for {name, _check, _advice} <- Examination.checks(), do: name

    for name <- ["native library", "processor", "files of MLX", "quarantine", "NIF", "MLX", "GPU", "Erlang/OTP"],
        do: assert(name in names)
  end
end
