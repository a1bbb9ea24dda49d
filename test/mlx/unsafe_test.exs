defmodule Mlx.UnsafeTest do
  use ExUnit.Case, async: true

  alias Mlx.{Native, Unsafe}

  doctest Mlx.Unsafe

  describe "pointers" do
    test "read the elements of every type" do
      for type <- [:u8, :s16, :u32, :s64, :f16, :bf16, :f32, :f64, :c64, :bool] do
        x = Mlx.array([[1, 0, 1], [0, 1, 1]]) |> Mlx.as_type(type, stream: :cpu) |> Mlx.eval()
        copy = Unsafe.from_pointer(Unsafe.to_pointer(x), [2, 3], type, owner: x)
        assert {copy.shape, copy.type} == {{2, 3}, type}
        assert Mlx.to_binary(copy) == Mlx.to_binary(x)
      end
    end

    test "are of the values, which are computed first" do
      x = Mlx.add(Mlx.array([1, 2]), 1)
      assert Unsafe.from_pointer(Unsafe.to_pointer(x), {2}, :s32) |> Mlx.to_list() == [2, 3]
    end

    test "keep the owner for as long as they need it" do
      [x] = [Mlx.eval(Mlx.ones({1_000}))]
      copies = for _ <- 1..100, do: Unsafe.from_pointer(Unsafe.to_pointer(x), {1_000}, :f32, owner: {self(), x})
      assert copies |> Enum.reduce(&Mlx.add/2) |> Mlx.equal(100) |> Mlx.all() |> Mlx.to_number()
    end

    test "are there only for row-major arrays" do
      transposed = Mlx.eval(Mlx.transpose(Mlx.array([[1, 2], [3, 4]])))

      assert_raise ArgumentError, ~r/^Mlx.Unsafe.to_pointer: the elements are not in row-major order/, fn ->
        Unsafe.to_pointer(transposed)
      end
    end

    test "refuse what cannot be one" do
      for {address, shape, type, message} <- [
            {0, {2}, :f32, "expected an address"},
            {-1, {2}, :f32, "expected a non-negative integer"},
            {4096, {-2}, :f32, "-2 in {-2} is not a size"},
            {4096, {2}, :f128, "expected a type"}
          ] do
        assert_raise ArgumentError, ~r/^Mlx.Unsafe.from_pointer: #{message}/, fn ->
          Unsafe.from_pointer(address, shape, type)
        end
      end

      assert_raise Mlx.Error, ~r/^Mlx.Unsafe.from_pointer: .* exceeds the array limit/, fn ->
        Unsafe.from_pointer(4096, {1_000_000, 1_000_000}, :f32)
      end

      assert_raise ArgumentError, "Mlx.Unsafe.from_pointer: unknown option :keep, expected one of :owner", fn ->
        Unsafe.from_pointer(4096, {2}, :f32, keep: self())
      end

      assert_raise ArgumentError, "Mlx.Unsafe.from_pointer: expected options to be a keyword list, got: :f32", fn ->
        Unsafe.from_pointer(4096, {2}, :f32, :f32)
      end
    end
  end

  describe "kernels" do
    test "are refused where there is no such GPU" do
      unless Mlx.Metal.available?() do
        assert_raise Mlx.Error, ~r/^Mlx.Unsafe.metal_kernel: this machine has no GPU that MLX uses through Metal/, fn ->
          Unsafe.metal_kernel("copy", ["x"], ["y"], "y[0] = x[0];", header: "#include <metal_stdlib>")
        end
      end

      unless Mlx.CUDA.available?() do
        assert_raise Mlx.Error, ~r/^Mlx.Unsafe.cuda_kernel: this machine has no GPU that MLX uses through CUDA/, fn ->
          Unsafe.cuda_kernel("copy", ["x"], ["y"], "y[0] = x[0];", shared_memory: 16)
        end
      end
    end

    test "need their options" do
      kernel = %Unsafe.Kernel{ref: make_ref(), name: "copy", language: :metal}
      assert inspect(kernel) == "#Mlx.Unsafe.Kernel<metal copy>"

      assert_raise ArgumentError, ~r/the option :grid is missing/, fn -> Unsafe.run(kernel, [], outputs: []) end

      for {make, name, own} <- [
            {&Unsafe.metal_kernel/5, "metal_kernel", ":atomic_outputs"},
            {&Unsafe.cuda_kernel/5, "cuda_kernel", ":shared_memory"}
          ] do
        message = "Mlx.Unsafe.#{name}: unknown option :colour, expected one of :header, :row_major, #{own}"
        assert_raise ArgumentError, message, fn -> make.("copy", ["x"], ["y"], "", colour: :red) end
      end

      assert_raise ArgumentError, ~r/^Mlx.Unsafe.run: unknown option :threads, expected one of :outputs, :grid, /, fn ->
        Unsafe.run(kernel, [], threads: {1, 1, 1})
      end

      assert_raise ArgumentError, "Mlx.Unsafe.import_function: unknown option :names, expected one of :metadata", fn ->
        Unsafe.import_function("a.mlxfn", names: true)
      end

      assert_raise ArgumentError, ~r/^Mlx.Unsafe.run: expected the reference of an Mlx.Unsafe.Kernel/, fn ->
        Unsafe.run(kernel, [1], outputs: [{{1}, :f32}], grid: {1, 1, 1})
      end
    end

    test "check the arguments of a call" do
      ref = Native.metal_kernel("first", ["x"], ["y"], "y[0] = n * x[0];", "", true, false)
      kernel = %Unsafe.Kernel{ref: ref, name: "first", language: :metal}

      run = fn options ->
        Unsafe.run(kernel, [1.5], Keyword.merge([outputs: [{{1}, :f32}], grid: {1, 1, 1}], options))
      end

      for {options, message} <- [
            {[outputs: {{1}, :f32}], "expected a tuple of 2 elements"},
            {[outputs: [{{-1}, :f32}]], "a dimension is negative"},
            {[outputs: [{{1}, :f8}]], "expected a type"},
            {[grid: {1, 1}], "expected a tuple of 3 elements"},
            {[grid: {0, 1, 1}], "expected three positive integers"},
            {[thread_group: {1, -1, 1}], "expected three positive integers"},
            {[thread_group: {1, :a, 1}], "expected an integer of 32 bits"},
            {[template: [n: 1.5]], "expected a type"},
            {[template: [:n]], "expected a tuple of 2 elements"},
            {[initial: "0"], "expected a number"},
            {[verbose: 1], "expected a boolean"}
          ] do
        assert_raise ArgumentError, ~r/^Mlx.Unsafe.run: #{message}/, fn -> run.(options) end
      end

      assert_raise Mlx.Error, ~r/^Mlx.Unsafe.run: \[metal_kernel\] Expected `output_shapes` to have size 1/, fn ->
        run.(outputs: [])
      end

      unless Mlx.Metal.available?() do
        assert_raise Mlx.Error, ~r/^Mlx.Unsafe.run: \[metal_kernel\] No Metal back-end/, fn ->
          run.(template: [T: :f32, n: 3, b: true], initial: 0, thread_group: {1, 1, 1})
        end
      end
    end

    # Runs where there is a GPU; elsewhere there is nothing that it could compute.
    if Mlx.Device.available?(:gpu) do
      test "compute" do
        {make, index} =
          if Mlx.CUDA.available?(),
            do: {&Unsafe.cuda_kernel/5, "auto i = cooperative_groups::this_grid().thread_rank();"},
            else: {&Unsafe.metal_kernel/5, "uint i = thread_position_in_grid.x;"}

        kernel = make.("scale", ["x", "y"], ["a", "b"], index <> " a[i] = x[i] * n; b[i] = T(y[i]) + x[i];", [])
        x = Mlx.arange(0, 8, 1, type: :f32)
        y = Mlx.arange(8, 0, -1, type: :s32)
        outputs = [{{8}, :f32}, {{2, 4}, :f32}]

        [a, b] =
          Unsafe.run(kernel, [x, y],
            outputs: outputs,
            grid: {8, 1, 1},
            thread_group: {4, 1, 1},
            template: [n: 3, T: :f32]
          )

        assert Mlx.to_list(a) == Enum.map(0..7, &(&1 * 3.0))
        assert Mlx.to_list(b) == [[8.0, 8.0, 8.0, 8.0], [8.0, 8.0, 8.0, 8.0]]
      end
    end
  end
end
