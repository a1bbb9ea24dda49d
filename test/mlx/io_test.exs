defmodule Mlx.IOTest do
  use ExUnit.Case, async: true

  import Mlx.Oracle

  doctest Mlx.IO

  @moduletag :tmp_dir

  setup {Mlx.OnCPU, :choose}

  defp arrays do
    %{
      "weights" => Mlx.reshape(Mlx.arange(6, type: :f32), {2, 3}),
      "half" => Mlx.array([0.5, 1.5], type: :f16),
      "empty" => Mlx.zeros({0, 3}),
      "scalar" => Mlx.array(7)
    }
  end

  defp path(%{tmp_dir: folder}, name), do: Path.join(folder, name)

  defp same?(a, b) do
    Map.keys(a) == Map.keys(b) and
      Enum.all?(a, fn {name, array} ->
        {array.shape, array.type, Mlx.to_binary(array)} == {b[name].shape, b[name].type, Mlx.to_binary(b[name])}
      end)
  end

  for extension <- ["safetensors", "npz"] do
    test "#{extension}: what was saved is loaded", context do
      path = path(context, "arrays.#{unquote(extension)}")
      assert Mlx.IO.save(path, arrays()) == :ok
      assert same?(Mlx.IO.load(path), arrays())
      assert File.ls!(context.tmp_dir) == ["arrays.#{unquote(extension)}"]
    end
  end

  test "npz: compressed, and names with other letters", context do
    path = path(context, "arrays.npz")
    content = %{"größe/数" => Mlx.zeros({1000}), "b" => Mlx.ones({2})}
    Mlx.IO.save(path, content, compress: true)
    assert File.stat!(path).size < 2000
    assert same?(Mlx.IO.load(path), content)
  end

  test "npy", context do
    path = path(context, "array.npy")
    array = Mlx.transpose(Mlx.reshape(Mlx.arange(6), {2, 3}))
    assert Mlx.IO.save(path, array) == :ok
    assert Mlx.to_list(Mlx.IO.load(path)) == [[0, 3], [1, 4], [2, 5]]
  end

  test "npy: all types and shapes, and columns first", context do
    path = path(context, "array.npy")

    for type <- Mlx.Type.all(), shape <- [{}, {3}, {2, 3}, {0, 2}] do
      array = Mlx.reshape(Mlx.as_type(Mlx.arange(Tuple.product(shape)), type), shape)
      Mlx.IO.save(path, array)
      assert same?(%{"x" => Mlx.IO.load(path)}, %{"x" => array})
    end

    header = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }\n"
    File.write!(path, [<<0x93, "NUMPY", 1, 0, byte_size(header)::little-16>>, header, <<1, 2, 3, 4, 5, 6>>])
    assert Mlx.to_list(Mlx.IO.load(path)) == [[1, 3, 5], [2, 4, 6]]
  end

  test "safetensors: metadata", context do
    path = path(context, "a.safetensors")
    Mlx.IO.save(path, %{x: Mlx.array([1])}, metadata: %{"note" => "é", format: "mlx"})
    assert {%{"x" => x}, %{"format" => "mlx", "note" => "é"}} = Mlx.IO.load(path, metadata: true)
    assert Mlx.to_list(x) == [1]
    assert_raise ArgumentError, ~r/metadata :n to be a string/, fn -> Mlx.IO.save(path, %{}, metadata: %{n: 1}) end
  end

  test "gguf: metadata as arrays", context do
    path = path(context, "a.gguf")

    for type <- [:u8, :s8, :u16, :s16, :u32, :s32, :u64, :s64, :f32, :bool],
        array <- [Mlx.array(1, type: type), Mlx.array([1, 0], type: type)] do
      Mlx.IO.save(path, %{}, metadata: %{"array" => array, "name" => "a", "names" => ["a", "b"]})
      {%{}, metadata} = Mlx.IO.load(path, metadata: :arrays)
      assert same?(%{"array" => metadata["array"]}, %{"array" => array})
      assert Map.delete(metadata, "array") == %{"name" => "a", "names" => ["a", "b"]}
    end

    assert_raise ArgumentError, ~r/expected :metadata/, fn -> Mlx.IO.load(path, metadata: :lists) end
  end

  test "gguf: arrays and metadata", context do
    path = path(context, "a.gguf")
    content = %{"x" => Mlx.reshape(Mlx.arange(6, type: :f32), {2, 3}), "y" => Mlx.array([1, 2], type: :s16)}

    metadata = %{
      "name" => "a model",
      "count" => 3,
      "scale" => 0.5,
      "yes" => true,
      "tokens" => ["a", "", "日本"],
      "list" => [1, 2, 3],
      "array" => Mlx.array([1.5], type: :f32)
    }

    assert Mlx.IO.save(path, content, metadata: metadata) == :ok
    {loaded, got} = Mlx.IO.load(path, metadata: true)
    assert same?(loaded, content)
    assert got == %{metadata | "array" => [1.5]}
    assert same?(Mlx.IO.load(path), content)
    assert_raise Mlx.Error, ~r/a.gguf/, fn -> Mlx.IO.save(path, %{"x" => Mlx.array([1.0], type: :bf16)}) end
    assert same?(Mlx.IO.load(path), content)
  end

  test "the format can be given", context do
    path = path(context, "array.data")
    Mlx.IO.save(path, %{"x" => Mlx.array([1])}, format: :safetensors)
    assert %{"x" => _} = Mlx.IO.load(path, format: :safetensors)
    assert File.ls!(context.tmp_dir) == ["array.data"]
  end

  test "arrays can be saved to the path they were loaded from", context do
    path = path(context, "a.safetensors")
    Mlx.IO.save(path, %{"x" => Mlx.arange(100_000)})
    loaded = Mlx.IO.load(path)
    Mlx.IO.save(path, %{"x" => Mlx.add(loaded["x"], 1)})
    assert Mlx.to_number(Mlx.IO.load(path)["x"][-1]) == 100_000
  end

  test "a file that was cut short after loading raises where the value is read", context do
    path = path(context, "a.safetensors")
    Mlx.IO.save(path, %{"x" => Mlx.arange(100_000)})
    %{"x" => x} = Mlx.IO.load(path)
    File.write!(path, "")
    assert_raise Mlx.Error, fn -> Mlx.to_list(x) end

    path = path(context, "a.npy")
    Mlx.IO.save(path, Mlx.arange(100_000))
    x = Mlx.IO.load(path)
    File.write!(path, "")
    assert_raise Mlx.Error, fn -> Mlx.to_list(x) end
  end

  test "what is missing or no file", context do
    for extension <- ["npy", "npz", "safetensors", "gguf"] do
      missing = path(context, "missing.#{extension}")
      assert_raise Mlx.Error, ~r/missing.#{extension}: no such file/, fn -> Mlx.IO.load(missing) end
      folder = path(context, "folder.#{extension}")
      File.mkdir!(folder)
      assert_raise Mlx.Error, ~r/folder.#{extension}: it is a directory/, fn -> Mlx.IO.load(folder) end
      empty = path(context, "empty.#{extension}")
      File.write!(empty, "")
      assert_raise Mlx.Error, ~r/empty.#{extension}/, fn -> Mlx.IO.load(empty) end
    end

    nowhere = path(context, "no/folder/a.npy")
    assert_raise Mlx.Error, ~r/no\/folder/, fn -> Mlx.IO.save(nowhere, Mlx.array([1])) end
    nowhere = path(context, "no/folder/a.safetensors")
    assert_raise Mlx.Error, ~r/no\/folder/, fn -> Mlx.IO.save(nowhere, %{"x" => Mlx.array([1])}) end
  end

  test "every cut and every changed byte of a file raise, or load", context do
    for extension <- ["npz", "safetensors", "npy"] do
      whole = path(context, "whole.#{extension}")
      Mlx.IO.save(whole, if(extension == "npy", do: Mlx.arange(10), else: arrays()))
      bytes = File.read!(whole)
      damaged = path(context, "damaged.#{extension}")

      for length <- 0..(byte_size(bytes) - 1) do
        File.write!(damaged, binary_part(bytes, 0, length), [:raw])
        error = assert_raise Mlx.Error, fn -> Mlx.IO.load(damaged) end
        assert_clear(error, "Mlx.IO.load: cannot read #{damaged}: ")
        error = assert_raise Mlx.Error, fn -> decode(binary_part(bytes, 0, length), extension) end
        assert_clear(error, "Mlx.IO.decode: cannot read #{extension}: ")
      end

      for at <- 0..(byte_size(bytes) - 1) do
        <<before::binary-size(at), byte, rest::binary>> = bytes
        changed = <<before::binary, Bitwise.bxor(byte, 0xFF), rest::binary>>
        File.write!(damaged, changed, [:raw])

        assert outcome(fn -> Mlx.IO.load(damaged) end, "Mlx.IO.load: cannot read #{damaged}: ") ==
                 outcome(fn -> decode(changed, extension) end, "Mlx.IO.decode: cannot read #{extension}: ")
      end
    end
  end

  defp decode(bytes, extension), do: Mlx.IO.decode(bytes, format: String.to_existing_atom(extension))

  # The bytes of the arrays, or what was raised.
  defp outcome(read, start) do
    case read.() do
      %Mlx.Array{} = array -> Mlx.to_binary(array)
      arrays -> Map.new(arrays, fn {name, array} -> {name, Mlx.to_binary(array)} end)
    end
  rescue
    error in Mlx.Error ->
      assert_clear(error, start)
      String.replace_prefix(error.message, start, "")
  end

  # One line in UTF-8, with what was read and without terms of Erlang's library.
  defp assert_clear(error, start) do
    assert String.starts_with?(error.message, start)
    assert String.valid?(error.message)
    refute error.message =~ ~r/\n|EXIT|badmatch|Reference|json.exception|\[load/
    assert String.length(error.message) < String.length(start) + 300
  end

  test "npz: what is damaged is told with its member", context do
    path = path(context, "a.npz")
    Mlx.IO.save(path, %{"first" => Mlx.array([1]), "second" => Mlx.array([2])})
    bytes = File.read!(path)

    File.write!(path, String.replace(bytes, "'<i4'", "'<i5'"))
    error = assert_raise Mlx.Error, fn -> Mlx.IO.load(path) end

    assert error.message ==
             ~s(Mlx.IO.load: cannot read #{path}: the member "first.npy" is damaged: ) <>
               "its checksum is not that of the archive"

    [_first, {second, _}] = :binary.matches(bytes, "'shape'") |> Enum.take(2)
    File.write!(path, binary_part(bytes, 0, second))
    error = assert_raise Mlx.Error, fn -> Mlx.IO.load(path) end
    assert error.message =~ ~s(it is cut short: it ends in or after the member "second.npy", without a directory)

    {:ok, {_name, other}} = :zip.create(~c"a", [{~c"x.npy", "no array"}], [:memory])
    File.write!(path, other)
    assert_raise Mlx.Error, ~r/a.npz: the member "x.npy": it is not a npy file/, fn -> Mlx.IO.load(path) end
  end

  test "npz: packed by others", context do
    path = path(context, "a.npz")
    arrays = %{"x" => Mlx.arange(3), "größe" => Mlx.array([[1.5]])}
    members = for {name, array} <- arrays, do: {to_charlist(name <> ".npy"), Mlx.IO.encode(array, format: :npy)}
    {:ok, _path} = :zip.create(to_charlist(path), [{~c"folder/", ""} | members])
    assert same?(Mlx.IO.load(path), arrays)
  end

  test "a path that is not UTF-8, in a message that is", context do
    path = path(context, <<0xFF, "a.npy">>)

    if File.write(path, "no array") == :ok do
      error = assert_raise Mlx.Error, fn -> Mlx.IO.load(path) end
      assert String.valid?(error.message)
      assert error.message =~ "a.npy: it is not a npy file"
    end
  end

  for {format, types} <- [
        safetensors: Mlx.Type.all() -- [:f64],
        gguf: [:f32, :f16, :s8, :s16, :s32],
        npz: Mlx.Type.all()
      ] do
    test "#{format}: bytes in memory are those of a file", context do
      arrays =
        for type <- unquote(types), shape <- [{}, {3}, {2, 3}, {0, 2}], into: %{} do
          {"#{type} #{inspect(shape)}", Mlx.reshape(Mlx.as_type(Mlx.arange(Tuple.product(shape)), type), shape)}
        end

      bytes = Mlx.IO.encode(arrays, format: unquote(format))
      path = path(context, "a.#{unquote(format)}")
      Mlx.IO.save(path, arrays)
      assert File.read!(path) == bytes
      assert same?(Mlx.IO.decode(bytes, format: unquote(format)), arrays)
    end
  end

  test "npy: bytes in memory" do
    array = Mlx.transpose(Mlx.reshape(Mlx.arange(6), {2, 3}))
    bytes = Mlx.IO.encode(array, format: :npy)
    assert Mlx.to_list(Mlx.IO.decode(bytes, format: :npy)) == [[0, 3], [1, 4], [2, 5]]
    assert_raise ArgumentError, ~r/Mlx.IO.encode: expected a map of names and arrays/, fn -> Mlx.IO.encode(array) end
  end

  test "metadata in memory" do
    bytes = Mlx.IO.encode(%{x: Mlx.array([1])}, metadata: %{note: "é"})
    assert {%{"x" => _}, %{"note" => "é"}} = Mlx.IO.decode(bytes, metadata: true)
    bytes = Mlx.IO.encode(%{}, format: :gguf, metadata: %{"n" => 1})
    assert {%{}, %{"n" => 1}} = Mlx.IO.decode(bytes, format: :gguf, metadata: true)
    assert {%{}, %{"n" => n}} = Mlx.IO.decode(bytes, format: :gguf, metadata: :arrays)
    assert Mlx.to_number(n) == 1
  end

  test "safetensors: types that MLX has as bytes, and a header as others write it", context do
    path = path(context, "a.safetensors")

    header =
      ~s({"__metadata__":null,"b":{"shape":[2],"data_offsets":[1,3],"dtype":"F8_E8M0"},) <>
        ~s("a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]},"e":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}} )

    bytes = <<byte_size(header)::little-64, header::binary, 1, 2, 3>>
    File.write!(path, bytes)

    for {arrays, metadata} <- [Mlx.IO.load(path, metadata: true), Mlx.IO.decode(bytes, metadata: true)] do
      assert metadata == %{}

      assert for({name, array} <- arrays, do: {name, array.type, Mlx.to_list(array)}) == [
               {"a", :u8, [1]},
               {"b", :u8, [2, 3]},
               {"e", :f32, []}
             ]
    end
  end

  test "a forged shape whose size wraps around", context do
    for shape <- ["[65536,65536,65536,65536]", "[-1,-4]"], bytes <- [0, 16] do
      header = ~s({"x":{"dtype":"F32","shape":#{shape},"data_offsets":[0,#{bytes}]}})
      path = path(context, "forged.safetensors")
      File.write!(path, [<<byte_size(header)::little-64>>, header, String.duplicate("\0", bytes)])
      assert_raise Mlx.Error, ~r/forged/, fn -> Mlx.IO.load(path) end
    end
  end

  test "wrong arguments" do
    array = Mlx.array([1])
    assert_raise ArgumentError, ~r/cannot tell the format/, fn -> Mlx.IO.load("a.bin") end
    assert_raise ArgumentError, ~r/expected :format/, fn -> Mlx.IO.load("a.npy", format: :hdf5) end
    assert_raise ArgumentError, ~r/has no metadata/, fn -> Mlx.IO.load("a.npy", metadata: true) end
    assert_raise ArgumentError, ~r/has no metadata/, fn -> Mlx.IO.save("a.npz", %{}, metadata: %{}) end
    assert_raise ArgumentError, ~r/expected an array for the format :npy/, fn -> Mlx.IO.save("a.npy", %{}) end
    assert_raise ArgumentError, ~r/expected a map/, fn -> Mlx.IO.save("a.npz", array) end
    assert_raise ArgumentError, ~r/expected "x" to name an array/, fn -> Mlx.IO.save("a.npz", %{"x" => 1}) end
    assert_raise ArgumentError, ~r/Mlx.IO.encode: expected "x" to name an array/, fn -> Mlx.IO.encode(%{"x" => 1}) end
    assert_raise ArgumentError, ~r/Mlx.IO.encode: expected :format/, fn -> Mlx.IO.encode(%{}, format: nil) end
    assert_raise ArgumentError, ~r/Mlx.IO.decode: expected :format/, fn -> Mlx.IO.decode("", format: :hdf5) end

    assert_raise ArgumentError, ~r/Mlx.IO.decode: the format :npz has no metadata/, fn ->
      Mlx.IO.decode("", format: :npz, metadata: true)
    end
  end

  describe "with Python" do
    @describetag :oracle

    test "it reads what we save", context do
      arrays = Map.delete(arrays(), "empty")

      for extension <- ["safetensors", "npz"] do
        path = path(context, "ours.#{extension}")
        Mlx.IO.save(path, arrays)
        for {name, array} <- arrays, do: assert_oracle(array, "mx.load('#{path}')['#{name}']")
      end

      path = path(context, "ours.npy")
      Mlx.IO.save(path, arrays["weights"])
      assert_oracle(arrays["weights"], "mx.load('#{path}')")
      assert_oracle(arrays["weights"], "mx.array(__import__('numpy').load('#{path}'))")
    end

    test "we read what it and numpy save", context do
      x = Mlx.reshape(Mlx.arange(12, type: :f32), {3, 4})

      for {name, save} <- [
            {"a.npy", "mx.save(p, x)"},
            {"b.npy", "mx.save(p, x.T)"},
            {"c.npy", "__import__('numpy').save(p, x)"},
            {"a.npz", "mx.savez(p, x=x, y=x.astype(mx.bfloat16))"},
            {"b.npz", "mx.savez_compressed(p, x=x)"},
            {"c.npz", "__import__('numpy').savez(p, x=x)"},
            {"a.safetensors", "mx.save_safetensors(p, {'x': x}, {'key': 'value'})"},
            {"a.gguf", "mx.save_gguf(p, {'x': x})"}
          ] do
        path = path(context, name)
        eval("(#{String.replace(save, "p,", "'#{path}',", global: false)}, x)[1]", x: x)
        loaded = Mlx.IO.load(path)
        loaded = if is_struct(loaded, Mlx.Array), do: loaded, else: loaded["x"]
        expected = if name == "b.npy", do: Mlx.transpose(x), else: x
        assert {loaded.shape, Mlx.to_list(loaded)} == {expected.shape, Mlx.to_list(expected)}
      end

      assert Mlx.IO.load(path(context, "a.npz"))["y"].type == :bf16
      assert {_, %{"key" => "value"}} = Mlx.IO.load(path(context, "a.safetensors"), metadata: true)
    end
  end
end
