defmodule Mlx.Transforms.GradientTest do
  use ExUnit.Case, async: true

  alias Mlx.{Description, Differential}
  alias Mlx.Differential.{Case, FiniteDifferences, Gradient, Judge}

  # Cases that are compared with Python, how many are drawn for them, and how many elements are compared with differences.
  @cases 12
  @drawn 120
  @elements 12

  rows = for row <- Differential.rows(), row.variant in [nil, "mask"], do: row

  for row <- rows, row.no_gradient == nil do
    @tag :oracle
    @tag operation: Description.label(row)
    test "the gradient of #{Description.label(row)} is Python's and that of differences" do
      cases = cases(unquote(Description.label(row)), @cases)

      assert cases != [], """
      no call of #{unquote(Description.label(row))} has a gradient: add no_gradient: "gives no fractions", or why else, to \
      its description in test/descriptions
      """

      compare_with_python(Enum.filter(cases, &Gradient.python_right?/1))
      compare_with_differences(cases)
    end
  end

  for row <- rows, reason = row.no_gradient do
    test "#{Description.label(row)} has no gradient: #{reason}" do
      for a_case <- cases(unquote(Description.label(row)), 4) do
        assert {:error, _} = Gradient.run(a_case), Case.elixir(a_case)
      end
    end
  end

  test "the value of borders has derivatives, and can be mapped" do
    x = Mlx.array([[1.0, 2.0, 3.0]])
    bordered = fn value, x -> Mlx.pad(x, [{1, 1}, {0, 2}], value: value) end
    loss = fn value, x -> value |> bordered.(x) |> Mlx.pow(3) |> Mlx.sum() end
    {of_value, of_x} = Mlx.grad(loss, argnums: [0, 1]).(Mlx.array(2.0), x)

    # 12 of the 15 elements are the value.
    assert {Mlx.to_number(of_value), Mlx.to_list(of_x)} == {12 * 3 * 4.0, [[3.0, 12.0, 27.0]]}
    assert Mlx.to_number(Mlx.grad(&loss.(&1, x)).(Mlx.array(2.0))) == 144.0
    {_value, tangent} = Mlx.jvp(&loss.(&1, x), [Mlx.array(2.0)], [Mlx.array(0.5)])
    assert Mlx.to_number(tangent) == 72.0

    values = Mlx.array([2.0, 5.0])
    mapped = Mlx.vmap(&bordered.(&1, x)).(values)
    assert Mlx.to_list(mapped) == for(value <- [2.0, 5.0], do: value |> bordered.(x) |> Mlx.to_list())
  end

  # MLX's convolutions of derivatives differ from those that people write.
  for {name, options, input, kernel} <- [
        {"with borders", [padding: 1], {1, 5, 4, 2}, {3, 3, 3, 2}},
        {"with steps and borders that differ", [padding: [{1, 2}, {0, 1}], strides: 2], {1, 6, 5, 2}, {2, 3, 2, 2}},
        {"with groups and a flipped kernel", [padding: 2, feature_group_size: 2, flip: true], {2, 4, 4}, {2, 3, 2}},
        {"with gaps", [padding: [{3, 0}], input_dilation: 2, kernel_dilation: 2, strides: 2], {1, 4, 2}, {3, 2, 2}}
      ] do
    test "second derivatives of convolutions #{name} are those of differences" do
      {options, input, kernel} = {unquote(options), unquote(Macro.escape(input)), unquote(Macro.escape(kernel))}
      [x, w] = for {shape, seed} <- [{input, 1}, {kernel, 2}], do: Mlx.Random.normal(shape, key: Mlx.Random.key(seed))
      loss = fn x, w -> Mlx.sum(Mlx.pow(Mlx.conv(x, w, options), 3)) end

      of_gradient = fn x, w ->
        {dx, dw} = Mlx.grad(loss, argnums: [0, 1]).(x, w)
        Mlx.add(Mlx.sum(Mlx.square(dx)), Mlx.sum(dw))
      end

      {dx, dw} = Mlx.grad(of_gradient, argnums: [0, 1]).(x, w)
      [tx, tw] = for {array, seed} <- [{x, 3}, {w, 4}], do: Mlx.Random.normal(array.shape, key: Mlx.Random.key(seed))
      along = Mlx.to_number(Mlx.add(Mlx.sum(Mlx.multiply(dx, tx)), Mlx.sum(Mlx.multiply(dw, tw))))

      [up, down] =
        for step <- [0.01, -0.01] do
          Mlx.to_number(of_gradient.(Mlx.add(x, Mlx.multiply(tx, step)), Mlx.add(w, Mlx.multiply(tw, step))))
        end

      assert_in_delta along, (up - down) / 0.02, 0.01 * abs(along)
    end
  end

  defp cases(label, count) do
    row = Enum.find(Differential.rows(), &(Description.label(&1) == label))
    seed = String.to_integer(System.get_env("MLX_DIFFERENTIAL_SEED", "1"))

    1..@drawn
    |> Stream.map(&Case.new(row, seed, &1))
    |> Stream.filter(&Gradient.differentiable?/1)
    |> Enum.take(count)
  end

  defp compare_with_python(cases) do
    answers = cases |> Enum.map(&Gradient.question/1) |> Mlx.Oracle.ask_all()

    for {a_case, answer} <- Enum.zip(cases, answers) do
      got = Gradient.run(a_case)

      case Differential.compare(a_case, got, answer) do
        {:failure, text} -> assert a_case.row.other_gradient || as_exact?(a_case, got, answer), text
        _equal -> :ok
      end
    end
  end

  defp as_exact?(a_case, {:ok, got}, {:ok, python}) do
    Judge.gradient_otherwise?(a_case) and Judge.as_exact?(got, python, Gradient.run(a_case, Judge.stored(a_case)))
  end

  defp as_exact?(_case, _got, _python), do: false

  defp compare_with_differences(cases) do
    count =
      Enum.reduce_while(cases, 0, fn a_case, count ->
        if count < @elements, do: {:cont, count + compared_elements(a_case)}, else: {:halt, count}
      end)

    assert count > 0 or FiniteDifferences.excused?(hd(cases).row), "no gradient was compared with a difference"
  end

  defp compared_elements(a_case) do
    case FiniteDifferences.check(a_case) do
      {:ok, count} -> count
      {:error, text} -> flunk(text)
    end
  end
end
