defmodule Mlx.IO.GGUFDamageTest do
  # Damaged files of every quantized format: an error that tells what is wrong, or arrays.
  use ExUnit.Case, async: true

  import Mlx.GGUFFile

  alias Mlx.IO.{GGMLFormat, GGMLType, GGUFMetadata}

  @formats for code <- 0..40, {:ok, type} <- [GGMLType.fetch(code)], GGMLFormat.known?(type), do: {code, type}
  @mutations 10_000
  # A real header is a vocabulary, which takes a while to read. The variable asks for more.
  @real_mutations String.to_integer(System.get_env("MLX_TEST_MUTATIONS", "200"))
  # Numbers in the place of any 8 bytes.
  @absurd [0, 1, 3, 33, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF]

  defp whole(code, type) do
    {numbers, size} = GGMLType.block(type)
    {bytes, _state} = :rand.bytes_s(2 * size, :rand.seed_s(:exsss, code))

    pairs = [
      pair("general.alignment", 4, u32(32)),
      pair("general.name", 8, string("name")),
      pair("words", 9, u32(8) <> u64(2) <> string("a") <> string("bc"))
    ]

    file_of([{"a.weight", [numbers, 2], code, bytes}, {"b", [3], 0, <<0::96>>}], pairs)
  end

  # One to three changes, most of them in the header.
  defp mutated(whole) do
    Enum.reduce(1..:rand.uniform(3), whole, fn _change, bytes ->
      size = byte_size(bytes)
      at = if :rand.uniform(4) == 1, do: :rand.uniform(size + 1) - 1, else: :rand.uniform(min(size, 280) + 1) - 1
      <<before::binary-size(at), rest::binary>> = bytes

      case {:rand.uniform(6), rest} do
        {1, _rest} -> before
        {2, <<_byte, rest::binary>>} -> before <> rest
        {3, rest} -> before <> :rand.bytes(:rand.uniform(9)) <> rest
        {4, <<_old::64, rest::binary>>} -> <<before::binary, Enum.random(@absurd)::little-64, rest::binary>>
        {5, <<_old::32, rest::binary>>} -> <<before::binary, Enum.random(0..64)::little-32, rest::binary>>
        {_other, <<_byte, rest::binary>>} -> <<before::binary, :rand.uniform(256) - 1, rest::binary>>
        {_other, <<>>} -> bytes
      end
    end)
  end

  defp outcome(bytes, options) do
    arrays = Mlx.IO.decode(bytes, [format: :gguf] ++ options)
    Mlx.eval(arrays)
    # The numbers of the smallest blocks take 20 times as much in :f32.
    assert arrays |> Map.values() |> Enum.map(&Mlx.byte_size/1) |> Enum.sum() <= 32 * byte_size(bytes)
    :loads
  rescue
    error in Mlx.Error ->
      assert String.valid?(error.message) and byte_size(error.message) < 1_000
      assert error.message =~ ~r/^Mlx.IO.decode: cannot read gguf: (it|the tensor) /
      :raises
  end

  test "10,000 mutations raise, or load no more than the file has" do
    :rand.seed(:exsss, 17)
    files = List.to_tuple(for {code, type} <- @formats, do: whole(code, type))
    forms = {[], [form: :dense, type: :f32], [requantize: [bits: 4], type: :bf16]}

    # A list that a header claims would be larger than this heap.
    task =
      Task.async(fn ->
        Process.flag(:max_heap_size, 8_000_000)

        for index <- 1..@mutations do
          bytes = mutated(elem(files, rem(index, tuple_size(files))))
          outcome(bytes, elem(forms, rem(index, 3)))
        end
      end)

    assert %{loads: loads, raises: raises} = task |> Task.await(:infinity) |> Enum.frequencies()
    assert loads > 1000 and raises > 1000
  end

  @tag :model
  @tag :tmp_dir
  test "mutations of a real header raise, or tell of tensors in the file", %{tmp_dir: folder} do
    path = Path.join(folder, "real.gguf")
    File.cp!(System.fetch_env!("MLX_TEST_MODEL"), path)
    %{data_offset: header, tensors: tensors} = GGUFMetadata.read(path)
    size = File.stat!(path).size
    :rand.seed(:exsss, 18)
    file = File.open!(path, [:read, :write, :raw, :binary])

    outcomes =
      for _mutation <- 1..@real_mutations do
        # The counts and first keys, the table of tensors, or the vocabulary.
        at = Enum.random([:rand.uniform(800), header - :rand.uniform(length(tensors) * 60), :rand.uniform(header - 8)])
        {:ok, kept} = :file.pread(file, at, 8)
        :ok = :file.pwrite(file, at, Enum.random([<<Enum.random(@absurd)::little-64>>, :rand.bytes(1), :rand.bytes(4)]))

        try do
          GGUFMetadata.read(path).tensors
        rescue
          error in Mlx.Error -> assert String.valid?(error.message) and byte_size(error.message) < 1_000
        else
          tensors -> assert Enum.all?(tensors, &(&1.offset + &1.byte_size <= size)) && :reads
        after
          :ok = :file.pwrite(file, at, kept)
        end
      end

    assert %{:reads => reads, true => raises} = Enum.frequencies(outcomes)
    assert reads > 10 and raises > 10
    assert GGUFMetadata.read(path).tensors == tensors
  end

  test "a tensor that is cut off is named with its format" do
    for {code, type} <- @formats do
      bytes = whole(code, type)

      error =
        assert_raise Mlx.Error, fn -> Mlx.IO.decode(binary_part(bytes, 0, byte_size(bytes) - 33), format: :gguf) end

      assert error.message =~
               ~r/too short for tensor "(a.weight|b)" of the format (#{type}|f32): it ends at byte \d+ of/

      rows = file_of([{"a.weight", [17], code, <<0::256>>}])
      error = assert_raise Mlx.Error, fn -> Mlx.IO.decode(rows, format: :gguf) end
      assert error.message =~ ~s(gives tensor "a.weight" rows of 17 numbers; #{type} needs a multiple of)
    end
  end
end
