defmodule Mlx.Transforms.FunctionFileTest do
  use ExUnit.Case, async: true

  alias Mlx.Oracle

  @moduletag :tmp_dir

  defp written(folder, fun, arguments, options \\ []) do
    path = Path.join(folder, "function.mlxfn")
    :ok = Mlx.export_function(path, fun, arguments, options)
    path
  end

  test "an imported function composes with every transform", %{tmp_dir: folder} do
    weight = Mlx.array([[1.0, 2.0], [3.0, 4.0]])
    fun = fn x -> Mlx.sum(Mlx.square(Mlx.matmul(x, weight))) end
    x = Mlx.array([0.5, -1.0])
    imported = folder |> written(fun, [x]) |> Mlx.Unsafe.import_function()
    again = fn x -> hd(imported.([x])) end
    batch = Mlx.stack([x, Mlx.multiply(x, 2)])

    assert Mlx.to_number(again.(x)) == Mlx.to_number(fun.(x))
    assert Mlx.to_list(Mlx.grad(again).(x)) == Mlx.to_list(Mlx.grad(fun).(x))
    assert Mlx.to_list(Mlx.vmap(again).(batch)) == Mlx.to_list(Mlx.vmap(fun).(batch))
    assert Mlx.to_number(Mlx.compile(again).(x)) == Mlx.to_number(Mlx.compile(fun).(x))
    assert Mlx.to_list(Mlx.vmap(Mlx.grad(again)).(batch)) == Mlx.to_list(Mlx.vmap(Mlx.grad(fun)).(batch))
    assert Mlx.to_list(Mlx.hessian(again).(x)) == Mlx.to_list(Mlx.hessian(fun).(x))
  end

  test "arrays from outside are written as they read, whatever their strides", %{tmp_dir: folder} do
    transposed = Mlx.transpose(Mlx.array([[1.0, 2.0], [3.0, 4.0]]))
    Mlx.eval(transposed)

    imported =
      folder |> written(fn x -> Mlx.add(x, transposed) end, [Mlx.zeros({2, 2})]) |> Mlx.Unsafe.import_function()

    assert [sum] = imported.([Mlx.zeros({2, 2})])
    assert Mlx.to_list(sum) == [[1.0, 3.0], [2.0, 4.0]]
  end

  test "takes keywords, in any order", %{tmp_dir: folder} do
    one = Mlx.array(1.0)
    path = written(folder, fn x, [y: y, z: z] -> {Mlx.subtract(x, y), z} end, [one, y: one, z: one])
    imported = Mlx.Unsafe.import_function(path)
    assert [difference, z] = imported.([Mlx.array(5.0), z: Mlx.array(7.0), y: Mlx.array(2.0)])
    assert {Mlx.to_number(difference), Mlx.to_number(z)} == {3.0, 7.0}
    assert_raise Mlx.Error, ~r/import_function: .*No imported function found/, fn -> imported.([one]) end
  end

  test "shapeless, takes arrays of other shapes", %{tmp_dir: folder} do
    path = written(folder, &Mlx.multiply(&1, 2.0), [Mlx.zeros({2})], shapeless: true, metadata: "of any size")
    assert {imported, "of any size"} = Mlx.Unsafe.import_function(path, metadata: true)
    assert [doubled] = imported.([Mlx.iota({5}, type: :f32)])
    assert Mlx.to_list(doubled) == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert_raise Mlx.Error, fn -> imported.([Mlx.zeros({1, 1})]) end
  end

  test "functions of one file share their arrays, whatever their strides", %{tmp_dir: folder} do
    path = Path.join(folder, "functions.mlxfn")

    for shared <- [Mlx.Random.normal({1000}), Mlx.zeros({1000}), Mlx.Random.normal({2000})[0..1998//2]] do
      functions =
        for count <- 1..4, do: {Mlx.Arguments.Arity.function(count, &Mlx.sum(Mlx.stack([shared | &1]))), count}

      calls = for {fun, count} <- functions, do: {fun, List.duplicate(Mlx.zeros({1000}), count)}
      :ok = Mlx.export_functions(path, calls)
      assert File.stat!(path).size < 8000
      imported = Mlx.Unsafe.import_function(path)

      for {fun, arguments} <- calls,
          do: assert(Mlx.to_number(hd(imported.(arguments))) == Mlx.to_number(apply(fun, arguments)))
    end
  end

  test "is called by many processes at once, before its arrays are read", %{tmp_dir: folder} do
    weight = Mlx.Random.normal({64, 64})
    path = written(folder, fn x -> Mlx.sum(Mlx.matmul(x, weight)) end, [Mlx.zeros({64, 64})])
    expected = Mlx.to_number(Mlx.sum(Mlx.matmul(Mlx.eye(64), weight)))

    for _ <- 1..20 do
      imported = Mlx.Unsafe.import_function(path)

      values =
        1..8
        |> Enum.map(fn _ -> Task.async(fn -> Mlx.to_number(hd(imported.([Mlx.eye(64)]))) end) end)
        |> Task.await_many()

      assert Enum.uniq(values) == [expected]
    end
  end

  test "a file that is cut short, or is another one, raises", %{tmp_dir: folder} do
    path = written(folder, &Mlx.matmul(&1, Mlx.array([[2.0]])), [Mlx.zeros({1, 1})])
    bytes = File.read!(path)
    part = Path.join(folder, "part.mlxfn")

    for size <- 0..(byte_size(bytes) - 1) do
      File.write!(part, binary_part(bytes, 0, size))

      assert_raise Mlx.Error, fn ->
        [y] = Mlx.Unsafe.import_function(part).([Mlx.zeros({1, 1})])
        Mlx.eval(y)
      end
    end

    arrays = Path.join(folder, "arrays.safetensors")
    Mlx.IO.save(arrays, %{"a" => Mlx.iota({100})})
    assert_raise Mlx.Error, ~r/not a file of exported functions/, fn -> Mlx.Unsafe.import_function(arrays) end
    assert_raise Mlx.Error, ~r/cannot open/, fn -> Mlx.Unsafe.import_function(Path.join(folder, "missing.mlxfn")) end
  end

  test "refuses what cannot be exported", %{tmp_dir: folder} do
    path = Path.join(folder, "none.mlxfn")
    x = Mlx.array(1.0)
    assert_raise ArgumentError, ~r/expected a list of arrays/, fn -> Mlx.export_function(path, &Mlx.abs/1, [1.0]) end
    assert_raise ArgumentError, ~r/expected a list of arrays/, fn -> Mlx.export_function(path, &Mlx.abs/1, x) end
    assert_raise ArgumentError, ~r/returns an array/, fn -> Mlx.export_function(path, fn x -> {x, 1} end, [x]) end
    assert_raise ArgumentError, ~r/:metadata/, fn -> Mlx.export_function(path, &Mlx.abs/1, [x], metadata: %{}) end
    assert_raise ArgumentError, ~r/zero bytes/, fn -> Mlx.export_function(path, &Mlx.abs/1, [x], metadata: <<0>>) end

    assert_raise ArgumentError, ~r/uses an array that is traced/, fn ->
      Mlx.grad(fn y -> Mlx.export_function(path, &Mlx.add(&1, y), [x]) end).(x)
    end

    assert File.ls!(folder) == []
  end

  test "each of the two functions that write is named itself", %{tmp_dir: folder} do
    path = Path.join(folder, "none.mlxfn")
    {x, deallocated} = {Mlx.array(1.0), Mlx.array(1.0)}
    Mlx.deallocate(deallocated)
    singular = fn -> Mlx.Linalg.invert(Mlx.zeros({2, 2})) end

    for {name, write} <- [
          export_function: &Mlx.export_function(path, &1, &2, &3),
          export_functions: &Mlx.export_functions(path, [{&1, &2}], &3)
        ],
        {fun, arguments, options} <- [
          {&Mlx.exp/1, [x], [shapeless: 1]},
          {&Mlx.exp/1, [x], [metadata: 1]},
          {&Mlx.exp/1, [x], [of: 1]},
          {&Mlx.exp/1, [deallocated], []},
          {&Mlx.add/2, [x], []},
          {&Mlx.exp/1, [x, a: x, a: x], []},
          {&Mlx.add(&1, singular.()), [x], []},
          {fn _x -> 1 end, [x], []}
        ] do
      error = catch_error(write.(fun, arguments, options))
      assert Exception.message(error) =~ ~r/^Mlx\.#{name}: /
    end

    for {name, write} <- [
          export_function: &Mlx.export_function(&1, fn x -> Mlx.exp(x) end, [x]),
          export_functions: &Mlx.export_functions(&1, [{fn x -> Mlx.exp(x) end, [x]}])
        ] do
      assert_raise Mlx.Error, ~r/^Mlx\.#{name}: .*no such file/, fn -> write.(Path.join(folder, "missing/a.mlxfn")) end
      assert_raise ArgumentError, ~r/^Mlx\.#{name}: expected a path/, fn -> write.(nil) end
    end
  end

  @tag :oracle
  test "crosses between Elixir and Python both ways, with equal values", %{tmp_dir: folder} do
    weight = Mlx.Random.normal({3, 3}, key: Mlx.Random.key(1))
    x = Mlx.Random.normal({2, 3}, key: Mlx.Random.key(2))
    attention = fn x, [scale: scale] -> Mlx.softmax(Mlx.multiply(Mlx.matmul(x, weight), scale), axes: -1) end
    ours = written(folder, attention, [x, scale: Mlx.array(0.5)])
    theirs = Path.join(folder, "theirs.mlxfn")

    python = "lambda x, scale: mx.softmax((x @ weight) * scale, axis=-1)"

    imported =
      Oracle.eval(
        "(mx.export_function(#{inspect(theirs)}, #{python}, x, scale=scale), mx.import_function(#{inspect(ours)})(x, scale=scale)[0])[1]",
        x: x,
        weight: weight,
        scale: Mlx.array(0.5)
      )

    expected = Mlx.to_binary(attention.(x, scale: Mlx.array(0.5)))
    assert Mlx.to_binary(imported) == expected
    assert [result] = Mlx.Unsafe.import_function(theirs).([x, scale: Mlx.array(0.5)])
    assert Mlx.to_binary(result) == expected
  end
end
