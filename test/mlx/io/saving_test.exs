defmodule Mlx.IO.SavingTest do
  use ExUnit.Case, async: true

  import Mlx.Oracle

  alias Mlx.ChildVM
  alias Mlx.IO.WholeFile

  # Some arrays are of f64.
  setup {Mlx.OnCPU, :choose}

  @moduletag :tmp_dir

  @types %{safetensors: Mlx.Type.all() -- [:f64], gguf: [:f32, :f16, :s8, :s16, :s32], npz: Mlx.Type.all()}
  @shapes [{}, {0}, {1}, {7}, {0, 3}, {2, 0, 2}, {2, 3}, {3, 1, 5}, {2, 1, 2, 1, 2}]
  @odd ["", " ", "a.b/c", "\"", "\\", "\n\r\t\b\f", <<1, 31, 127>>, "größe", "日本", "😀", "\u2028", "null", "{\"a\":1}"]

  defp path(%{tmp_dir: folder}, name), do: Path.join(folder, name)

  defp sample(shape, type) do
    Tuple.product(shape) |> Mlx.arange() |> Mlx.add(1) |> Mlx.as_type(type) |> Mlx.reshape(shape)
  end

  defp described(arrays), do: Map.new(arrays, fn {name, a} -> {name, {a.type, a.shape, Mlx.to_binary(a)}} end)

  defp assert_same(loaded, saved), do: assert(described(loaded) == described(saved))

  defp assert_python_reads(arrays, path) do
    {names, arrays} = Enum.unzip(arrays)
    loaded = for name <- names, do: "mx.load('#{path}')[#{python(name)}]"
    assert_oracle(arrays, "[#{Enum.join(loaded, ", ")}]")
  end

  defp python(text) when is_binary(text), do: "bytes.fromhex('#{Base.encode16(text)}').decode()"
  defp python(list) when is_list(list), do: "[#{Enum.map_join(list, ", ", &python/1)}]"
  defp python(map), do: "{#{Enum.map_join(map, ", ", fn {key, value} -> "#{python(key)}: #{python(value)}" end)}}"

  for format <- [:safetensors, :gguf, :npz] do
    test "#{format}: all types and shapes", context do
      path = path(context, "a.#{unquote(format)}")

      arrays =
        for type <- @types[unquote(format)], shape <- @shapes, into: %{} do
          {"#{type}#{inspect(shape)}", sample(shape, type)}
        end

      assert Mlx.IO.save(path, arrays) == :ok
      assert_same(Mlx.IO.load(path), arrays)
      assert File.ls!(context.tmp_dir) == ["a.#{unquote(format)}"]
    end

    @tag :oracle
    test "#{format}: Python reads all types and shapes", context do
      path = path(context, "a.#{unquote(format)}")

      arrays =
        for type <- @types[unquote(format)], shape <- @shapes, into: %{} do
          {"#{type}#{inspect(shape)}", sample(shape, type)}
        end

      Mlx.IO.save(path, arrays)
      assert_python_reads(arrays, path)
    end

    test "#{format}: generated names and shapes", context do
      :rand.seed(:exsss, {unquote(format) |> to_string() |> byte_size(), 2, 3})

      for round <- 1..40 do
        path = path(context, "#{round}.#{unquote(format)}")

        arrays =
          for _ <- 1..:rand.uniform(8), into: %{} do
            name = Enum.map_join(1..:rand.uniform(4), fn _ -> Enum.random(@odd -- [""]) end)
            shape = List.to_tuple(for _ <- 1..:rand.uniform(4), do: :rand.uniform(5) - 1)
            {name, sample(shape, Enum.random(@types[unquote(format)]))}
          end

        Mlx.IO.save(path, arrays)
        assert_same(Mlx.IO.load(path), arrays)
        if available?() and unquote(format) != :npz and rem(round, 8) == 0, do: assert_python_reads(arrays, path)
      end
    end

    test "#{format}: arrays that are lazy, or not row after row", context do
      path = path(context, "a.#{unquote(format)}")
      x = Mlx.reshape(Mlx.arange(24, type: :f32), {4, 6})

      arrays = %{
        "lazy" => Mlx.add(x, 1),
        "transposed" => Mlx.transpose(x),
        "broadcast" => Mlx.broadcast(Mlx.array([1.0, 2.0]), {3, 2}),
        "sliced" => x[[1..2, 2..4]],
        "reversed" => Mlx.reverse(x, axes: [0]),
        "steps" => Mlx.slice(x, [0, 0], [4, 6], strides: [2, 3])
      }

      Mlx.IO.save(path, arrays)
      assert_same(Mlx.IO.load(path), arrays)
    end

    test "#{format}: arrays that were loaded from the path, and not read yet", context do
      path = path(context, "a.#{unquote(format)}")
      Mlx.IO.save(path, %{"x" => Mlx.arange(100_000, type: :s32), "y" => Mlx.array([1.0])})
      loaded = Mlx.IO.load(path)
      Mlx.IO.save(path, %{"z" => loaded["x"], "x" => loaded["y"]})
      assert %{"x" => x, "z" => z} = Mlx.IO.load(path)
      assert {Mlx.to_list(x), Mlx.to_number(z[-1])} == {[1.0], 99_999}
    end

    test "#{format}: no arrays", context do
      path = path(context, "a.#{unquote(format)}")
      Mlx.IO.save(path, %{})
      assert Mlx.IO.load(path) == %{}
    end

    test "#{format}: equal arrays make equal files", context do
      paths = for name <- ["a", "b"], do: path(context, "#{name}.#{unquote(format)}")
      for path <- paths, do: Mlx.IO.save(path, Map.new(1..50, &{"#{&1}", Mlx.array([&1])}))
      assert [bytes, bytes] = Enum.map(paths, &File.read!/1)
    end
  end

  test "safetensors: the header", context do
    path = path(context, "a.safetensors")
    arrays = %{"b" => sample({3}, :u8), "a" => sample({3}, :u8), "c" => sample({2, 2}, :f32), "d" => sample({}, :c64)}
    Mlx.IO.save(path, arrays, metadata: %{"k" => "v"})
    <<size::little-64, header::binary-size(size), data::binary>> = File.read!(path)

    assert String.trim_trailing(header, " ") ==
             ~s({"__metadata__":{"k":"v"},) <>
               ~s("d":{"dtype":"C64","shape":[],"data_offsets":[0,8]},) <>
               ~s("c":{"dtype":"F32","shape":[2,2],"data_offsets":[8,24]},) <>
               ~s("a":{"dtype":"U8","shape":[3],"data_offsets":[24,27]},) <>
               ~s("b":{"dtype":"U8","shape":[3],"data_offsets":[27,30]}})

    assert {rem(size, 8), byte_size(data)} == {0, 30}
  end

  test "safetensors: odd names and metadata", context do
    path = path(context, "a.safetensors")
    metadata = Map.new(@odd, &{&1, &1})
    arrays = Map.new(@odd, &{&1, Mlx.array(byte_size(&1))})
    Mlx.IO.save(path, arrays, metadata: metadata)
    assert {loaded, ^metadata} = Mlx.IO.load(path, metadata: true)
    assert_same(loaded, arrays)

    if available?(),
      do: assert_oracle(Mlx.array(true), "mx.array(mx.load('#{path}', return_metadata=True)[1] == #{python(metadata)})")
  end

  test "gguf: odd names and metadata", context do
    path = path(context, "a.gguf")
    texts = Map.new(@odd, &{"text" <> &1, &1})
    metadata = Map.put(texts, "list", @odd)
    arrays = Map.new(@odd, &{&1, Mlx.array(byte_size(&1))})
    Mlx.IO.save(path, arrays, metadata: metadata)
    assert {loaded, ^metadata} = Mlx.IO.load(path, metadata: true)
    assert_same(loaded, arrays)

    if available?(),
      do: assert_oracle(Mlx.array(true), "mx.array(mx.load('#{path}', return_metadata=True)[1] == #{python(metadata)})")
  end

  @tag :oracle
  test "gguf: Python reads numbers in metadata", context do
    path = path(context, "a.gguf")

    for type <- [:u8, :s8, :u16, :s16, :u32, :s32, :u64, :s64, :f32, :bool],
        array <- [Mlx.array(1, type: type), Mlx.array([1, 0, 1], type: type)] do
      Mlx.IO.save(path, %{"x" => Mlx.array([1.5])}, metadata: %{"a" => "text", "k" => array, "z" => ["b"]})

      assert_oracle(
        [array, Mlx.array([1.5])],
        "(lambda l: [l[1]['k'], l[0]['x']])(mx.load('#{path}', return_metadata=True))"
      )
    end
  end

  test "gguf: arrays begin at multiples of the alignment", context do
    path = path(context, "a.gguf")
    arrays = %{"a" => sample({3}, :s8), "b" => sample({5}, :f32), "c" => sample({0}, :f32)}

    for {value, alignment} <- [{nil, 32}, {64, 64}, {Mlx.array(128, type: :u32), 128}, {1, 1}] do
      Mlx.IO.save(path, arrays, metadata: if(value, do: %{"general.alignment" => value}, else: %{}))
      header = Mlx.IO.GGUFMetadata.read(path)
      assert header.alignment == alignment
      assert Enum.all?(header.tensors, &(rem(&1.offset, alignment) == 0))
      assert_same(Mlx.IO.load(path), arrays)
    end

    for wrong <- [48, 0, -1, 32.0, "32", [32], Mlx.array(32)] do
      assert_raise Mlx.Error, ~r/a.gguf: general.alignment has to be a power of two/, fn ->
        Mlx.IO.save(path, arrays, metadata: %{"general.alignment" => wrong})
      end
    end
  end

  test "what a format does not take raises, and changes no file", context do
    for {name, arrays, metadata, message} <- [
          {"a.safetensors", %{"x" => sample({2}, :f64)}, %{}, ~r/a.safetensors: "x" has the type :f64/},
          {"a.npz", %{String.duplicate("a", 65_532) => sample({2}, :f32)}, %{}, ~r/too long/},
          {"a.safetensors", %{"__metadata__" => sample({2}, :f32)}, %{}, ~r/__metadata__/},
          {"a.gguf", %{"x" => sample({2}, :u8)}, %{}, ~r/a.gguf: "x" has the type :u8/},
          {"a.gguf", %{"x" => Mlx.ones({1, 1, 1, 1, 1, 1, 1, 1, 1})}, %{}, ~r/"x" has 9 axes/},
          {"a.gguf", %{}, %{"k" => []}, ~r/the metadata "k" has the shape {0}/},
          {"a.gguf", %{}, %{"k" => [[1]]}, ~r/the metadata "k" has the shape {1, 1}/},
          {"a.gguf", %{}, %{"k" => sample({2}, :f16)}, ~r/the metadata "k" has the type :f16/},
          {"a.gguf", %{}, %{"k" => String.duplicate("a", 70_000_000)}, ~r/take 70000\d+ bytes/},
          {"a.safetensors", %{}, %{"k" => String.duplicate("a", 100_000_000)}, ~r/take 10000\d+ bytes/}
        ] do
      path = path(context, name)
      File.write!(path, "before")
      options = if metadata == %{}, do: [], else: [metadata: metadata]
      error = assert_raise Mlx.Error, message, fn -> Mlx.IO.save(path, arrays, options) end
      assert error.message =~ "cannot write #{path}: "
      assert File.read!(path) == "before"
    end

    assert Enum.sort(File.ls!(context.tmp_dir)) == ["a.gguf", "a.npz", "a.safetensors"]
  end

  test "names and metadata that are none", context do
    x = Mlx.array([1.0])

    for format <- [:safetensors, :gguf, :npz],
        {arrays, message} <- [
          {%{<<0xFF>> => x}, ~r/UTF-8/},
          {%{"a\0b" => x}, ~r/without zero bytes/},
          {%{1 => x}, ~r/to be a string or an atom, got: 1/},
          {%{:a => x, "a" => x}, ~r/expected different names/}
        ] do
      path = path(context, "a.#{format}")
      assert_raise ArgumentError, message, fn -> Mlx.IO.save(path, arrays) end
    end

    for format <- [:safetensors, :gguf],
        {metadata, message} <- [{%{"a\0" => "b"}, ~r/zero bytes/}, {1, ~r/to be a map/}] do
      assert_raise ArgumentError, message, fn -> Mlx.IO.save(path(context, "a.#{format}"), %{}, metadata: metadata) end
    end

    assert_raise ArgumentError, ~r/list of strings/, fn ->
      Mlx.IO.save(path(context, "a.gguf"), %{}, metadata: %{"k" => ["a", 1]})
    end

    assert File.ls!(context.tmp_dir) == []
  end

  test "files that cannot be written", context do
    for format <- [:safetensors, :gguf, :npz, :npy] do
      content = if format == :npy, do: Mlx.array([1.0]), else: %{"x" => Mlx.array([1.0])}
      nowhere = path(context, "no/folder/a.#{format}")
      assert_raise Mlx.Error, ~r/no\/folder.*no such file/, fn -> Mlx.IO.save(nowhere, content) end
      folder = path(context, "folder.#{format}")
      File.mkdir!(folder)
      assert_raise Mlx.Error, ~r/folder.#{format}/, fn -> Mlx.IO.save(folder, content) end
    end

    assert Enum.all?(File.ls!(context.tmp_dir), &String.starts_with?(&1, "folder"))

    assert_raise Mlx.Error, ~r/Mlx.export_function: .*no\/folder.*no such file/, fn ->
      Mlx.export_function(path(context, "no/folder/a.mlxfn"), &Mlx.abs/1, [Mlx.array(1.0)])
    end
  end

  test "a value that cannot be computed", context do
    path = path(context, "a.safetensors")
    Mlx.IO.save(path(context, "b.npy"), Mlx.arange(100_000))
    lost = Mlx.IO.load(path(context, "b.npy"))
    File.write!(path(context, "b.npy"), "")
    assert_raise Mlx.Error, ~r/cannot write .*a.safetensors/, fn -> Mlx.IO.save(path, %{"x" => lost}) end
    assert File.ls!(context.tmp_dir) == ["b.npy"]
  end

  test "long names of files", context do
    path = path(context, String.duplicate("a", 239) <> ".safetensors")
    Mlx.IO.save(path, %{"x" => Mlx.array([1])})
    assert Mlx.to_list(Mlx.IO.load(path)["x"]) == [1]
  end

  test "while other processes evaluate", context do
    busy =
      for seed <- 1..8 do
        Task.async(fn ->
          for round <- 1..30 do
            x = Mlx.add(Mlx.arange(2000, type: :f32), seed + round)
            assert Mlx.to_number(Mlx.sum(x)) == Mlx.to_number(Mlx.sum(Mlx.reverse(x)))
            assert Mlx.to_number(Mlx.max(x[0], 0)) == seed + round
          end
        end)
      end

    saving =
      for format <- [:safetensors, :gguf, :npz] do
        Task.async(fn ->
          for round <- 1..10 do
            path = path(context, "#{round}.#{format}")
            x = Mlx.add(Mlx.reshape(Mlx.arange(50_000, type: :f32), {500, 100}), round)
            Mlx.IO.save(path, %{"x" => x, "t" => Mlx.transpose(x)})
            loaded = Mlx.IO.load(path)
            assert Mlx.to_number(Mlx.all(Mlx.equal(loaded["x"], Mlx.transpose(loaded["t"]))))
            assert Mlx.to_number(loaded["x"][[499, 99]]) == 49_999.0 + round
          end
        end)
      end

    Task.await_many(busy ++ saving, 60_000)
  end

  test "a process that is killed while it writes leaves the file as it was, and only a hidden one", context do
    path = path(context, "a.safetensors")
    Mlx.IO.save(path, %{"x" => Mlx.array([1])})
    test = self()

    pieces =
      Stream.map(1..2, fn number ->
        send(test, {:piece, number})
        if number == 2, do: Process.sleep(:infinity)
        "a piece"
      end)

    {writer, monitor} = spawn_monitor(fn -> WholeFile.write(path, pieces) end)
    assert_receive {:piece, 2}, 5000
    Process.exit(writer, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^writer, :killed}
    assert Path.wildcard(Path.join(context.tmp_dir, "*")) == [path]
    assert [".mlx-" <> _ = hidden, "a.safetensors"] = Enum.sort(File.ls!(context.tmp_dir))
    assert Path.extname(hidden) == ".tmp"
    assert Mlx.to_list(Mlx.IO.load(path)["x"]) == [1]
  end

  test "a virtual machine that ends while it writes leaves whole files", context do
    code =
      quote do
        main = self()

        for number <- 1..2 do
          spawn(fn ->
            path = Path.join(unquote(context.tmp_dir), "#{number}.safetensors")
            x = Mlx.ones({1_000_000})

            for round <- Stream.iterate(1, &(&1 + 1)) do
              Mlx.IO.save(path, %{"x" => Mlx.multiply(x, round)})
              send(main, {:saved, number})
            end
          end)
        end

        for number <- 1..2 do
          receive do: ({:saved, ^number} -> :ok)
        end

        Process.sleep(100)
        :erlang.halt(3, flush: false)
      end

    assert {:exit, 3, _output} = ChildVM.run(code)
    paths = Path.wildcard(Path.join(context.tmp_dir, "*"))
    assert Enum.map(paths, &Path.basename/1) == ["1.safetensors", "2.safetensors"]

    for path <- paths do
      x = Mlx.IO.load(path)["x"]
      assert Mlx.to_number(Mlx.all(Mlx.equal(x, x[0])))
    end
  end
end
