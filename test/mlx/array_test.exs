defmodule Mlx.ArrayTest do
  use ExUnit.Case, async: true

  doctest Mlx.Array
  doctest Mlx.PrintOptions

  describe "to_string/1" do
    test "shows the elements" do
      assert to_string(Mlx.array(1.5)) == "1.5"
      assert to_string(Mlx.array([{1.0, -2.0}])) == "[1.0-2.0i]"
      assert to_string(Mlx.array([[1, 2], [3, 4]])) == "[\n  [1, 2],\n  [3, 4]\n]"
      assert to_string(Mlx.zeros({0})) == "[]"
      assert to_string(Mlx.arange(51)) =~ "48, 49, ...]"
      assert Mlx.PrintOptions.with_options([precision: 2], fn -> "#{Mlx.array(0.5)}" end) == "0.50"
    end

    test "raises for what cannot be read" do
      array = Mlx.array([1])
      Mlx.deallocate(array)
      assert_raise ArgumentError, fn -> to_string(array) end
    end
  end

  describe "an array of another virtual machine" do
    setup do
      code = quote do: [1.5, 2] |> Mlx.array() |> :erlang.term_to_binary() |> Base.encode64() |> IO.write()
      {:exit, 0, text} = Mlx.ChildVM.run(code)
      %{array: text |> Base.decode64!() |> :erlang.binary_to_term()}
    end

    test "is inspected, and says where its memory is where it is read", %{array: array} do
      assert inspect(array) == "#Mlx.Array<\n  f32[2]\n  in another virtual machine\n>"
      assert inspect(array, limit: 1) =~ "in another virtual machine"

      for read <- [&Mlx.to_binary/1, &Mlx.to_list/1, &to_string/1, &Mlx.to_number(%{&1 | shape: {}})] do
        message = ~r/^Mlx.to_(binary|list|number): the memory of this array is in another virtual machine.*Nx.serialize/
        assert_raise ArgumentError, message, fn -> read.(array) end
      end
    end

    test "says so, too, where it is given to an operation", %{array: array} do
      here = Mlx.array([1.0, 2.0])

      for {name, call} <- [
            add: &Mlx.add(&1, 1),
            add: &Mlx.add(here, &1),
            exp: &Mlx.exp/1,
            sum: &Mlx.sum/1,
            concatenate: &Mlx.concatenate([here, &1]),
            stack: &Mlx.stack([&1, &1]),
            select: &Mlx.select(&1, here, here),
            put_at: &Mlx.put_at(&1, 0, 1.5),
            as_type: &Mlx.as_type(&1, :s32),
            eval: &Mlx.eval(%{weights: [&1]}),
            deallocate: &Mlx.deallocate/1,
            grad: &Mlx.grad(fn x -> Mlx.sum(x) end).(&1),
            compile: &Mlx.compile(fn x -> Mlx.sum(x) end).(&1),
            "Linalg.norm": &Mlx.Linalg.norm/1,
            "FFT.fft": &Mlx.FFT.fft/1,
            "Fast.rms_norm": &Mlx.Fast.rms_norm(&1, nil),
            "Random.categorical": &Mlx.Random.categorical/1,
            "Unsafe.to_pointer": &Mlx.Unsafe.to_pointer/1
          ] do
        error = assert_raise ArgumentError, fn -> call.(array) end

        assert {name, error.message} ==
                 {name,
                  "Mlx.#{name}: the memory of this array is in another virtual machine, or was in one that has ended; " <>
                    "send or store its bytes, which Mlx.IO.encode/2 gives of arrays and Nx.serialize/2 of a tensor"}
      end
    end
  end

  describe "inspect/1" do
    test "shows rows under each other" do
      assert inspect(Mlx.iota({2, 2, 2})) == """
             #Mlx.Array<
               s32[2][2][2]
               [
                 [
                   [0, 1],
                   [2, 3]
                 ],
                 [
                   [4, 5],
                   [6, 7]
                 ]
               ]
             >\
             """
    end

    test "shows the fewest digits that tell a number of its type from others" do
      for {type, numbers, text} <- [
            {:f32, [0.1, 1.0e-7, 16_777_217, -0.0, 3.4028234663852886e38],
             "0.1, 1.0e-7, 16777216.0, -0.0, 3.4028235e38"},
            {:f32, [1.0e-45, 1 / 3, 1.0e10, 0.5], "1.0e-45, 0.33333334, 1.0e10, 0.5"},
            {:f16, [0.1, 65_504, 1 / 3], "0.1, 6.55e4, 0.3333"},
            {:bf16, [0.1, 1 / 3], "0.1, 0.334"},
            {:f64, [0.1, 1 / 3], "0.1, 0.3333333333333333"}
          ] do
        shown = inspect(Mlx.array(numbers, type: type))
        assert shown =~ "[#{text}]", "#{shown} should have #{text}"
      end
    end

    test "lines are as wide as :width allows" do
      assert inspect(Mlx.arange(12), width: 20) == """
             #Mlx.Array<
               s32[12]
               [0, 1, 2, 3, 4, 5,
                6, 7, 8, 9, 10,
                11]
             >\
             """

      for width <- [20, 80, 200], shape <- [{200}, {3, 100}, {2, 2, 50}], precision <- [nil, 2] do
        x = Mlx.Random.normal(shape, key: Mlx.Random.key(0))
        shown = inspect(x, width: width, limit: :infinity, custom_options: [precision: precision])
        lengths = shown |> String.split("\n") |> Enum.map(&String.length/1)
        assert Enum.all?(lengths, &(&1 <= width))
        # No line ends before it has to: an element takes at most 15 characters.
        assert Enum.any?(lengths, &(&1 > width - 15))
      end

      assert inspect(Mlx.arange(100), width: :infinity, limit: :infinity) |> String.split("\n") |> length() == 4
      refute to_string(Mlx.arange(100)) =~ "\n"
    end

    test "what is shown is read back as the same number" do
      numbers = for exponent <- -40..37//3, mantissa <- [1.0, 1.2345678, 9.8765432], do: mantissa * 10.0 ** exponent
      array = Mlx.array(numbers)
      [_, list] = Regex.run(~r/\n  \[(.*)\]\n/, inspect(array, limit: :infinity, width: :infinity))
      read = list |> String.split(", ") |> Enum.map(&String.to_float/1)
      assert Mlx.to_binary(Mlx.array(read)) == Mlx.to_binary(array)
    end

    test "shows booleans, complex numbers, infinities and NaN" do
      assert inspect(Mlx.array([true, false])) =~ "[true, false]"
      assert inspect(Mlx.array([{1.5, -2.0}, {0.0, 1.0}, {:nan, -0.0}])) =~ "[1.5-2.0i, 0.0+1.0i, NaN-0.0i]"
      assert inspect(Mlx.array([{1, :neg_infinity}, {1, :infinity}, {1, :nan}])) =~ "[1.0-Infi, 1.0+Infi, 1.0+NaNi]"
      assert inspect(Mlx.array([:nan, :infinity, :neg_infinity])) =~ "[NaN, Inf, -Inf]"
    end

    test "shows as many decimals as the options say" do
      array = Mlx.array([1 / 3, -2.0, :nan])
      assert inspect(array, custom_options: [precision: 3]) =~ "[0.333, -2.000, NaN]"
      assert inspect(array, custom_options: [precision: 0]) =~ "[0, -2, NaN]"
      assert inspect(Mlx.array([{1 / 3, -2.0}]), custom_options: [precision: 1]) =~ "[0.3-2.0i]"
      assert inspect(Mlx.array([1.0e300], type: :f64), custom_options: [precision: 1]) =~ "000.0]"
      assert inspect(Mlx.array([1, 2]), custom_options: [precision: 1]) =~ "[1, 2]"

      Mlx.PrintOptions.with_options([precision: 2], fn ->
        assert inspect(array) =~ "[0.33, -2.00, NaN]"
        assert inspect(array, custom_options: [precision: 1]) =~ "[0.3, -2.0, NaN]"
        assert inspect(array, custom_options: [precision: nil]) =~ "[0.33333334, -2.0, NaN]"
        assert_raise RuntimeError, fn -> Mlx.PrintOptions.with_options([precision: 5], fn -> raise "stop" end) end
        assert Mlx.PrintOptions.get().precision == 2
      end)

      assert Mlx.PrintOptions.get().precision == nil

      for bad <- [-1, 1.5, :all] do
        assert_raise ArgumentError, ~r/expected :precision to be an integer/, fn ->
          Mlx.PrintOptions.set(precision: bad)
        end
      end

      assert_raise ArgumentError, fn -> Mlx.PrintOptions.set(digits: 3) end
    end

    test "shows arrays without elements" do
      assert inspect(Mlx.zeros({0})) == "#Mlx.Array<\n  f32[0]\n  []\n>"
      assert inspect(Mlx.zeros({2, 0})) == "#Mlx.Array<\n  f32[2][0]\n  [\n    [],\n    []\n  ]\n>"
      assert inspect(Mlx.zeros({0, 2})) == "#Mlx.Array<\n  f32[0][2]\n  []\n>"
    end

    test "leaves out what is beyond the limit" do
      assert inspect(Mlx.arange(100), limit: 3) =~ "[0, 1, 2, ...]"

      assert inspect(Mlx.iota({3, 3}), limit: 4) ==
               "#Mlx.Array<\n  s32[3][3]\n  [\n    [0, 1, 2],\n    [3, ...],\n    ...\n  ]\n>"

      assert inspect(Mlx.iota({3, 3}), limit: 3) ==
               "#Mlx.Array<\n  s32[3][3]\n  [\n    [0, 1, 2],\n    ...\n  ]\n>"

      refute inspect(Mlx.arange(100), limit: :infinity) =~ "..."
    end

    test "reads only what it shows" do
      large = Mlx.broadcast(Mlx.array(1.5), {1000, 1000, 1000})
      assert inspect(large, limit: 2) =~ "[1.5, 1.5, ...]"
    end

    test "says when the array is deallocated" do
      array = Mlx.array([1, 2])
      Mlx.deallocate(array)
      assert inspect(array) == "#Mlx.Array<\n  s32[2]\n  deallocated\n>"
    end

    test "nests in other terms" do
      assert inspect(%{x: Mlx.array(1)}, pretty: true) == "%{\n  x: #Mlx.Array<\n    s32\n    1\n  >\n}"
    end
  end

  describe "Access" do
    test "reads as at/2" do
      array = Mlx.iota({3, 4})
      assert Mlx.to_list(array[1]) == [4, 5, 6, 7]
      assert Mlx.to_number(array[[1, 2]]) == 6
      assert Mlx.to_list(get_in(array, [0, 1..2])) == [1, 2]
    end

    test "updates" do
      array = Mlx.array([1, 2, 3])
      assert Mlx.to_list(put_in(array[1], 9)) == [1, 9, 3]
      assert Mlx.to_list(update_in(array[0], &Mlx.negate/1)) == [-1, 2, 3]
      {old, new} = get_and_update_in(array[2], &{&1, Mlx.add(&1, 1)})
      assert {Mlx.to_number(old), Mlx.to_list(new)} == {3, [1, 2, 4]}
    end

    test "refuses to remove" do
      array = Mlx.array([1, 2, 3])
      assert_raise ArgumentError, ~r/an array has a fixed shape/, fn -> pop_in(array[0]) end

      assert_raise ArgumentError, ~r/an array has a fixed shape/, fn ->
        get_and_update_in(array[0], fn _ -> :pop end)
      end
    end
  end
end
