for name <- ~w(target archive), do: Code.require_file("../../mix/package/#{name}.exs", __DIR__)

defmodule Mlx.Package.ArchiveTest do
  use ExUnit.Case, async: true

  alias Mlx.FileTree
  alias Mlx.Package.{Archive, Target}

  @moduletag :tmp_dir

  @linux %{
    "mlx_nif.so" => "the nif",
    "mlx/lib/libmlx.so" => String.duplicate("mlx", 100_000),
    "mlx_cpu.libs/libblas-0123abcd.so.3.10.0" => "blas",
    "mlx_cpu.libs/liblapack-0123abcd.so.3.10.0" => "lapack",
    "mlx_cpu.libs/libscipy_openblas.so" => String.duplicate("o", 512),
    "licenses/MLX.txt" => "MIT"
  }
  @macos %{
    "mlx_nif.so" => "n",
    "mlx/lib/libmlx.dylib" => "m",
    "mlx/lib/mlx.metallib" => "k",
    "licenses/mlx-c.txt" => "MIT"
  }

  defp files(folder),
    do:
      for(
        path <- Path.wildcard(folder <> "/**"),
        File.regular?(path),
        into: %{},
        do: {Path.relative_to(path, folder), File.read!(path)}
      )

  # An archive of these entries as OTP's own tar writes it, which follows and keeps links.
  defp tar(world, entries) do
    file = Path.join(world, "made.tar.gz")
    {:ok, tar} = :erl_tar.open(to_charlist(file), [:write, :compressed])
    for {name, content} <- entries, do: :ok = :erl_tar.add(tar, content, to_charlist(name), [])
    :ok = :erl_tar.close(tar)
    file
  end

  test "what was packed is what is unpacked, for each platform, and another tar reads it", %{tmp_dir: world} do
    long = "mlx/include/cutlass/" <> String.duplicate("folder/", 10) <> String.duplicate("n", 60) <> ".hpp"
    cuda = Map.merge(@linux, %{long => "header", "mlx/include/cccl/cuda/std/limits" => "header"})

    for {target, files} <- [
          {"x86_64-linux-gnu", @linux},
          {"x86_64-linux-gnu-cuda13", cuda},
          {"aarch64-apple-darwin-macos26", @macos}
        ] do
      FileTree.write!(Path.join(world, target), files)
      file = Path.join(world, Archive.name("1.2.3", target))
      assert Archive.pack(Path.join(world, target), file) == :ok
      assert Archive.unpack(file, target, Path.join(world, "out")) == :ok
      assert files(Path.join(world, "out")) == files
      assert {:ok, entries} = :erl_tar.extract(to_charlist(file), [:compressed, :memory])
      assert Map.new(entries, fn {name, content} -> {to_string(name), content} end) == files
    end
  end

  test "the same files give the same bytes, whenever they were written and whoever may read them", %{tmp_dir: world} do
    archives =
      for name <- ~w(one two) do
        folder = Path.join(world, name)
        FileTree.write!(folder, Enum.shuffle(@linux) |> Map.new())
        if name == "two", do: for(path <- Map.keys(@linux), do: File.touch!(Path.join(folder, path), 1_000_000_000))
        if name == "two", do: File.chmod!(Path.join(folder, "mlx_nif.so"), 0o755)
        :ok = Archive.pack(folder, folder <> ".tar.gz")
        File.read!(folder <> ".tar.gz")
      end

    assert [same] = Enum.uniq(archives)
    assert is_binary(same)
  end

  test "nothing is unpacked but what is expected", %{tmp_dir: world} do
    outside = Path.join(world, "outside")

    for {entries, words} <- [
          {[{"../outside", "x"}], ~S("../outside", which is not expected)},
          {[{outside, "x"}], "which is not expected"},
          {[{"mlx/lib/../../../outside", "x"}], "which is not expected"},
          {[{"mlx_nif.so\n", "x"}], "which is not expected"},
          {[{"mlx/lib/libmlx.dylib", "x"}], "which is not expected"},
          {[{"mlx/include/cccl/cuda/std/limits", "x"}], "which is not expected"},
          {[{"mlx_nif.so", "a"}, {"mlx_nif.so", "b"}], ~S("mlx_nif.so" twice)},
          {[{"mlx_nif.so", ""}], "which is empty"},
          {Map.delete(@linux, "mlx/lib/libmlx.so"), "lacks what is named like mlx/lib/libmlx.so"},
          {Map.delete(@linux, "mlx_cpu.libs/libscipy_openblas.so"), "lacks"}
        ] do
      file = tar(world, entries)
      folder = Path.join(world, "priv")
      assert {:error, sentence} = Archive.unpack(file, "x86_64-linux-gnu", folder)
      assert sentence =~ words
      assert sentence =~ file
      refute File.exists?(folder)
      refute File.exists?(outside)
    end
  end

  test "links, folders and devices are refused", %{tmp_dir: world} do
    File.ln_s!("/etc/passwd", Path.join(world, "link"))
    File.mkdir!(Path.join(world, "folder"))

    for path <- ["link", "folder"] do
      file = tar(world, [{"mlx_nif.so", to_charlist(Path.join(world, path))}])
      assert {:error, sentence} = Archive.unpack(file, "x86_64-linux-gnu", Path.join(world, "priv"))
      assert sentence =~ ~r/"mlx_nif\.so\/?", which is no regular file/
    end

    FileTree.write!(Path.join(world, "files"), @linux)
    good = Path.join(world, "good.tar.gz")
    :ok = Archive.pack(Path.join(world, "files"), good)
    <<before::binary-156, "0", rest::binary>> = good |> File.read!() |> :zlib.gunzip()

    for type <- ~c"123456xgLK" do
      sum = Enum.sum(:binary.bin_to_list(before)) - Enum.sum(:binary.bin_to_list(binary_part(before, 148, 8))) + 8 * 32
      sum = sum + type + Enum.sum(:binary.bin_to_list(binary_part(rest, 0, 355)))
      octal = sum |> Integer.to_string(8) |> String.pad_leading(6, "0")
      header = binary_part(before, 0, 148) <> octal <> "\0 " <> <<type>>
      file = Path.join(world, "special.tar.gz")
      File.write!(file, :zlib.gzip(header <> rest))
      assert {:error, sentence} = Archive.unpack(file, "x86_64-linux-gnu", Path.join(world, "priv"))
      assert sentence =~ "which is no regular file"
    end
  end

  test "what is damaged anywhere is an error, and no crash", %{tmp_dir: world} do
    FileTree.write!(Path.join(world, "files"), @linux)
    good = Path.join(world, "good.tar.gz")
    :ok = Archive.pack(Path.join(world, "files"), good)
    bytes = File.read!(good)
    file = Path.join(world, "bad.tar.gz")

    for cut <- [0, 1, 10, 100, div(byte_size(bytes), 2)] do
      File.write!(file, binary_part(bytes, 0, cut))
      assert {:error, sentence} = Archive.unpack(file, "x86_64-linux-gnu", Path.join(world, "priv"))
      assert sentence =~ "ends too early"
    end

    tar = :zlib.gunzip(bytes)
    :rand.seed(:exsss, {1, 2, 3})

    for _ <- 1..100 do
      at = :rand.uniform(1536) - 1
      <<before::binary-size(at), byte, rest::binary>> = tar
      File.write!(file, :zlib.gzip(before <> <<Bitwise.bxor(byte, :rand.uniform(255))>> <> rest))

      case Archive.unpack(file, "x86_64-linux-gnu", Path.join(world, "priv")) do
        :ok -> :ok
        {:error, sentence} -> refute sentence =~ "\n"
      end
    end

    for text <- ["", "<html>not found</html>", :crypto.strong_rand_bytes(5000)] do
      File.write!(file, text)
      assert {:error, _sentence} = Archive.unpack(file, "x86_64-linux-gnu", Path.join(world, "priv"))
      refute File.exists?(Path.join(world, "priv"))
    end

    assert {:error, sentence} = Archive.unpack(Path.join(world, "none"), "x86_64-linux-gnu", Path.join(world, "priv"))
    assert sentence =~ "could not be unpacked"
  end

  test "a checksum list has a line for each archive", %{tmp_dir: world} do
    FileTree.write!(Path.join(world, "files"), @macos)

    lines =
      for target <- Target.all() do
        file = Path.join(world, Archive.name("1.2.3", target))
        :ok = Archive.pack(Path.join(world, "files"), file)
        Archive.line(file)
      end

    File.write!(Path.join(world, "archives.txt"), Enum.join(lines, "\n"))
    checksums = Archive.checksums(Path.join(world, "archives.txt"))
    assert map_size(checksums) == length(Target.all())
    assert {bytes, sha256} = checksums["mlx-1.2.3-nif-2.17-x86_64-linux-gnu.tar.gz"]
    content = File.read!(Path.join(world, "mlx-1.2.3-nif-2.17-x86_64-linux-gnu.tar.gz"))
    assert {byte_size(content), Base.encode16(:crypto.hash(:sha256, content), case: :lower)} == {bytes, sha256}
    assert Archive.checksums(Path.join(world, "none")) == %{}
  end
end
