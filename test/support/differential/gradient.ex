defmodule Mlx.Differential.Gradient do
  @moduledoc """
  Gradients of the calls of rows: for all inputs with fractions, of a number made of all results with fractions.
  """

  alias Mlx.Array
  alias Mlx.Differential.{Case, Input}

  @types [:f16, :bf16, :f32, :f64, :c64]

  # The sum of the elements, each with a weight of its own, so that none of them is like another.
  @weighted "mx.sum(p * mx.cos(mx.arange(p.size, dtype=mx.float32)).reshape(p.shape).astype(p.dtype))"
  @parts "([mx.real(r), mx.imag(r)] if r.dtype == mx.complex64 else [r])"
  @results "(results if isinstance(results, (list, tuple)) else [results])"
  @fractions "isinstance(r, mx.array) and mx.issubdtype(r.dtype, mx.inexact)"
  @loss "(lambda results: sum(#{@weighted} for r in #{@results} if #{@fractions} for p in #{@parts}))"

  # Functions of which Python has the values of `:f64` in full, and the gradients with the digits of `:f32`.
  @single_precision ~w(expm1 log2 log10 tan)a

  @doc "Whether Python computes the gradient in full, and without writing to memory that is not its own, or ending."
  def python_right?(%Case{row: row} = a_case) do
    options = Enum.find(a_case.arguments, [], &Keyword.keyword?/1)

    case row.function do
      function when function in [:cumulative_max, :cumulative_min] ->
        options[:inclusive] and Enum.all?(Case.inputs(a_case), &(&1.values != :any))

      :conv ->
        options[:padding] == :valid and List.wrap(options[:input_dilation]) |> Enum.all?(&(&1 == 1))

      :conv_transpose ->
        for(name <- [:padding, :output_padding], value <- List.wrap(options[name]), do: value) |> Enum.all?(&(&1 == 0))

      function when function in @single_precision ->
        Enum.all?(inputs(a_case), &(&1.type != :f64))

      :gather_qmm ->
        Enum.all?(inputs(a_case), &(&1.type == :f32))

      _other ->
        true
    end
  end

  @doc "The inputs that a gradient is for."
  @spec inputs(%Case{}) :: [%Input{}]
  def inputs(a_case), do: for(%Input{type: type} = input <- Case.inputs(a_case), type in @types, do: input)

  @doc "Whether the call gives a number that has a gradient."
  @spec differentiable?(%Case{}) :: boolean()
  def differentiable?(a_case) do
    inputs(a_case) != [] and fractions(Case.call(a_case, Case.stored(a_case))) != []
  rescue
    _error in [Mlx.Error, ArgumentError] -> false
  end

  @doc "The gradients in Elixir, or the message of what it raises."
  @spec run(%Case{}, %{String.t() => Array.t()}) :: {:ok, [Mlx.Oracle.value()]} | {:error, String.t()}
  def run(a_case, stored \\ nil) do
    names = for input <- inputs(a_case), do: input.name
    {differentiated, others} = Map.split(stored || Case.stored(a_case), names)

    Case.values(fn ->
      gradients = Mlx.grad(&loss(Case.call(a_case, Map.merge(others, &1)))).(differentiated)
      for name <- names, do: gradients[name]
    end)
  end

  @doc "The question for the oracle."
  def question(a_case) do
    inputs = inputs(a_case)
    names = Enum.map_join(inputs, ", ", & &1.name)
    argnums = Enum.to_list(0..(length(inputs) - 1))
    python = "mx.grad(lambda #{names}: #{@loss}(#{a_case.python}), argnums=#{inspect(argnums)})(#{names})"
    {python, Enum.map(Case.inputs(a_case), &Input.value/1)}
  end

  @doc "The number of all results; `part` is applied to each of them first."
  def loss(results, part \\ & &1) do
    results |> fractions() |> Enum.flat_map(&parts/1) |> Enum.map(&weighted(part.(&1))) |> Enum.reduce(&Mlx.add(&2, &1))
  end

  @doc "The results that are no whole numbers."
  def fractions(results) do
    for %Array{type: type} = array <- results |> List.wrap() |> Enum.flat_map(&elements/1), type in @types, do: array
  end

  defp elements(tuple) when is_tuple(tuple), do: Tuple.to_list(tuple)
  defp elements(other), do: [other]

  defp parts(%Array{type: :c64} = array), do: [Mlx.real(array), Mlx.imag(array)]
  defp parts(array), do: [array]

  defp weighted(%Array{shape: shape, type: type} = part) do
    weights = shape |> Tuple.product() |> Mlx.arange(type: :f32) |> Mlx.cos() |> Mlx.reshape(shape) |> Mlx.as_type(type)
    Mlx.sum(Mlx.multiply(part, weights))
  end
end
