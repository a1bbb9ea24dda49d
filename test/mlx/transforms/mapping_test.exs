defmodule Mlx.Transforms.MappingTest do
  use ExUnit.Case, async: true

  alias Mlx.{Array, Description, Differential}
  alias Mlx.Differential.{Case, Input}

  @seed 1
  @cases 30

  # MLX sums in another order, and products of other sizes; how far apart results may then be, relative and absolute. In 16
  # bits also by the last digit of the largest result.
  @tolerance 2.0e-2
  @last_digit %{bf16: 2 ** -7, f16: 2 ** -10}

  rows = for row <- Differential.rows(), row.variant in [nil, "mask"], row.not_mapped == nil, do: row

  for row <- rows, row.module != Mlx.Random do
    test "#{Description.label(row)} over slices is that of each slice" do
      row = Enum.find(Differential.rows(), &(Description.label(&1) == unquote(Description.label(row))))
      for index <- 1..@cases, a_case = Case.new(row, @seed, index), do: compare(a_case)
    end
  end

  test "an update with one value updates every slice, and so does its gradient" do
    x = Mlx.reshape(Mlx.arange(6, type: :f32), {2, 3})
    assert Mlx.to_list(Mlx.vmap(&Mlx.add_at(&1, 0, 10)).(x)) == [[10.0, 1.0, 2.0], [13.0, 4.0, 5.0]]
    assert Mlx.to_list(Mlx.vmap(&Mlx.put_at(&1, 0..1, 7.0)).(x)) == [[7.0, 7.0, 2.0], [7.0, 7.0, 5.0]]

    gradient = Mlx.grad(fn x -> Mlx.sum(Mlx.square(Mlx.put_at(x, 1, 7.0))) end)
    assert Mlx.to_list(Mlx.vmap(gradient).(x)) == [[0.0, 0.0, 4.0], [6.0, 0.0, 10.0]]
  end

  test "divisions of integers stay such, also mapped twice" do
    a = Mlx.array([[[7, -7], [9, 16_777_217]], [[5, 0], [-1, 2]]])
    b = Mlx.array([2, -3])
    mapped = Mlx.vmap(Mlx.vmap(&Mlx.divmod(&1, b), in_axes: 1), in_axes: 2)
    expected = for x <- [a[[.., .., 0]], a[[.., .., 1]]], y <- [x[[.., 0]], x[[.., 1]]], do: Mlx.divmod(y, b)

    for part <- 0..1 do
      {got, wanted} = {elem(mapped.(a), part), Enum.map(expected, &elem(&1, part))}
      assert got.type == :s32
      assert Mlx.to_list(Mlx.reshape(got, {4, 2})) == Enum.map(wanted, &Mlx.to_list/1)
    end
  end

  # MLX has no rule for these, or none for some of their arguments.
  defp without_rule do
    numbers = Mlx.array([0.3, -1.0, 2.0])
    place = fn x -> x |> Mlx.sum() |> Mlx.abs() |> Mlx.as_type(:s32) |> Mlx.remainder(3) end
    segments = Mlx.array([[0, 1], [1, 3]], type: :u32)

    [
      &Mlx.Linalg.qr(&1, stream: :cpu),
      &Mlx.Linalg.lu(&1, stream: :cpu),
      &Mlx.Linalg.lu_factor(&1, stream: :cpu),
      &Mlx.Linalg.determinant(&1, stream: :cpu),
      &Mlx.Linalg.solve(&1, numbers, stream: :cpu),
      &Mlx.Linalg.solve(Mlx.eye(3), &1, stream: :cpu),
      &Mlx.to_fp8/1,
      &Mlx.as_strided(&1, {2, 2}, [2, 3], offset: 1),
      &Mlx.segmented_mm(&1, &1, segments),
      &Mlx.searchsorted(Mlx.sort(Mlx.flatten(&1)), numbers),
      &Mlx.searchsorted(numbers, &1),
      &Mlx.slice(&1, [place.(&1), 0], [1, 2]),
      &Mlx.slice(Mlx.eye(3), [0, place.(&1)], [3, 1]),
      &Mlx.put_slice(&1, [0, place.(&1)], Mlx.ones({3, 1})),
      &Mlx.addmm(Mlx.at(&1, 0), Mlx.eye(3), &1),
      fn x -> hd(Mlx.depends([x], [Mlx.exp(x)])) end
    ]
  end

  test "operations without a rule of MLX are mapped twice, in a compiled function, and over no slices" do
    x = Mlx.Random.normal({2, 3, 3, 3}, key: Mlx.Random.key(5))

    for call <- without_rule() do
      mapped = Mlx.vmap(Mlx.vmap(&List.to_tuple(results(call.(&1))), in_axes: 2))
      slices = for i <- 0..1, j <- 0..2, do: results(call.(x[[i, .., .., j]]))

      for transform <- [&Function.identity/1, &Mlx.compile/1] do
        for {result, place} <- Enum.with_index(results(transform.(mapped).(x))) do
          expected = slices |> Enum.map(&Enum.at(&1, place)) |> Mlx.stack()
          assert same?(Mlx.reshape(result, expected.shape), expected)
        end
      end

      shapes = for result <- results(mapped.(Mlx.zeros({0, 3, 3, 3}))), do: result.shape
      assert shapes == for(result <- hd(slices), do: List.to_tuple([0, 3 | Tuple.to_list(result.shape)]))
    end
  end

  test "operations without a rule of MLX have their gradient when they are mapped" do
    x = Mlx.Random.normal({4, 3, 3}, key: Mlx.Random.key(6))

    for call <- [
          &Mlx.Linalg.determinant(&1, stream: :cpu),
          &Mlx.as_strided(&1, {2, 2}, [2, 3]),
          &Mlx.slice(&1, [Mlx.as_type(Mlx.greater(Mlx.sum(Mlx.stop_gradient(&1)), 0), :s32), 0], [1, 2]),
          &Mlx.addmm(Mlx.at(&1, 0), Mlx.eye(3), &1)
        ] do
      gradient = Mlx.grad(&Mlx.sum(Mlx.square(call.(&1))))
      assert same?(Mlx.vmap(gradient).(x), Mlx.stack(for i <- 0..3, do: gradient.(x[i])))
      whole = Mlx.grad(&Mlx.sum(Mlx.square(Mlx.vmap(call).(&1))))
      assert same?(whole.(x), Mlx.vmap(gradient).(x))
    end
  end

  # One of the stored inputs comes twice, along a random axis. No GPU has f64.
  defp compare(a_case) do
    inputs = Case.inputs(a_case)
    computable = Mlx.Device.default() == :cpu or Enum.all?(inputs, &(&1.type != :f64))
    stored = for %Input{view: nil} = input <- inputs, do: input
    if computable and stored != [], do: compare(a_case, Enum.random(stored))
  end

  defp compare(a_case, %Input{name: name} = input) do
    stored = Map.new(Case.inputs(a_case), &{&1.name, Input.stored(&1)})
    call = fn array -> a_case |> Case.call(%{stored | name => array}) |> results() end
    {array, axis} = {stored[name], Enum.random(0..tuple_size(input.shape))}
    slices = [array, Mlx.roll(array, 1)]

    with {:ok, wanted} <- values(fn -> Enum.map(slices, call) end) do
      {outcome, got} = values(fn -> Mlx.vmap(call, in_axes: axis).(Mlx.stack(slices, axis: axis)) end)

      assert outcome == :ok, """
      #{Case.elixir(a_case)} over axis #{axis} of #{name}: #{inspect(got)}
      Give its row in c_src/nif/tables a rule of c_src/core/guards/mapping_rules.hpp, such as mapped_in_front<&mlx_NAME>, \
      or its description in test/descriptions not_mapped: (the reason).
      """

      for {slice, index} <- Enum.with_index(wanted), {expected, mapped} <- Enum.zip(slice, got) do
        assert same?(slice_of(mapped, index, expected), expected), """
        #{Case.elixir(a_case)} over axis #{axis} of #{name}: slice #{index} is
        #{inspect(slice_of(mapped, index, expected))} and not #{inspect(expected)}
        """
      end
    end
  end

  # What does not depend on the input has no mapped axis but that of every result.
  defp slice_of(%Array{shape: shape} = mapped, index, expected) do
    assert shape == Tuple.insert_at(expected.shape, 0, 2)
    mapped[index]
  end

  defp values(fun) do
    arrays = fun.()
    Mlx.eval(arrays)
    {:ok, arrays}
  rescue
    error in [Mlx.Error, ArgumentError] -> {:refused, error}
  end

  defp results(%Array{} = array), do: [array]
  defp results(tuple) when is_tuple(tuple), do: Tuple.to_list(tuple)
  defp results(list) when is_list(list), do: list
  defp results(number), do: [Mlx.array(number)]

  defp same?(a, b) do
    {a.shape, a.type} == {b.shape, b.type} and
      (Mlx.size(a) == 0 or Mlx.to_binary(a) == Mlx.to_binary(b) or
         Enum.all?(Enum.zip(parts(a), parts(b)), &close?/1))
  end

  defp parts(%Array{type: :c64} = array), do: [Mlx.real(array), Mlx.imag(array)]
  defp parts(array), do: [array]

  # Infinities and NaN come and go with the order of a sum.
  defp close?({a, b}) do
    finite = Mlx.logical_and(Mlx.is_finite(a), Mlx.is_finite(b))
    [a, b] = for part <- [a, b], do: Mlx.select(finite, part, Mlx.zeros_like(part))
    a |> Mlx.all_close(b, rtol: @tolerance, atol: absolute_tolerance(b), equal_nan: true) |> Mlx.to_number()
  end

  defp absolute_tolerance(%Array{type: type} = array) when is_map_key(@last_digit, type) do
    largest = array |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()
    max(@tolerance, @last_digit[type] * largest)
  end

  defp absolute_tolerance(_array), do: @tolerance
end
