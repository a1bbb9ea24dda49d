defmodule Mlx.MessagesTest do
  # What public functions say of arguments that they do not take.
  use ExUnit.Case, async: true

  @array :an_array

  # function, arguments (`@array` stands for an array of shape {2, 2}), the message
  @messages [
    {&Mlx.to_list/1, [nil], "Mlx.to_list: expected an Mlx.Array, got: nil"},
    {&Mlx.shape/1, ["x"], "Mlx.shape: expected an Mlx.Array, got: \"x\""},
    {&Mlx.to_list/1, [[1, 2]], "Mlx.to_list: expected an Mlx.Array, got: [1, 2]; Mlx.array/1 makes an array of a list"},
    {&Mlx.to_list/1, [1..2], "Mlx.to_list: expected an Mlx.Array, got: 1..2; Mlx.array/1 makes an array of a range"},
    {&Mlx.trace/1, [[@array]],
     "Mlx.trace: expected an Mlx.Array, got: [#Mlx.Array<f32[2][2]>]; " <>
       "Mlx.stack/1 makes one array of a list of arrays"},
    {&Mlx.vmap/1, [[1]], "Mlx.vmap: expected a function, got: [1]"},
    {&Mlx.vmap/2, [&Mlx.exp/1, [axes: 1]], "Mlx.vmap: unknown option :axes, expected one of :in_axes, :out_axes"},
    {&Mlx.stack/1, [@array], "Mlx.stack: expected a list of arrays, got: #Mlx.Array<f32[2][2]>"},
    {&Mlx.add_at/3, [nil, 0, 1], "Mlx.add_at: expected an Mlx.Array, got: nil"},
    {&Mlx.einsum/2, [:ij, [@array]], "Mlx.einsum: expected a string, got: :ij"},
    {&Mlx.as_strided/3, [@array, {2}, 1.5], "Mlx.as_strided: expected a list of integers or nil, got: 1.5"},
    {&Mlx.as_strided/3, [@array, {2}, [:a]],
     "Mlx.as_strided: expected the strides to be a list of integers, got: [:a]"},
    {&Mlx.max/2, [@array, [axes: 1]],
     "Mlx.max: expected an Mlx.Array or a number, got: [axes: 1]; of the elements of one array it is Mlx.reduce_max/2"},
    {&Mlx.sum/2, [@array, [keepdims: true]],
     "Mlx.sum: unknown option :keepdims, expected one of :axes, :keep_axes, :stream; Python's keepdims is :keep_axes here"},
    {&Mlx.argmax/2, [@array, [dim: 1]],
     "Mlx.argmax: unknown option :dim, expected one of :axis, :keep_axis, :stream; Python's dim is :axis here"},
    {&Mlx.exp/2, [@array, [axes: 1]], "Mlx.exp: unknown option :axes, expected one of :stream"},
    {&Mlx.sum/2, [@array, 1], "Mlx.sum: expected options to be a keyword list, got: 1"},
    {&Mlx.sum/2, [@array, [stream: :tpu]], "Mlx.sum: expected :stream to be a Mlx.Stream, :cpu or :gpu, got: :tpu"},
    {&Mlx.FFT.fft/2, [@array, [axis: 2]], "Mlx.FFT.fft: 2 is not an axis of an array of shape {2, 2}"},
    {&Mlx.FFT.fftn/2, [@array, [lengths: :all]], "Mlx.FFT.fftn: expected a shape such as {2, 3}, got: :all"},
    {&Mlx.FFT.stft/2, [@array, [length: nil]], "Mlx.FFT.stft: expected :length to be an integer, got: nil"},
    {&Mlx.FFT.stft/2, [@array, [mode: 1]], "Mlx.FFT.stft: expected a string or atom, got: 1"},
    {&Mlx.FFT.istft/2, [@array, [length: 1.5]], "Mlx.FFT.istft: expected :length to be an integer, got: 1.5"},
    {&Mlx.Fast.rope/3, [@array, 2, [:a | :b]], "Mlx.Fast.rope: expected options to be a keyword list, got: [:a | :b]"},
    {&Mlx.Fast.scaled_dot_product_attention/3, [[1], @array, @array],
     "Mlx.Fast.scaled_dot_product_attention: expected an Mlx.Array, got: [1]; Mlx.array/1 makes an array of a list"},
    {&Mlx.Random.with_state/2, [@array, :f], "Mlx.Random.with_state: expected a function without arguments, got: :f"},
    {&Mlx.Random.with_state/2, [0, &Mlx.Random.state/0], "Mlx.Random.with_state: expected an Mlx.Array, got: 0"},
    {&Mlx.FFT.fft2/2, [@array, [axes: :a]], "Mlx.FFT.fft2: :a is not an axis of an array of shape {2, 2}"},
    {&Mlx.flatten/2, [@array, [axes: 1]], "Mlx.flatten: expected :axes to be a list or a range, got: 1"},
    {&Mlx.slice/3, [@array, 1, [1]], "Mlx.slice: expected 2 starts, lengths and strides in lists for the shape {2, 2}"},
    {&Mlx.roll/2, [@array, nil], "Mlx.roll: expected an integer of 32 bits, got: nil"},
    {&Mlx.pad/2, [@array, [:a | :b]], "Mlx.pad: expected 2 widths, one for each axis, got: [:a | :b]"},
    {&Mlx.pad/2, [@array, {1.5, 1}],
     "Mlx.pad: expected a width or a pair of widths that are not negative, got: {1.5, 1}"},
    {&Mlx.einsum/2, ["i", [@array | @array]],
     "Mlx.einsum: expected a list of arrays, got: [#Mlx.Array<f32[2][2]> | #Mlx.Array<f32[2][2]>]"},
    {&Mlx.minmax/1, [nil], "Mlx.minmax: expected an Mlx.Array or a number, got: nil"},
    {&Mlx.at/2, [@array, "x"],
     "Mlx.at: expected an index to be an integer, a range, :new_axis, :..., an array of integers or a list, got: \"x\""},
    {&Mlx.put_at/3, [@array, [0, 0, 0], 1], "Mlx.put_at: too many indices for an array of shape {2, 2}: [0, 0, 0]"},
    {&Mlx.add_at/3, [@array, @array, 1], "Mlx.add_at: an array of indices must have an integer type, got: :f32"},
    {&Mlx.take/2, [@array, 2], "Mlx.take: index 2 is out of bounds for axis 0 of size 2"},
    {&Mlx.as_type/2, [@array, :f31], "Mlx.as_type: expected a type such as :f32 (see Mlx.Type), got: :f31"},
    {&Mlx.with_device/2, [:cpu, :f], "Mlx.with_device: expected a function without arguments, got: :f"},
    {&Mlx.vjp/3, [&Mlx.add/2, [@array], [@array]], "Mlx.vjp: expected a function of one argument, got: &Mlx.add/2"},
    {&Mlx.export_function/3, [:a, &Mlx.exp/1, [@array]],
     "Mlx.export_function: expected a path, which is a string, got: :a"},
    {&Mlx.export_function/3, ["a", &Mlx.add/2, [@array]],
     "Mlx.export_function: expected a function of one argument, got: &Mlx.add/2"},
    {&Mlx.export_functions/2, ["a", [@array]],
     "Mlx.export_functions: expected a list of functions with their arguments, {function, [array]}, " <>
       "got: [#Mlx.Array<f32[2][2]>]"},
    {&Mlx.describe_function/2, [:f, [@array]], "Mlx.describe_function: expected a function of one argument, got: :f"},
    {&Mlx.Tree.map/2, [[], :f], "Mlx.Tree.map: expected a function of one argument, got: :f"},
    {&Mlx.Tree.map/3, [[], [[]], &Mlx.exp/1], "Mlx.Tree.map: expected a function of 2 arguments, got: &Mlx.exp/1"},
    {&Mlx.Tree.map_reduce/3, [[], 0, &Mlx.exp/1],
     "Mlx.Tree.map_reduce: expected a function of 2 arguments, got: &Mlx.exp/1"},
    {&Mlx.Tree.merge/3, [[], [], 1], "Mlx.Tree.merge: expected a function of 2 arguments or nil, got: 1"},
    {&Mlx.Tree.zip/1, [[]], "Mlx.Tree.zip: expected a list that is not empty, got: []"},
    {&Mlx.Tree.flatten/1, [[1 | 2]], "Mlx.Tree.flatten: an improper list has no indices: [1 | 2]"},
    {&Mlx.Tree.unflatten/1, [%{a: 1}],
     "Mlx.Tree.unflatten: expected a list of {path, element} or a map, with strings for paths, got: %{a: 1}"},
    {&Mlx.Type.bits/1, [:f31], "Mlx.Type.bits: expected a type such as :f32 (see Mlx.Type), got: :f31"},
    {&Mlx.Type.bytes/1, [nil], "Mlx.Type.bytes: expected a type such as :f32 (see Mlx.Type), got: nil"},
    {&Mlx.Type.epsilon/1, [:s8], "Mlx.Type.epsilon: expected a floating-point type or :c64, got: :s8"},
    {&Mlx.Stream.set_default/1, [:cpu], "Mlx.Stream.set_default: expected an Mlx.Stream, got: :cpu"},
    {&Mlx.Stream.synchronize/1, [1], "Mlx.Stream.synchronize: expected an Mlx.Stream or nil, got: 1"},
    {&Mlx.IO.load/1, [:a], "Mlx.IO.load: expected a path, which is a string, got: :a"},
    {&Mlx.IO.decode/1, [:a], "Mlx.IO.decode: expected a binary, got: :a"},
    {&Mlx.Memory.measure/1, [1], "Mlx.Memory.measure: expected a function without arguments, got: 1"},
    {&Mlx.Memory.with_wired/1, [1], "Mlx.Memory.with_wired: expected a function without arguments, got: 1"},
    {&Mlx.Distributed.split/2, [1, 0], "Mlx.Distributed.split: expected an Mlx.Distributed.Group, got: 1"},
    {&Mlx.Distributed.recv_like/2, [[1], 0],
     "Mlx.Distributed.recv_like: expected an Mlx.Array, got: [1]; Mlx.array/1 makes an array of a list"},
    {&Mlx.Unsafe.run/3, [1, [], []], "Mlx.Unsafe.run: expected an Mlx.Unsafe.Kernel, got: 1"},
    {&Mlx.Unsafe.to_pointer/1, [1], "Mlx.Unsafe.to_pointer: expected an Mlx.Array, got: 1"},
    {&Mlx.NonFinite.with_check/1, [1], "Mlx.NonFinite.with_check: expected a function without arguments, got: 1"},
    {&Mlx.PrintOptions.with_options/2, [[], 1],
     "Mlx.PrintOptions.with_options: expected a function without arguments, got: 1"},
    {&Mlx.PrintOptions.set/1, [[digits: 1]],
     "Mlx.PrintOptions.set: unknown option :digits, expected one of :precision"},
    {&Mlx.Metal.start_capture/1, [1], "Mlx.Metal.start_capture: expected a path, which is a string, got: 1"},
    {&Mlx.LM.load/1, [1], "Mlx.LM.load: expected a path, which is a string, got: 1"},
    {&Mlx.LM.Sampler.new/1, [[top_k: 0]],
     "Mlx.LM.Sampler.new: expected :top_k to be a positive integer, or nil, got: 0"},
    {&Mlx.Random.permutation/1, [nil], "Mlx.Random.permutation: expected an Mlx.Array or an integer, got: nil"}
  ]

  test "messages name the function, say what was expected and given, and what to do" do
    for {function, arguments, message} <- @messages do
      assert_raise ArgumentError, message, fn -> apply(function, with_arrays(arguments)) end
    end
  end

  if Code.ensure_loaded?(Nx) do
    test "functions for tensors of Nx name themselves, too" do
      tensor = Nx.tensor([1.0], backend: Mlx.Backend)
      pointer = Nx.to_pointer(tensor, unsafe: true)

      for {call, message} <- [
            {fn -> Mlx.Nx.from_nx([1.0]) end, "Mlx.Nx.from_nx: expected an Nx.Tensor, got: [1.0]"},
            {fn -> Mlx.Nx.to_nx(tensor) end, "Mlx.Nx.to_nx: expected an Mlx.Array, got: "},
            {fn -> Mlx.Nx.to_nx(Mlx.array(1), lazzy: true) end,
             "Mlx.Nx.to_nx: unknown option :lazzy, expected one of :names, :lazy"},
            {fn -> Mlx.Nx.to_quantized(1) end, "Mlx.Nx.to_quantized: expected an Nx.Tensor, got: 1"},
            {fn -> Mlx.Nx.einsum(:ij, [tensor]) end, "Mlx.Nx.einsum: expected a string, got: :ij"},
            {fn -> Mlx.Nx.Fast.rms_norm(tensor, nil, epsilon: 1) end,
             "Mlx.Nx.Fast.rms_norm: unknown option :epsilon, expected one of :eps"},
            {fn -> Mlx.Nx.Fast.rope(tensor, 2, 1) end,
             "Mlx.Nx.Fast.rope: expected options to be a keyword list, got: 1"},
            {fn -> Mlx.Nx.MixedPrecision.new(factors: 2) end,
             "Mlx.Nx.MixedPrecision.new: unknown option :factors, expected one of :scale, :factor, :interval"},
            {fn -> Nx.tensor(1, backend: {Mlx.Backend, device: :tpu}) end,
             "Mlx.Backend: expected the option :device to be :cpu or :gpu, got: :tpu"},
            {fn -> Nx.default_backend({Mlx.Backend, lazzy: true}) end,
             "Mlx.Backend: unknown option :lazzy, expected one of :lazy, :device"},
            {fn -> Nx.to_pointer(tensor, safe: true) end,
             "Nx.to_pointer: unknown option :safe, expected one of :mode, :unsafe"},
            {fn -> Nx.from_pointer(Mlx.Backend, pointer, {:f, 32}, {1}, safe: true) end,
             "Nx.from_pointer: unknown option :safe, expected one of :names, :owner, :unsafe"}
          ] do
        error = assert_raise ArgumentError, call
        assert String.starts_with?(error.message, message), error.message
      end
    end
  end

  test "types of other libraries are told by ours" do
    for {name, type} <- [float32: :f32, bfloat16: :bf16, int64: :s64, uint8: :u8, bool_: :bool, half: :f16, long: :s64],
        given <- [name, Atom.to_string(name)] do
      message =
        "Mlx.zeros: expected a type such as :f32 (see Mlx.Type), got: #{inspect(given)}; it is #{inspect(type)} here"

      assert_raise ArgumentError, message, fn -> Mlx.zeros({2}, type: given) end
    end

    assert_raise ArgumentError, "Mlx.zeros: expected a type such as :f32 (see Mlx.Type), got: :f12", fn ->
      Mlx.zeros({2}, type: :f12)
    end
  end

  test "functions that are made of others are named themselves" do
    for {name, call} <- [
          to_list: &Mlx.to_list/1,
          to_flat_list: &Mlx.to_flat_list/1,
          subtract_at: &Mlx.subtract_at(Mlx.zeros({2, 2}), 0, &1),
          divide_at: &Mlx.divide_at(Mlx.zeros({2, 2}), 0, &1),
          dot: &Mlx.dot(&1, 2),
          dot: &Mlx.dot(&1, &1),
          at: & &1[0],
          at: &Mlx.at(&1, [[0, 1]]),
          put_at: &Mlx.put_at(&1, 0, 1),
          add_at: &Mlx.add_at(&1, [0, [1]], 1),
          take: &Mlx.take(&1, 0, axis: nil),
          take_along_axis: &Mlx.take_along_axis(&1, Mlx.array([0]), axis: nil),
          minmax: &Mlx.minmax/1,
          "IO.encode": &Mlx.IO.encode(%{x: &1}),
          "IO.save": &Mlx.IO.save("never_written.npy", &1),
          gather: &Mlx.gather(Mlx.zeros({2, 2}), &1),
          indexed_put: &Mlx.indexed_put(Mlx.zeros({2, 2}), &1, 0),
          grad: &Mlx.grad(fn x -> Mlx.sum(x) end).(&1),
          grad: fn array -> Mlx.grad(fn _x -> array end).(Mlx.array(1.0)) end,
          vjp: fn array -> Mlx.vjp(fn _x -> array end, [Mlx.array(1.0)], [Mlx.array(1.0)]) end,
          vmap: fn array -> Mlx.vmap(fn _x -> array end).(Mlx.array([1.0])) end,
          compile: fn array -> Mlx.compile(fn _x -> array end).(Mlx.array([1.0])) end,
          checkpoint: fn array -> Mlx.checkpoint(fn _x -> array end).(Mlx.array([1.0])) end,
          "Linalg.cross": &Mlx.Linalg.cross(&1, &1),
          "Linalg.eig": &Mlx.Linalg.eig/1,
          "Linalg.eigvals": &Mlx.Linalg.eigvals/1
        ] do
      array = Mlx.array([[1.0, 2.0], [3.0, 4.0]])
      Mlx.deallocate(array)
      assert_raise ArgumentError, "Mlx.#{name}: the array was deallocated", fn -> call.(array) end
    end

    for {name, call} <- [
          full: &Mlx.full({2}, &1),
          full_like: &Mlx.full_like(Mlx.zeros({2}), &1),
          put_at: &Mlx.put_at(Mlx.zeros({2}), 0, &1),
          subtract_at: &Mlx.subtract_at(Mlx.zeros({2}), 0, &1),
          put_slice: &Mlx.put_slice(Mlx.zeros({2}), [0], &1),
          pad: &Mlx.pad(Mlx.zeros({2}), 1, value: &1),
          "Random.bernoulli": &Mlx.Random.bernoulli/1,
          "Random.seed": &Mlx.Random.seed/1
        ] do
      error = assert_raise ArgumentError, fn -> call.(nil) end
      assert error.message =~ ~r/^Mlx\.#{name}: expected .*, got:? nil/
    end
  end

  test "a device that is not there is told of by the function that was given it" do
    if not Mlx.Device.available?(:gpu) do
      for {name, call} <- [
            with_device: fn -> Mlx.with_device(:gpu, fn -> :ok end) end,
            "Device.set_default": fn -> Mlx.Device.set_default(:gpu) end,
            "Stream.default": fn -> Mlx.Stream.default(:gpu) end,
            sum: fn -> Mlx.sum(1, stream: :gpu) end
          ] do
        assert_raise Mlx.Error, "Mlx.#{name}: this machine has no GPU that MLX can use", call
      end
    end
  end

  test "a computation that fails is told of by the function that reads it" do
    singular = Mlx.Linalg.invert(Mlx.zeros({2, 2}))
    assert_raise Mlx.Error, ~r/^Mlx\.to_list: .*singular/, fn -> Mlx.to_list(singular) end

    compiled = Mlx.compile(fn x -> Mlx.add(x, Mlx.Linalg.invert(Mlx.zeros({2, 2}))) end)
    assert_raise Mlx.Error, ~r/^Mlx\.compile: .*singular/, fn -> compiled.(Mlx.array(1.0)) end
  end

  test "errors of functions that are given stay as they are" do
    for call <- [fn -> Mlx.vmap(&Map.fetch!(%{}, &1)) end, fn -> Mlx.grad(&Integer.to_string/1) end] do
      error = catch_error(call.().(Mlx.zeros({2})))
      refute match?(%ArgumentError{message: "Mlx." <> _}, error)
    end

    only_two = fn 2 -> :ok end
    assert_raise FunctionClauseError, fn -> Mlx.with_stream(Mlx.Stream.default(), fn -> only_two.(3) end) end
  end

  defp with_arrays(@array), do: Mlx.zeros({2, 2})
  defp with_arrays([first | rest]), do: [with_arrays(first) | with_arrays(rest)]
  defp with_arrays(other), do: other
end
