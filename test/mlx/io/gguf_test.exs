defmodule Mlx.IO.GGUFTest do
  use ExUnit.Case, async: true

  import Mlx.GGUFFile
  import Mlx.Oracle

  alias Mlx.ChildVM
  alias Mlx.IO.{GGMLBlocks, GGMLType, GGUFForm}

  @moduletag :tmp_dir

  @q4_0 2
  @q4_1 3
  @q8_0 8
  @i8 24

  # The places of the scale and of the minimum in a block.
  @scales %{
    q4_0: [0],
    q4_1: [0, 2],
    q5_0: [0],
    q5_1: [0, 2],
    q8_0: [0],
    q2_k: [80, 82],
    q3_k: [108],
    q4_k: [0, 2],
    q5_k: [0, 2],
    q6_k: [208]
  }

  @codes %{q4_0: 2, q4_1: 3, q5_0: 6, q5_1: 7, q8_0: 8, q2_k: 10, q3_k: 11, q4_k: 12, q5_k: 13, q6_k: 14}

  defp write(bytes, %{tmp_dir: folder}) do
    path = Path.join(folder, "model-#{System.unique_integer([:positive])}.gguf")
    File.write!(path, bytes)
    path
  end

  defp load(bytes, context, options \\ []), do: bytes |> write(context) |> Mlx.IO.load(options)

  defp described(%{shape: {}} = array), do: {array.type, {}, Mlx.to_number(array)}
  defp described(array), do: {array.type, array.shape, Mlx.to_list(array)}

  # Blocks with any bits, but for scales and minimums that give common numbers.
  defp blocks(type, count) do
    {_numbers, size} = GGMLType.block(type)

    for block <- 0..(count - 1), into: <<>> do
      bytes = for i <- (block * size)..(block * size + size - 1), into: <<>>, do: <<rem(i * i * 31 + i * 7 + 3, 251)>>

      Enum.zip_reduce(@scales[type], [0.015625, -0.75], bytes, fn place, scale, bytes ->
        <<before::binary-size(place), _scale::16, rest::binary>> = bytes
        <<before::binary, scale::little-float-16, rest::binary>>
      end)
    end
  end

  test "types that MLX has", context do
    tensors = [
      {"f32", [2], 0, <<1.5::little-float-32, -2.0::little-float-32>>},
      {"f16", [1, 2], 1, <<0.5::little-float-16, 65_504.0::little-float-16>>},
      {"i8", [3], @i8, <<-128::8, 0, 127>>},
      {"i16", [1], 25, <<-32_768::little-16>>},
      {"i32", [1], 26, <<-2_147_483_648::little-32>>},
      {"i64", [1], 27, <<9_007_199_254_740_993::little-64>>},
      {"f64", [1], 28, <<0.1::little-float-64>>},
      {"scalar", [], 0, <<7.0::little-float-32>>},
      {"empty", [3, 0], 0, <<>>},
      {"none", [32, 0], @q4_0, <<>>}
    ]

    arrays = load(file_of(tensors), context)

    assert Map.new(arrays, fn {name, array} -> {name, described(array)} end) == %{
             "f32" => {:f32, {2}, [1.5, -2.0]},
             "f16" => {:f16, {2, 1}, [[0.5], [65_504.0]]},
             "i8" => {:s8, {3}, [-128, 0, 127]},
             "i16" => {:s16, {1}, [-32_768]},
             "i32" => {:s32, {1}, [-2_147_483_648]},
             "i64" => {:s64, {1}, [9_007_199_254_740_993]},
             "f64" => {:f64, {1}, [0.1]},
             "scalar" => {:f32, {}, 7.0},
             "empty" => {:f32, {0, 3}, []},
             "none" => {:u32, {0, 4}, []},
             "none.scales" => {:f16, {0, 1}, []},
             "none.biases" => {:f16, {0, 1}, []}
           }
  end

  test "bf16 keeps its range", context do
    <<high::binary-2, _low::16>> = <<1.0e10::float-32>>
    <<big::16>> = high
    %{"x" => x} = load(file_of([{"x", [2], 30, <<big::little-16, 0x3F80::little-16>>}]), context)
    assert x.type == :bf16
    assert [number, 1.0] = Mlx.to_list(x)
    assert_in_delta number, 1.0e10, 1.0e8
  end

  test "metadata with f64, alone and in lists, before what follows", context do
    pairs = [
      pair("a", 12, <<0.1::little-float-64>>),
      pair("b", 8, string("text")),
      pair("c", 9, u32(12) <> u64(2) <> <<1.5::little-float-64, -2.5::little-float-64>>),
      pair("d", 4, u32(7))
    ]

    path = write(file_of([{"x", [1], 0, <<3.0::little-float-32>>}], pairs), context)
    assert {%{"x" => x}, metadata} = Mlx.IO.load(path, metadata: true)
    assert Mlx.to_list(x) == [3.0]
    assert metadata == %{"a" => 0.1, "b" => "text", "c" => [1.5, -2.5], "d" => 7}
    assert {_arrays, %{"a" => a, "b" => "text", "c" => c}} = Mlx.IO.load(path, metadata: :arrays)
    assert {described(a), described(c)} == {{:f64, {}, 0.1}, {:f64, {2}, [1.5, -2.5]}}
  end

  test "quantized tensors stay so", context do
    nibbles = for low <- 0..15, into: <<>>, do: <<15 - low::4, low::4>>
    up = Enum.to_list(0..15)
    whole = for number <- -16..15, into: <<>>, do: <<number * 8::8>>

    for {type, block, scale, bias, numbers} <- [
          {@q4_0, <<0.5::little-float-16, nibbles::binary>>, 0.5, -4.0, up ++ Enum.reverse(up)},
          {@q4_1, <<0.5::little-float-16, 3.0::little-float-16, nibbles::binary>>, 0.5, 3.0, up ++ Enum.reverse(up)},
          {@q8_0, <<0.25::little-float-16, whole::binary>>, 0.25, -32.0, for(number <- -16..15, do: number * 8 + 128)}
        ] do
      arrays = load(file_of([{"a.weight", [64, 1], type, block <> block}, {"b", [32], type, block}]), context)
      assert Map.keys(arrays) == ["a.biases", "a.scales", "a.weight", "b", "b.biases", "b.scales"]
      bits = if type == @q8_0, do: 8, else: 4
      assert described(arrays["a.scales"]) == {:f16, {1, 2}, [[scale, scale]]}
      assert described(arrays["a.biases"]) == {:f16, {1, 2}, [[bias, bias]]}
      assert {arrays["b"].type, arrays["b"].shape} == {:u32, {bits}}

      restored =
        Mlx.dequantize(arrays["a.weight"], arrays["a.scales"], arrays["a.biases"], group_size: 32, bits: bits)

      expected = Enum.map(numbers, &(&1 * scale + bias))
      assert Mlx.to_list(restored) == [expected ++ expected]
    end
  end

  # The numbers are those of PyPI's gguf 0.19.0, rounded to 16 bits.
  for {type, first, last, checksum} <- [
        {:q5_0, [0.203125, -0.234375, 0.046875], [0.15625, 0.15625], 3_635_322_490},
        {:q5_1, [-0.453125, -0.703125, -0.734375], [-0.71875, -0.609375], 2_339_592_186},
        {:q2_k, [0.140625, 0.046875, 0.046875], [2.4375, 2.4375], 1_840_088_979},
        {:q3_k, [-0.28125, -0.0, -0.0], [0.1875, 0.375], 2_792_797_440},
        {:q4_k, [27.421875, 31.328125, 28.203125], [42.125, 44.15625], 2_556_084_588},
        {:q5_k, [34.0625, 34.84375, 36.8125], [29.25, 21.375], 806_365_416},
        {:q6_k, [3.421875, 28.515625, 33.0625], [5.46875, -12.03125], 2_294_802_449}
      ] do
    test "the numbers of #{type}", context do
      data = blocks(unquote(type), 3)
      {numbers, _bytes} = GGMLType.block(unquote(type))
      path = write(file_of([{"x", [numbers, 3], @codes[unquote(type)], data}]), context)
      %{"x" => x} = Mlx.IO.load(path, form: :dense)
      assert {x.type, x.shape} == {:f16, {3, numbers}}
      flat = Mlx.to_list(Mlx.flatten(x))
      assert Enum.take(flat, 3) == unquote(first)
      assert Enum.take(flat, -2) == unquote(last)
      assert :erlang.crc32(Mlx.to_binary(x)) == unquote(checksum)
      assert Mlx.to_binary(Mlx.IO.load(path, form: :dense, type: :bf16)["x"]) == Mlx.to_binary(bf16(path))
    end
  end

  defp bf16(path), do: Mlx.as_type(Mlx.IO.load(path, form: :dense, type: :f32)["x"], :bf16)

  # Of Q4_K MLX takes the scale of one group for the next one, too.
  @tag :oracle
  test "MLX's own reading gives the same", context do
    for type <- [:q4_0, :q4_1, :q8_0, :q2_k, :q6_k] do
      {numbers, _bytes} = GGMLType.block(type)
      path = write(file_of([{"x.weight", [2 * numbers, 3], @codes[type], blocks(type, 6)}]), context)
      arrays = Mlx.IO.load(path)
      for {name, array} <- arrays, do: assert_oracle(array, "mx.load(#{inspect(path)})[#{inspect(name)}]")
      assert_oracle(Mlx.array(map_size(arrays)), "mx.array(len(mx.load(#{inspect(path)})))")
    end
  end

  test "a tensor that is unpacked in pieces is that of its blocks", context do
    for {type, rows} <- [q4_1: 250_000, q6_k: 25_000] do
      data = :binary.copy(blocks(type, 5), div(rows, 5))
      {numbers, _bytes} = GGMLType.block(type)
      loaded = load(file_of([{"x", [numbers, rows], @codes[type], data}]), context)
      parts = GGMLBlocks.unpack(type, data, GGUFForm.new!(:load, :quantized, nil, nil))

      for {name, part} <- Enum.zip(["x", "x.scales", "x.biases"], parts) do
        assert Mlx.to_binary(loaded[name]) == Mlx.to_binary(part)
      end
    end
  end

  test "the form of a tensor is chosen", context do
    q4_k = {"a.weight", [512, 2], @codes[:q4_k], blocks(:q4_k, 4)}
    q6_k = {"b.weight", [256, 2], @codes[:q6_k], blocks(:q6_k, 2)}
    q4_0 = {"c.weight", [32, 3], @q4_0, blocks(:q4_0, 3)}
    path = write(file_of([q4_k, q6_k, q4_0, {"d", [2], 0, <<1.0::little-float-32, 2.0::little-float-32>>}]), context)
    a = [mode: :affine, group_size: 32, bits: 4]

    assert {arrays, quantization} = Mlx.IO.load(path, quantization: true)
    assert quantization == %{"a.weight" => a, "c.weight" => a}
    assert {arrays["a.weight"].shape, arrays["a.weight"].type} == {{2, 64}, :u32}
    assert {arrays["a.scales"].shape, arrays["a.scales"].type} == {{2, 16}, :f32}
    assert {arrays["b.weight"].shape, arrays["b.weight"].type} == {{2, 256}, :f16}
    assert {arrays["c.biases"].shape, arrays["c.biases"].type} == {{3, 1}, :f16}
    assert arrays["d"].type == :f32

    assert {arrays, %{}, quantization} = Mlx.IO.load(path, form: :dense, metadata: true, quantization: true)
    assert quantization == %{}
    assert Map.new(arrays, fn {name, x} -> {name, x.type} end) |> Map.delete("d") |> Map.values() == [:f16, :f16, :f16]

    for {options, layout} <- [
          {[group_size: 64, bits: 4], [mode: :affine, group_size: 64, bits: 4]},
          {[bits: 3], [mode: :affine, group_size: 64, bits: 3]},
          {[group_size: 128, bits: 8], [mode: :affine, group_size: 128, bits: 8]},
          {[mode: :mxfp4], [mode: :mxfp4, group_size: 32, bits: 4]},
          {[mode: :mxfp8], [mode: :mxfp8, group_size: 32, bits: 8]},
          {[mode: :nvfp4], [mode: :nvfp4, group_size: 16, bits: 4]}
        ] do
      {arrays, quantization} = Mlx.IO.load(path, requantize: options, type: :f32, quantization: true)
      assert quantization == %{"a.weight" => a, "c.weight" => a, "b.weight" => layout}
      names = if layout[:mode] == :affine, do: ~w(b.weight b.scales b.biases), else: ~w(b.weight b.scales)
      assert Enum.sort(names) == Enum.filter(Map.keys(arrays), &String.starts_with?(&1, "b"))
      expected = Mlx.quantize(Mlx.IO.load(path, form: :dense, type: :f32)["b.weight"], options)

      for {name, part} <- Enum.zip(names, Tuple.to_list(expected)) do
        assert described(arrays[name]) == described(part)
      end

      dense = Mlx.dequantize(arrays["b.weight"], arrays["b.scales"], arrays["b.biases"], quantization["b.weight"])
      assert dense.shape == {2, 256}
    end
  end

  test "options that are none, or for other formats", context do
    path = write(file_of([{"x", [2], @i8, <<1, 2>>}]), context)

    for {options, message} <- [
          {[form: :packed], "Mlx.IO.load: expected :form to be :quantized or :dense, got: :packed"},
          {[type: :s8], "Mlx.IO.load: expected :type to be nil, :f16, :bf16 or :f32, got: :s8"},
          {[quantization: 1], "Mlx.IO.load: expected :quantization to be true or false, got: 1"},
          {[requantize: [bits: 7]], "Mlx.IO.load: expected :requantize to be options that Mlx.quantize takes ("},
          {[requantize: [group_size: 48]], "Mlx.IO.load: expected :requantize to be options that Mlx.quantize takes ("},
          {[requantize: [bit: 4]],
           "Mlx.IO.load: expected :requantize to be nil or a list of :group_size, :bits and :mode"},
          {[requantize: 4], "Mlx.IO.load: expected :requantize to be nil or a list of :group_size, :bits and :mode"},
          {[form: :dense, requantize: [bits: 4]], "Mlx.IO.load: expected no :requantize with form: :dense"}
        ] do
      error = assert_raise ArgumentError, fn -> Mlx.IO.load(path, options) end
      assert String.starts_with?(error.message, message), error.message
    end

    for options <- [[form: :dense], [type: :f32], [requantize: [bits: 4]], [quantization: true]] do
      [{name, _value}] = options
      message = "Mlx.IO.decode: the option #{inspect(name)} is for :gguf, not for :safetensors"
      error = assert_raise ArgumentError, fn -> Mlx.IO.decode("", options) end
      assert error.message == message
    end
  end

  # In a VM of its own, as the peak is that of all processes.
  test "a load takes the memory of what it returns, of one more tensor, and of a piece", context do
    tensors =
      for {name, type} <- [a: :q4_k, b: :q6_k, c: :q4_k, d: :q6_k] do
        {to_string(name), [256, 98_304], @codes[type], :binary.copy(blocks(type, 64), 1536)}
      end

    path = write(file_of(tensors), context)

    code =
      quote do
        for options <- [[], [form: :dense], [requantize: [bits: 4]]] do
          Mlx.Memory.reset_peak()
          before = Mlx.Memory.active()
          arrays = Mlx.IO.load(unquote(path), options)
          sizes = for {<<tensor, _part::binary>>, array} <- arrays, do: {tensor, Mlx.byte_size(array)}
          total = sizes |> Enum.map(&elem(&1, 1)) |> Enum.sum()
          of_tensors = for {_tensor, sizes} <- Enum.group_by(sizes, &elem(&1, 0), &elem(&1, 1)), do: Enum.sum(sizes)
          # Of a piece of 1 MiB, numbers of the type :f32 take 7.5 MB.
          IO.inspect({length(of_tensors), Mlx.Memory.peak() - before <= total + Enum.max(of_tensors) + 25_000_000})
          for {_name, array} <- arrays, do: Mlx.deallocate(array)
        end
      end

    assert ChildVM.run(code) == {:exit, 0, String.duplicate("{4, true}\n", 3)}
  end

  test "another format, and names that are there already", context do
    for {format, code} <- [q8_1: 9, q8_k: 15, q1_0: 41] do
      {numbers, size} = GGMLType.block(format)
      bytes = file_of([{"some.weight", [numbers], code, :binary.copy(<<0>>, size)}])
      error = assert_raise Mlx.Error, fn -> load(bytes, context) end
      assert error.message =~ ~r/model-\d+.gguf: the tensor "some.weight" has the format #{format}, which is not read/
    end

    bytes = file_of([{"a.scales", [1], @i8, <<1>>}, {"a.weight", [32], @q4_0, blocks(:q4_0, 1)}])
    assert_raise Mlx.Error, ~r/two arrays with the name "a.scales"/, fn -> load(bytes, context) end
  end

  test "every cut and every changed byte raises, or loads", context do
    pairs = [pair("general.name", 8, string("name")), pair("list", 9, u32(12) <> u64(1) <> <<1.0::little-float-64>>)]
    tensors = [{"a.weight", [32, 2], @q4_1, blocks(:q4_1, 2)}, {"b", [3], 0, <<0::96>>}]
    whole = file_of(tensors, pairs)
    path = write(whole, context)

    for size <- 0..(byte_size(whole) - 21) do
      File.write!(path, binary_part(whole, 0, size), [:raw])
      error = assert_raise Mlx.Error, fn -> Mlx.IO.load(path) end
      assert error.message =~ path and String.valid?(error.message)
    end

    outcomes =
      for at <- 0..(byte_size(whole) - 1), change <- [0x01, 0xFF] do
        <<before::binary-size(at), byte, rest::binary>> = whole
        changed = <<before::binary, Bitwise.bxor(byte, change), rest::binary>>

        try do
          changed |> Mlx.IO.decode(format: :gguf, metadata: :arrays) |> elem(0) |> Map.values() |> Mlx.eval()
          :loads
        rescue
          error in Mlx.Error -> String.valid?(error.message) && :raises
        end
      end

    assert %{loads: loads, raises: raises} = counts = Enum.frequencies(outcomes)
    assert loads > 100 and raises > 100 and map_size(counts) == 2
  end

  test "a file that may only be read", context do
    path = write(file_of([{"x", [2], @i8, <<1, 2>>}]), context)
    File.chmod!(path, 0o444)

    code =
      quote do
        access = File.stat!(unquote(path)).access
        IO.inspect({access, Mlx.to_list(Mlx.IO.load(unquote(path))["x"])})
      end

    assert ChildVM.run(code, through: unprivileged()) == {:exit, 0, "{:read, [1, 2]}\n"}
  end

  # Root may write everything, unless it gives that up.
  defp unprivileged do
    case System.cmd("id", ["-u"]) do
      {"0\n", 0} -> ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
      _other -> []
    end
  end

  test "on a stream", context do
    stream = Mlx.Stream.new(:cpu)
    bytes = file_of([{"x", [256], 14, blocks(:q6_k, 1)}])
    assert described(load(bytes, context, stream: stream)["x"]) == described(load(bytes, context)["x"])
    assert Mlx.Stream.current() == nil
  end

  for {tag, variable} <- [model: "MLX_TEST_MODEL", gemma: "MLX_TEST_GEMMA"] do
    @tag tag
    @tag :oracle
    test "a real model, #{tag}: every tensor in each form has the numbers of gguf, to the bit" do
      path = System.fetch_env!(unquote(variable))
      dense = Mlx.IO.load(path, form: :dense, type: :f32)
      numbers = Map.new(dense, fn {name, array} -> {name, checksum(array)} end)
      expected = Map.new(numbers, fn {name, _crc} -> {name, crc(path, name)} end)
      assert numbers == expected

      {arrays, quantization} = Mlx.IO.load(path, quantization: true)
      assert map_size(quantization) > 100

      for {name, options} <- quantization do
        [scales, biases] = for part <- ~w(scales biases), do: arrays[String.replace_suffix(name, "weight", part)]
        # Sums and products of :f16 numbers are exact in :f32.
        [scales, biases] = for part <- [scales, biases], do: Mlx.as_type(part, :f32)
        assert {name, checksum(Mlx.dequantize(arrays[name], scales, biases, options))} == {name, expected[name]}
      end
    end
  end

  defp checksum(array), do: array |> Mlx.as_type(:f32) |> Mlx.add(0.0) |> Mlx.to_binary() |> :erlang.crc32()
  defp crc(path, name), do: Mlx.to_number(eval("ggml.checksum(#{inspect(path)}, #{inspect(name)})"))
end
