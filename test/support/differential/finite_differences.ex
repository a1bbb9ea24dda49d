defmodule Mlx.Differential.FiniteDifferences do
  @moduledoc """
  Gradients of the calls of rows, beside what small changes of one element do.

  The inputs' real numbers are taken as `:f64`, or as `:f32` where an operation has no other type. At an edge of a
  function the difference depends on the size of the change: there is nothing to compare with there.
  """

  import Mlx.Differential.Draw

  alias Mlx.Differential.{Case, Gradient, Input}

  @real [:f16, :bf16, :f32, :f64]
  @elements 6

  # The change of an element, how far the differences for it and for half of it may be apart, how far the gradient may be
  # off, and the size of rounding. All but the first are relative, to a difference below 1 absolute.
  @double_precision %{change: 1.0e-3, agreement: 1.0e-5, tolerance: 1.0e-9, rounding: 2.2e-16}
  @single_precision %{change: 5.0e-2, agreement: 1.0e-2, tolerance: 1.0e-2, rounding: 1.2e-7}

  # Functions of `Mlx` with gradients that differ, why, and for which inputs of which calls.
  defp excuses do
    every = fn _case, _input -> true end
    values = fn _case, input -> input == "v" end
    steps = "its steps can be as short as the changes"
    ties = "MLX, and Python, take the order of equal elements from another function"
    same = fn a_case, _input -> Enum.any?(Case.inputs(a_case), &repeats?/1) end
    several = "MLX, and Python, give the gradient of a place to all values that were put there"

    [
      {:stop_gradient, "by definition", every},
      {:round, steps, every},
      {:floor_divide, steps, every},
      {:divmod, "MLX defines it as 0", every},
      {:pow, "MLX, and Python, do not conjugate",
       fn a_case, _ -> Enum.any?(Case.inputs(a_case), &(&1.type == :c64)) end},
      {:block_masked_mm, "MLX, and Python, have the mask as a factor", fn _case, input -> input == "o" end},
      {:hadamard_transform, "MLX, and Python, take all Hadamard matrices for symmetric",
       fn a_case, _ ->
         [%Input{shape: shape}] = Case.inputs(a_case)
         not power_of_two?(elem(shape, tuple_size(shape) - 1))
       end},
      {:partition, ties, same},
      {:top_k, ties, same},
      {:put_at, several, values},
      {:put_along_axis, several, values},
      {:indexed_put, several, values}
    ]
  end

  defp repeats?(%Input{view: nil}), do: false
  defp repeats?(%Input{view: {strides, _offset}}), do: 0 in strides

  defp power_of_two?(size), do: Bitwise.band(size, size - 1) == 0

  @doc "Whether no gradients of a row's calls are compared with differences."
  def excused?(row),
    do: row.module == Mlx and row.function in [:stop_gradient, :round, :floor_divide, :divmod, :bitcast]

  @doc """
  Compares the gradients of a call at some elements. Gives how many could be compared, or what differs.
  """
  @spec check(%Case{}) :: {:ok, non_neg_integer()} | {:error, String.t()}
  def check(a_case) do
    compared = elements(a_case, :f64) || elements(a_case, :f32) || []

    case Enum.reject(compared, & &1.equal?) do
      [] -> {:ok, length(compared)}
      [wrong | _] -> {:error, describe(a_case, wrong)}
    end
  end

  defp describe(a_case, element) do
    """
    the gradient of #{Case.elixir(a_case)} for element #{element.index} of #{element.input} is #{element.gradient}, \
    and the difference #{element.difference} (case #{a_case.index} with seed #{a_case.seed})
    """
  end

  # `nil` where the operation has no such type.
  defp elements(a_case, type) do
    :rand.seed(:exsss, {a_case.seed, a_case.index, 0})
    {changed, others} = a_case |> Case.inputs() |> Enum.split_with(&(&1.type in @real))
    fixed = Map.new(others, &{&1.name, fixed(&1)})
    values = Map.new(changed, &{&1.name, values(&1, type)})

    if changed != [] and results_of_type?(Case.call(a_case, Map.merge(fixed, values)), type) do
      loss = fn values, part -> Gradient.loss(Case.call(a_case, Map.merge(fixed, values)), part) end
      compare(a_case, loss, values, precision(type))
    end
  rescue
    _error in [Mlx.Error, ArgumentError] -> nil
  end

  defp precision(:f32), do: @single_precision
  defp precision(:f64), do: @double_precision

  defp results_of_type?(results, type) do
    types = results |> Gradient.fractions() |> Enum.map(& &1.type) |> Enum.uniq()
    types == [type] or (type == :f32 and types in [[:c64], [:f32, :c64]])
  end

  # Large integers would hide what small changes do.
  defp fixed(%Input{values: :any} = input) do
    array = Input.stored(input)
    if Mlx.Type.subtype?(input.type, :integer), do: Mlx.remainder(array, 10), else: array
  end

  defp fixed(input), do: Input.stored(input)

  # Numbers of a moderate size, all different, and no whole ones, at which functions have edges. What was made for a
  # purpose stays.
  defp values(%Input{values: nil} = input, type), do: input |> Input.stored() |> Mlx.as_type(type)

  defp values(input, type) do
    array = Input.stored(input)
    moderate = for number <- Mlx.to_flat_list(array), do: moderate(number, input.values)
    moderate |> Mlx.array(type: type) |> Mlx.reshape(array.shape)
  end

  defp moderate(number, :any) when not is_number(number) or abs(number) > 4 or abs(number) < 0.01, do: real(0.1, 4)
  defp moderate(number, :positive), do: number + real(0.3, 0.304)
  defp moderate(number, _values) when trunc(number) == number, do: number + real(0.1, 0.4)
  defp moderate(number, _values), do: number + real(0.0, 0.004)

  defp compare(a_case, loss, values, precision) do
    masked = &loss.(&1, fn part -> Mlx.select(Mlx.is_finite(part), part, Mlx.zeros_like(part)) end)
    value = values |> masked.() |> Mlx.to_number()
    all_finite? = values |> loss.(& &1) |> Mlx.is_finite() |> Mlx.to_number()
    gradients = Mlx.grad(masked).(values)
    noise = if moderate?(value), do: 100 * precision.rounding * abs(value) / precision.change, else: :infinity

    for {name, array} <- values,
        not excused?(a_case, name),
        noise < 10 * precision.tolerance,
        index <- Enum.take_random(0..(Mlx.size(array) - 1)//1, @elements),
        [coarse, fine] <- [for(parts <- [1, 2], do: difference(masked, values, name, index, precision.change / parts))],
        close?(coarse, fine, precision.agreement),
        gradient = element(gradients[name], index),
        difference = (4 * fine - coarse) / 3,
        is_number(gradient) or (all_finite? and difference != 0) do
      equal? = close?(gradient, difference, precision.tolerance + noise)
      %{input: name, index: index, gradient: gradient, difference: difference, equal?: equal?}
    end
  end

  defp difference(loss, values, name, index, change) do
    array = values[name]
    place = Mlx.reshape(Mlx.equal(Mlx.arange(Mlx.size(array)), index), array.shape)

    [up, down] =
      for step <- [change, -change] do
        loss.(%{values | name => Mlx.select(place, Mlx.add(array, step), array)}) |> Mlx.to_number()
      end

    if moderate?(up) and moderate?(down), do: (up - down) / (2 * change)
  end

  defp moderate?(number), do: is_number(number) and abs(number) < 1.0e100

  defp close?(a, b, tolerance), do: is_number(a) and is_number(b) and abs(a - b) <= tolerance * max(1, abs(b))

  defp element(array, index), do: array |> Mlx.reshape({-1}) |> Mlx.at(index) |> Mlx.to_number()

  defp excused?(%Case{row: row} = a_case, input) do
    row.module == Mlx and
      Enum.any?(excuses(), fn {function, _reason, excused?} -> function == row.function and excused?.(a_case, input) end)
  end
end
