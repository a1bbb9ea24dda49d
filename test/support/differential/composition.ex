defmodule Mlx.Differential.Composition do
  @moduledoc """
  Random functions of two arrays, transformed up to three times, as source text in Elixir and in Python.

  Functions are made of others: `{elixir, python}` is the text of one. Each takes `x`, an array with axes of one size, and
  `y`, of the same shape or a number, and gives an array of the shape of `x`. The names have the level in them, so that
  a function inside can use the arrays of one around it.
  """

  import Mlx.Differential.Draw
  import Mlx.Differential.Input, only: [random: 2]

  alias Mlx.Differential.{Case, Input}

  @size 3
  @most_transforms 3

  @unary [
    {"Mlx.sin(%)", "mx.sin(%)"},
    {"Mlx.cos(%)", "mx.cos(%)"},
    {"Mlx.tanh(%)", "mx.tanh(%)"},
    {"Mlx.sigmoid(%)", "mx.sigmoid(%)"},
    {"Mlx.square(%)", "mx.square(%)"},
    {"Mlx.negate(%)", "mx.negative(%)"},
    {"Mlx.mean(%)", "mx.mean(%)"},
    {"Mlx.erf(%)", "mx.erf(%)"},
    {"Mlx.stop_gradient(%)", "mx.stop_gradient(%)"},
    {"Mlx.multiply(%, 0.5)", "(% * 0.5)"},
    {"Mlx.rsqrt(Mlx.add(Mlx.square(%), 1))", "mx.rsqrt(mx.square(%) + 1)"}
  ]

  # For arrays that have axes.
  @along_axes [
    {"Mlx.cumulative_sum(%, axis: -1)", "mx.cumsum(%, axis=-1)"},
    {"Mlx.softmax(%, axes: [0])", "mx.softmax(%, axis=0)"},
    {"Mlx.logsumexp(%, axes: [-1], keep_axes: true)", "mx.logsumexp(%, axis=-1, keepdims=True)"},
    {"Mlx.reverse(%, axes: [0])", "%[::-1]"},
    {"Mlx.reduce_max(%, axes: [0], keep_axes: true)", "mx.max(%, axis=0, keepdims=True)"},
    {"Mlx.sort(%, axis: 0)", "mx.sort(%, axis=0)"},
    {"Mlx.roll(%, 1, axes: [0])", "mx.roll(%, 1, axis=0)"}
  ]

  @binary [
    {"Mlx.add(%, %)", "(% + %)"},
    {"Mlx.multiply(%, %)", "(% * %)"},
    {"Mlx.subtract(%, %)", "(% - %)"},
    {"Mlx.max(%, %)", "mx.maximum(%, %)"},
    {"Mlx.divide(%, Mlx.add(Mlx.square(%), 2))", "(% / (mx.square(%) + 2))"}
  ]

  @of_derivatives [:grad, :grad, :value_and_grad, :vjp, :jvp, :checkpoint, :custom_function]
  @of_axes [:vmap, :vmap, :vmap_whole]

  # What is done with the result `r` of a transformed function.
  @continued [
    {"%", "%"},
    {"then(%, fn r -> Mlx.multiply(r, $x) end)", "(lambda r: r * $x)(%)"},
    {"then(%, fn r -> Mlx.add(Mlx.tanh(r), Mlx.mean($y)) end)", "(lambda r: mx.tanh(r) + mx.mean($y))(%)"}
  ]

  @enforce_keys [:seed, :index, :elixir, :python, :x, :y]
  defstruct [:seed, :index, :elixir, :python, :x, :y]

  @doc "Draws a function, and arrays for it. The seed and the index are all that it depends on."
  def new(seed, index) do
    :rand.seed(:exsss, {seed, 0, index})
    rank = one_of(0..3)
    {elixir, python} = transformed(one_of(1..@most_transforms), 1, rank, false)
    [x, y] = for name <- ["x", "y"], do: random(name, shape: Tuple.duplicate(@size, rank), type: :f32, values: :finite)
    %__MODULE__{seed: seed, index: index, elixir: elixir, python: python, x: x, y: y}
  end

  @doc "What Elixir gives."
  @spec run(%__MODULE__{}) :: {:ok, [Mlx.Oracle.value()]} | {:error, String.t()}
  def run(composition) do
    {function, []} = Code.eval_string(composition.elixir)
    Case.values(fn -> [function.(Input.build(composition.x), Input.build(composition.y))] end)
  end

  @doc "The question for the oracle."
  def question(composition) do
    {"#{composition.python}(#{composition.x}, #{composition.y})",
     [Input.value(composition.x), Input.value(composition.y)]}
  end

  @doc "How to repeat it."
  def describe(composition) do
    bindings = for input <- [composition.x, composition.y], do: Input.bindings(input)
    [elixir, python] = Enum.zip_with(bindings, & &1)

    """
    Elixir:
      #{Enum.join(elixir, "\n  ")}
      f = #{composition.elixir}
      f.(#{inspect(composition.x)}, #{inspect(composition.y)})
    Python:
      #{Enum.join(python, "\n  ")}
      #{composition.python}(#{composition.x}, #{composition.y})
    To repeat it:
      MLX_DIFFERENTIAL_SEED=#{composition.seed} MLX_DIFFERENTIAL_CASE=#{composition.index} bin/test test/mlx/composition_test.exs
    """
  end

  defp transformed(0, level, rank, _number?), do: plain(rank) |> function_at(level)

  defp transformed(count, level, rank, number?) do
    kind = kind(rank)
    {inner_rank, inner_number?} = inner(kind, rank, number?)
    inside = (count - 1) |> transformed(level + 1, inner_rank, inner_number?) |> captured(kind)
    @continued |> one_of() |> fill([call(kind, inside, rank, number?)]) |> function_at(level)
  end

  # A compiler makes kernels of compiled functions, which takes its time.
  defp kind(rank) do
    cond do
      chance?(75) -> :compile
      rank == 0 -> one_of(@of_derivatives)
      true -> one_of(@of_derivatives ++ @of_axes)
    end
  end

  defp inner(:vmap, rank, number?), do: {rank - 1, number?}
  defp inner(:vmap_whole, rank, _number?), do: {rank - 1, true}
  defp inner(_kind, rank, number?), do: {rank, number?}

  # Sometimes an array of the function around, where Python allows for it.
  defp captured(inside, kind) do
    if kind not in [:checkpoint, :compile, :custom_function] and chance?(3) do
      fill({"fn a, b -> Mlx.multiply((%).(a, b), Mlx.mean($x)) end", "(lambda a, b: %(a, b) * mx.mean($x))"}, [inside])
    else
      inside
    end
  end

  defp call(:grad, inside, _rank, number?) do
    number = if number?, do: 0, else: one_of(0..1)

    fill(
      {"Mlx.grad(fn a, b -> Mlx.sum((%).(a, b)) end, argnums: #{number}).($x, $y)",
       "mx.grad(lambda a, b: mx.sum(%(a, b)), argnums=#{number})($x, $y)"},
      [inside]
    )
  end

  defp call(:value_and_grad, inside, _rank, _number?) do
    fill(
      {"Mlx.value_and_grad(fn a, b -> Mlx.sum((%).(a, b)) end).($x, $y) |> then(fn {v, g} -> Mlx.multiply(v, g) end)",
       "(lambda r: r[0] * r[1])(mx.value_and_grad(lambda a, b: mx.sum(%(a, b)))($x, $y))"},
      [inside]
    )
  end

  defp call(:vjp, inside, _rank, _number?) do
    fill(
      {"Mlx.vjp(%, [$x, $y], Mlx.cos($x)) |> then(fn {v, [dx, dy]} -> Mlx.add(Mlx.multiply(v, dx), Mlx.mean(dy)) end)",
       "(lambda r: r[0][0] * r[1][0] + mx.mean(r[1][1]))(mx.vjp(%, [$x, $y], [mx.cos($x)]))"},
      [inside]
    )
  end

  defp call(:jvp, inside, _rank, _number?) do
    fill(
      {"Mlx.jvp(%, [$x, $y], [Mlx.sin($x), Mlx.cos($y)]) |> then(fn {v, t} -> Mlx.add(v, t) end)",
       "(lambda r: r[0][0] + r[1][0])(mx.jvp(%, [$x, $y], [mx.sin($x), mx.cos($y)]))"},
      [inside]
    )
  end

  defp call(:vmap, inside, rank, number?) do
    {from, to} = {one_of(-rank..(rank - 1)), one_of(-rank..(rank - 1))}
    {elixir, python} = if number?, do: {"[#{from}, nil]", "(#{from}, None)"}, else: {"#{from}", "#{from}"}

    fill(
      {"Mlx.vmap(%, in_axes: #{elixir}, out_axes: #{to}).($x, $y)",
       "mx.vmap(%, in_axes=#{python}, out_axes=#{to})($x, $y)"},
      [inside]
    )
  end

  defp call(:vmap_whole, inside, _rank, _number?) do
    fill(
      {"Mlx.vmap(%, in_axes: [0, nil]).($x, Mlx.mean($y))", "mx.vmap(%, in_axes=(0, None))($x, mx.mean($y))"},
      [inside]
    )
  end

  defp call(:custom_function, inside, _rank, number?) do
    {elixir, python} =
      if number?, do: {"Mlx.sum(Mlx.multiply(c, o))", "mx.sum(c * o)"}, else: {"Mlx.multiply(c, o)", "c * o"}

    fill(
      {"Mlx.custom_function(%, vjp: fn [_, b], c, o -> [Mlx.multiply(c, Mlx.cos(b)), #{elixir}] end).($x, $y)",
       "(lambda f: (f.vjp(lambda p, c, o: (c * mx.cos(p[1]), #{python})), f)[1])(mx.custom_function(%))($x, $y)"},
      [inside]
    )
  end

  defp call(kind, inside, _rank, _number?) do
    fill({"Mlx.#{kind}(%).($x, $y)", "mx.#{kind}(%)($x, $y)"}, [inside])
  end

  defp function_at({elixir, python}, level) do
    [elixir, python] =
      for text <- [elixir, python], do: text |> String.replace("$x", "x#{level}") |> String.replace("$y", "y#{level}")

    {"fn x#{level}, y#{level} -> #{elixir} end", "(lambda x#{level}, y#{level}: #{python})"}
  end

  # Of the shape of `x`, whatever the expression has.
  defp plain(rank) do
    fill({"Mlx.multiply($x, Mlx.add(%, Mlx.mean($y)))", "($x * (% + mx.mean($y)))"}, [expression(3, rank)])
  end

  defp expression(0, _rank),
    do: one_of([{"$x", "$x"}, {"$x", "$x"}, {"$y", "$y"}, {"Mlx.array(0.75)", "mx.array(0.75)"}])

  defp expression(depth, rank) do
    operand = fn -> expression(depth - 1, rank) end

    case :rand.uniform(3) do
      1 -> fill(one_of(@unary), [operand.()])
      2 when rank > 0 -> fill(one_of(@along_axes), [fill({"Mlx.add($x, %)", "($x + %)"}, [operand.()])])
      _ -> fill(one_of(@binary), [operand.(), operand.()])
    end
  end

  defp fill({elixir, python}, operands) do
    {for_elixir, for_python} = Enum.unzip(operands)
    {replace(elixir, for_elixir), replace(python, for_python)}
  end

  defp replace(template, operands) do
    template |> String.split("%") |> Enum.zip_with(operands ++ [""], &(&1 <> &2)) |> Enum.join()
  end
end
