defmodule Mlx.Native.DeadlyInputTest do
  # What kills or misleads MLX itself, one by one, and what happens here instead.
  use ExUnit.Case, async: true

  alias Mlx.Native

  @integers ~w(u8 u16 u32 u64 s8 s16 s32 s64)a
  @signed ~w(s8 s16 s32 s64)a
  @far [1_000_000, -1_000_000, 2_147_483_647, -2_147_483_648]

  defp integers(list, type \\ :s32), do: Mlx.array(list, type: type)

  describe "an index far out of bounds, in an array of indices" do
    setup do
      %{array: integers([10, 20, 30])}
    end

    test "is clamped by take and take_along_axis", %{array: array} do
      assert array |> Mlx.take(integers([5, -7, 1_000_000, -1_000_000])) |> Mlx.to_list() == [30, 10, 30, 10]

      for far <- @far do
        expected = if far > 0, do: 30, else: 10
        assert array |> Native.take_axis(integers([far]), 0, nil) |> Mlx.to_list() == [expected]
        assert array |> Native.take(integers([far]), nil) |> Mlx.to_list() == [expected]
        assert array |> Native.take_along_axis(integers([far]), 0, nil) |> Mlx.to_list() == [expected]
      end
    end

    test "is clamped for every type of index", %{array: array} do
      for type <- @integers do
        assert array |> Native.take_axis(integers([100], type), 0, nil) |> Mlx.to_list() == [30]
      end

      huge = Native.from_binary(<<0xFFFF_FFFF_FFFF_FFFF::64>>, {1}, :u64)
      assert array |> Native.take_axis(huge, 0, nil) |> Mlx.to_list() == [30]
    end

    test "is clamped by gather", %{array: array} do
      for far <- @far do
        expected = if far > 0, do: [[30]], else: [[10]]
        assert array |> Native.gather([integers([far])], [0], [1], nil) |> Mlx.to_list() == expected
      end

      # The slice stays within the array.
      assert array |> Native.gather([integers([100])], [0], [2], nil) |> Mlx.to_list() == [[20, 30]]
      assert array |> Native.gather([integers([-100])], [0], [2], nil) |> Mlx.to_list() == [[10, 20]]
    end

    test "is clamped by scatter and put_along_axis", %{array: array} do
      for far <- @far do
        position = if far > 0, do: 2, else: 0
        expected = List.replace_at([10, 20, 30], position, 7)
        assert array |> Native.scatter([integers([far])], integers([[7]]), [0], nil) |> Mlx.to_list() == expected
        assert array |> Native.scatter_single(integers([far]), integers([[7]]), 0, nil) |> Mlx.to_list() == expected
        assert array |> Native.put_along_axis(integers([far]), integers([7]), 0, nil) |> Mlx.to_list() == expected
      end
    end

    test "is clamped by slices at a computed place", %{array: array} do
      assert array |> Native.slice_dynamic(integers([1_000_000]), [0], [2], nil) |> Mlx.to_list() == [20, 30]

      assert array |> Native.slice_update_dynamic(integers([7, 8]), integers([1_000_000]), [0], nil) |> Mlx.to_list() ==
               [10, 7, 8]
    end
  end

  test "an index that Elixir knows raises when it is out of bounds" do
    array = integers([10, 20, 30])
    for index <- [3, -4, 1_000_000], do: assert_raise(ArgumentError, fn -> array[index] end)
  end

  describe "integer division" do
    test "by zero gives 0, and its remainder the dividend" do
      for type <- @integers do
        a = integers([7, 0, 100], type)
        zero = integers([0, 0, 0], type)
        assert a |> Native.floor_divide(zero, nil) |> Mlx.to_list() == [0, 0, 0]
        assert a |> Native.remainder(zero, nil) |> Mlx.to_list() == [7, 0, 100]
        assert [quotient, remainder] = Native.divmod(a, zero, nil)
        assert {Mlx.to_list(quotient), Mlx.to_list(remainder)} == {[0, 0, 0], [7, 0, 100]}
      end
    end

    test "of the smallest integer by -1 gives that integer" do
      for {type, bits} <- Enum.zip(@signed, [8, 16, 32, 64]) do
        smallest = -Integer.pow(2, bits - 1)
        a = integers([smallest], type)
        minus_one = integers([-1], type)
        assert a |> Native.floor_divide(minus_one, nil) |> Mlx.to_list() == [smallest]
        assert a |> Native.remainder(minus_one, nil) |> Mlx.to_list() == [0]
      end
    end

    test "is right for other divisors" do
      a = integers([7, -7, 7, -7])
      b = integers([2, 2, -2, -2])
      # As in Python, the quotient is rounded down, and the remainder has the sign of the divisor.
      assert a |> Native.floor_divide(b, nil) |> Mlx.to_list() == [3, -4, -4, 3]
      assert a |> Native.remainder(b, nil) |> Mlx.to_list() == [1, 1, -1, -1]
    end
  end

  describe "a result larger than memory" do
    test "raises when it is made" do
      column = Mlx.ones({200_000, 1})
      row = Mlx.ones({1, 200_000})

      for make <- [
            fn -> Mlx.add(column, row) end,
            fn -> Mlx.matmul(column, row) end,
            fn -> Mlx.zeros({200_000, 200_000}) end,
            fn -> Native.arange(0, 1.0e12, 1, :f32, nil) end,
            fn -> Native.repeat(column, 2_000_000, nil) end,
            fn -> Native.tile(column, [1_000_000], nil) end
          ] do
        assert_raise Mlx.Error, make
      end
    end

    test "is a view for free, and raises where it would take memory" do
      huge = Native.broadcast_to(Mlx.array(1.0), [200_000, 200_000], nil)
      assert huge.shape == {200_000, 200_000}
      assert Mlx.to_list(huge[[0, 0..2]]) == [1.0, 1.0, 1.0]
      assert_raise Mlx.Error, fn -> Mlx.add(huge, 1) end
      assert_raise Mlx.Error, fn -> Mlx.to_binary(huge) end
    end
  end

  test "a dimension over 2^31 raises" do
    for size <- [2_147_483_648, 9_223_372_036_854_775_808] do
      assert_raise ArgumentError, fn -> Native.zeros([size], :f32, nil) end
    end

    assert_raise Mlx.Error, fn -> Native.zeros([2_147_483_647, 2_147_483_647], :f32, nil) end
    assert_raise Mlx.Error, fn -> Native.reshape(Mlx.zeros({0}), [-5], nil) end
  end

  test "a GPU stream where there is no GPU raises" do
    if Native.device_count(:gpu) == 0 do
      assert_raise Mlx.Error, fn -> Native.stream_new(:gpu) end
      assert_raise Mlx.Error, fn -> Native.default_stream(:gpu) end
      assert_raise Mlx.Error, fn -> Mlx.add(1, 2, stream: :gpu) end
    end

    assert Mlx.to_number(Mlx.add(1, 2)) == 3
  end

  test "Cholesky of a matrix that is not positive definite returns" do
    matrix = Mlx.array([[1.0, 2.0], [2.0, 1.0]])
    assert %Mlx.Array{shape: {2, 2}} = Mlx.eval(Native.linalg_cholesky(matrix, false, nil))
  end

  test "a singular inverse or solve raises where the value is read" do
    singular = Mlx.array([[1.0, 2.0], [2.0, 4.0]])
    stream = Mlx.Stream.default(:cpu)
    inverse = Native.linalg_inv(singular, stream)
    assert %Mlx.Array{shape: {2, 2}} = inverse
    assert_raise Mlx.Error, fn -> Mlx.to_list(inverse) end

    solution = Native.linalg_solve(singular, Mlx.ones({2, 1}), stream)
    assert_raise Mlx.Error, fn -> Mlx.eval(solution) end
    assert Mlx.to_list(Native.linalg_inv(Mlx.eye(2), stream)) == [[1.0, 0.0], [0.0, 1.0]]
  end

  test "eigenvalues of a matrix that is not finite are NaN" do
    stream = Mlx.Stream.default(:cpu)

    for value <- [:nan, :infinity] do
      {values, vectors} = Native.linalg_eig(Mlx.array([[value, 1.0], [2.0, 3.0]]), stream)
      assert Mlx.to_list(values) == [{:nan, 0.0}, {:nan, 0.0}] or Mlx.to_list(values) == [{:nan, :nan}, {:nan, :nan}]
      assert %Mlx.Array{shape: {2, 2}} = Mlx.eval(vectors)
    end

    finite = Native.linalg_eigvals(Mlx.array([[2.0, 0.0], [0.0, 3.0]]), stream)
    assert Enum.sort(Mlx.to_list(finite)) == [{2.0, 0.0}, {3.0, 0.0}]
  end

  describe "what divides by a size or parameter of 0" do
    test "has an empty result for empty arrays" do
      for shape <- [{0}, {0, 3}, {3, 0}] do
        empty = Mlx.zeros(shape)
        assert Mlx.to_binary(Native.sort(empty, nil)) == <<>>
        assert Mlx.to_binary(Native.argsort(empty, nil)) == <<>>
        assert Mlx.to_binary(Native.cumsum(empty, false, true, nil, nil)) == <<>>
        assert Mlx.to_binary(Native.logcumsumexp(empty, false, true, nil)) == <<>>
      end
    end

    test "raises for parameters" do
      image = Mlx.ones({1, 5, 5, 2})
      kernel = Mlx.ones({4, 3, 3, 2})
      x = Mlx.ones({4, 64})

      for call <- [
            fn -> Native.conv2d(image, kernel, 1, 1, 0, 0, 1, 1, 0, nil) end,
            fn -> Native.conv2d(image, kernel, 0, 1, 0, 0, 1, 1, 1, nil) end,
            fn -> Native.conv2d(image, Mlx.zeros({4, 3, 0, 2}), 1, 1, 0, 0, 1, 1, 1, nil) end,
            fn -> Native.quantize(x, 0, 4, "affine", nil, nil) end,
            fn -> Native.quantize(x, 32, 0, "affine", nil, nil) end,
            fn -> Native.slice(x, [0, 0], [4, 64], [0, 1], nil) end,
            fn -> Native.slice_update(x, x, [0, 0], [4, 64], [1, 0], nil) end,
            fn -> Native.split(x, 0, 0, nil) end,
            fn -> Native.linalg_lu(Mlx.zeros({0, 3}), nil) end,
            fn -> Native.masked_scatter(x, Mlx.greater(x, 0), Mlx.zeros({0}), nil) end
          ] do
        error = catch_error(call.())
        assert error.__struct__ in [ArgumentError, Mlx.Error]
      end
    end
  end

  test "weights without a scale for each row raise" do
    x = Mlx.ones({3, 64})
    weights = Native.zeros([4, 8], :u32, nil)

    for scales <- [Mlx.ones({2, 2}), Mlx.ones({2})] do
      assert_raise ArgumentError, fn ->
        Native.quantized_matmul(x, weights, scales, scales, true, 32, 4, "affine", nil)
      end
    end
  end

  @tag timeout: 180_000
  test "a forged or cut file raises, whichever byte is wrong" do
    code =
      quote do
        folder = Path.join(System.tmp_dir!(), "mlx_forged_#{System.pid()}")
        File.mkdir_p!(folder)
        arrays = %{"a" => Mlx.array([[1.0, 2.0], [3.0, 4.0]]), "b" => Mlx.array([1, 2, 3], type: :s32)}
        Mlx.Memory.set_array_limit(256 * 1024 * 1024)

        for {name, content} <- [{"f.npy", arrays["a"]}, {"f.safetensors", arrays}, {"f.gguf", arrays}] do
          path = Path.join(folder, name)
          Mlx.IO.save(path, content)
          bytes = File.read!(path)
          cut = for position <- 0..(byte_size(bytes) - 1), do: binary_part(bytes, 0, position)

          forged =
            for position <- 0..(byte_size(bytes) - 1), byte <- [0, 1, 127, 128, 255] do
              <<head::binary-size(^position), _, tail::binary>> = bytes
              <<head::binary, byte, tail::binary>>
            end

          for wrong <- cut ++ forged do
            File.write!(path, wrong)

            try do
              path |> Mlx.IO.load() |> Mlx.Tree.arrays() |> Enum.each(&Mlx.to_binary/1)
            rescue
              _ in [Mlx.Error, ArgumentError] -> :ok
            end
          end
        end

        File.rm_rf!(folder)
        IO.puts("done")
      end

    assert {:exit, 0, "done\n"} = Mlx.ChildVM.run(code, timeout: 150_000)
  end

  # mlx-c's own error function takes messages for formats, and "%n" would write to memory.
  test "percent signs in what MLX's messages quote" do
    mode = String.duplicate("%n%s%d", 20)
    array = Mlx.array([1, 2, 3])
    error = assert_raise Mlx.Error, fn -> Mlx.Native.pad_symmetric(array, 1, 0, mode, nil) end
    assert error.message =~ mode
  end
end
