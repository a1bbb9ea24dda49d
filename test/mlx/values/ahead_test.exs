defmodule Mlx.Values.AheadTest do
  use ExUnit.Case, async: true

  alias Mlx.Linalg
  alias Mlx.Values.Ahead

  defp start(continued, read), do: Ahead.start(continued, read, "Mlx.Values.AheadTest")

  # As a text is generated: each call is built on the one before.
  defp chain(step, state, count) do
    Enum.map_reduce(1..count, state, fn _, state ->
      state = step.(state)
      {state, shown} = start(state, state)
      {shown, state}
    end)
  end

  test "the values are those of an evaluation" do
    x = Mlx.add(Mlx.iota({3}), 1)
    {[y], %{shown: shown}} = start([x], %{shown: x})
    assert Mlx.to_list(shown) == [1, 2, 3]
    assert Mlx.to_list(y) == [1, 2, 3]
    assert y.shape == x.shape and y.type == x.type
  end

  test "containers keep what is no array" do
    assert start({:a, nil, 1}, []) == {{:a, nil, 1}, []}
    assert {%{a: 1}, nil} = start(%{a: 1}, nil)
  end

  test "values, views, empty arrays and complex ones" do
    for x <- [
          Mlx.array([1.5, 2.5]),
          Mlx.transpose(Mlx.iota({2, 3})),
          Mlx.slice(Mlx.iota({6}), [1], [5], strides: [2]),
          Mlx.zeros({0, 3}),
          Mlx.array([true, false]),
          Mlx.FFT.fft(Mlx.iota({4}, type: :f32)),
          Mlx.array([1.0e300], type: :f64)
        ] do
      {expected, copy} = {Mlx.to_list(x), Mlx.copy(x)}
      {y, shown} = start(copy, copy)
      assert Mlx.to_list(shown) == expected
      assert Mlx.to_list(y) == expected
      assert Mlx.to_list(Mlx.reshape(y, {-1})) == List.flatten([expected])
    end
  end

  test "what others go on with is given up, and what is read is not" do
    {x, z} = {Mlx.add(1, 1), Mlx.add(2, 2)}
    {y, _z} = start(x, z)
    assert Mlx.to_number(z) == 4
    assert Mlx.to_number(y) == 2
    assert_raise ArgumentError, ~r/was deallocated/, fn -> Mlx.to_number(x) end
  end

  test "one array may come several times" do
    x = Mlx.add(1, 1)
    {{a, b}, [c, d]} = start({x, x}, [x, x])
    assert Enum.map([a, b, c, d], &Mlx.to_number/1) == [2, 2, 2, 2]
  end

  test "compiled calls are built on one another" do
    step = Mlx.compile(fn {x, n} -> {Mlx.tanh(Mlx.matmul(x, x)), Mlx.add(n, 1)} end)
    state = {Mlx.multiply(Mlx.iota({8, 8}, type: :f32), 0.01), Mlx.array(0)}
    expected = Enum.map(Enum.scan(1..40, state, fn _, state -> step.(state) end), fn {_x, n} -> Mlx.to_number(n) end)
    {shown, {x, n}} = chain(step, state, 40)
    assert Enum.map(shown, fn {_x, n} -> Mlx.to_number(n) end) == Enum.to_list(1..40)
    assert expected == Enum.to_list(1..40)
    assert Mlx.to_number(n) == 40
    plain = Enum.reduce(1..40, state, fn _, state -> step.(state) end)
    assert Mlx.to_list(x) == Mlx.to_list(elem(plain, 0))
  end

  test "buffers that are given away are written in place" do
    step = Mlx.compile(fn x, y -> {Mlx.add(x, y), Mlx.multiply(y, 1)} end, donate: [0, 1])
    bytes = 4 * 1024 * 1024
    state = {Mlx.zeros({div(bytes, 4)}), Mlx.ones({div(bytes, 4)})}
    {shown, {x, _y}} = chain(fn {x, y} -> step.(x, y) end, state, 3)
    assert [3.0] = Mlx.to_list(x[0..0])
    assert [1.0, 2.0, 3.0] == Enum.map(shown, fn {x, _y} -> hd(Mlx.to_list(x[0..0])) end)
  end

  test "any operation takes what is not scheduled yet" do
    {x, _} = start(Mlx.add(Mlx.ones({4}), 1), [])
    assert Mlx.to_list(Mlx.add(x, x)) == [4.0, 4.0, 4.0, 4.0]

    {x, _} = start(Mlx.add(Mlx.ones({2}), 1), [])
    assert Mlx.to_list(Mlx.grad(fn y -> Mlx.sum(Mlx.multiply(y, y)) end).(x)) == [4.0, 4.0]

    {x, _} = start(Mlx.add(Mlx.ones({2}), 1), [])
    assert Mlx.to_list(Mlx.vmap(&Mlx.multiply(&1, 3)).(x)) == [6.0, 6.0]

    {x, _} = start(Mlx.add(Mlx.ones({2}), 1), [])
    assert Mlx.Native.is_available(x) in [true, false]
    assert inspect(x) =~ "2.0"
  end

  test "of what fails only those are told whose values rest on it" do
    for _ <- 1..20 do
      singular = Linalg.invert(Mlx.zeros({3, 3}))
      {[bad, good], [shown]} = start([singular, Mlx.add(1, 1)], [singular])
      {fine, _} = start(Mlx.add(2, 2), [])
      assert_raise Mlx.Error, ~r/could not be computed.*singular/s, fn -> Mlx.to_list(shown) end
      assert_raise Mlx.Error, ~r/could not be computed.*singular/s, fn -> Mlx.to_list(Mlx.add(bad, 1)) end
      assert_raise Mlx.Error, ~r/could not be computed/, fn -> Mlx.to_number(good) end
      assert Mlx.to_number(fine) == 4
    end
  end

  test "what a function withholds has no value to compute" do
    assert_raise Mlx.Error, ~r/no value to read/, fn ->
      Mlx.compile(fn x ->
        start(x, [])
        x
      end).(Mlx.array(1))
    end
  end

  test "processes die while what they started is computed" do
    step = Mlx.compile(fn x -> Mlx.add(x, 1) end)

    for _ <- 1..40 do
      test = self()

      child =
        spawn(fn ->
          {shown, last} = chain(step, Mlx.zeros({256, 256}), 30)
          send(test, {:last, hd(shown), last})
          chain(step, Mlx.zeros({256, 256}), 1000)
        end)

      assert_receive {:last, first, last}, 30_000
      Process.exit(child, :kill)
      assert Mlx.to_number(Mlx.reduce_min(first)) == 1.0
      assert Mlx.to_number(Mlx.reduce_min(last)) == 30.0
    end
  end

  test "many processes go on with one result" do
    {x, shown} = start(Mlx.matmul(Mlx.ones({64, 64}), Mlx.ones({64, 64})), Mlx.array(0))
    twice = Mlx.compile(&Mlx.multiply(&1, 2))

    1..50
    |> Task.async_stream(fn n ->
      y = if rem(n, 2) == 0, do: twice.(x), else: Mlx.multiply(x, 2)
      {z, _} = start(y, [])
      Mlx.to_number(Mlx.reduce_max(z))
    end)
    |> Enum.each(&assert(&1 == {:ok, 128.0}))

    assert Mlx.to_number(shown) == 0
  end

  test "processes whose graphs are one do not wait for one another" do
    shared = Mlx.multiply(Mlx.ones({8}), 2)
    step = Mlx.compile(fn x, y -> Mlx.subtract(Mlx.add(x, y), 1) end)

    1..8
    |> Task.async_stream(fn _ -> chain(&step.(&1, shared), Mlx.zeros({8}), 100) end, timeout: 60_000)
    |> Enum.each(fn {:ok, {shown, last}} ->
      assert Enum.map(shown, &Mlx.to_number(&1[0])) == Enum.map(1..100, &(&1 * 1.0))
      assert Mlx.to_list(last) == List.duplicate(100.0, 8)
    end)

    assert Mlx.to_list(shared) == List.duplicate(2.0, 8)
  end

  test "a stream is at its end when what was started before is computed" do
    {x, _} = start(Mlx.matmul(Mlx.ones({512, 512}), Mlx.ones({512, 512})), [])
    Mlx.Stream.synchronize()
    assert Mlx.Native.is_available(x)
  end
end
