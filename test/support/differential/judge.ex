defmodule Mlx.Differential.Judge do
  @moduledoc """
  Decides where Elixir and Python differ because they compute in another order or in another type: `Mlx` adds long lines in
  pieces, and numbers of 16 bits in f32, and loses no NaN. The value in a wider type is the judge: Elixir's error
  may exceed Python's by no more than rounding.
  """

  alias Mlx.Array
  alias Mlx.Differential.{Case, Input}

  # The gradient of any operation can be a sum, too.
  @otherwise ~w(sum mean variance standard_deviation norm cumulative_sum softmax logsumexp reduce_min minmax)a ++
               ~w(cumulative_max cumulative_min)a

  # Products with packed integers, which have no wider type.
  @packed ~w(quantized_matmul gather_qmm)a

  # From so many elements on, sums of f32 and c64 are made of pieces.
  @long 4096

  @wider %{f16: :f32, bf16: :f32, f32: :f64, c64: :c64}
  @epsilon %{f16: 2.0 ** -10, bf16: 2.0 ** -7, f32: 2.0 ** -22, c64: 2.0 ** -21}

  @doc "Whether the result of the case may be another one than Python's."
  @spec otherwise?(%Case{}) :: boolean()
  def otherwise?(%Case{row: row}), do: row.function in (@otherwise ++ @packed)

  @doc "Whether the gradient of the case may be another one than Python's."
  @spec gradient_otherwise?(%Case{}) :: boolean()
  def gradient_otherwise?(a_case) do
    Enum.any?(Case.inputs(a_case), fn input ->
      input.type in [:f16, :bf16] or Tuple.product(input.shape) > @long or otherwise?(a_case)
    end)
  end

  @doc "The arrays that are stored for the case, in the wider type."
  @spec stored(%Case{}) :: %{String.t() => Array.t()}
  def stored(a_case) do
    Map.new(Case.inputs(a_case), fn input ->
      {input.name, Mlx.as_type(Input.stored(input), Map.get(@wider, input.type, wider_integer(a_case, input)))}
    end)
  end

  # Sums of integers wrap in Python.
  defp wider_integer(%Case{row: row}, input), do: if(row.function in @otherwise, do: :f64, else: input.type)

  @doc """
  Whether the results are as near to those of the wider type as Python's are. Where the operation has no wider type, they
  have to be near Python's.
  """
  @spec as_exact?([Mlx.Oracle.value()], [Mlx.Oracle.value()], {:ok, [Mlx.Oracle.value()]} | {:error, String.t()}) ::
          boolean()
  def as_exact?(got, python, {:error, _message}) do
    [got, python]
    |> Enum.zip()
    |> Enum.all?(fn {got, python} -> near?(got, parts(python), 4 * rounding(got, parts(python))) end)
  end

  def as_exact?(got, python, {:ok, exact}) do
    [got, python, exact]
    |> Enum.zip()
    |> Enum.all?(fn {got, python, exact} ->
      exact = parts(exact)
      near?(got, exact, error(parts(python), exact))
    end)
  end

  # :infinity is greater than any number.
  defp near?(_got, _exact, :infinity), do: true

  defp near?(got, exact, error_of_python) do
    error(parts(got), exact) <= 2 * error_of_python + rounding(got, exact)
  end

  defp rounding({type, _shape, _bytes}, exact), do: Map.get(@epsilon, type, 0.0) * greatest(exact)

  defp parts({type, shape, bytes}) do
    array = Mlx.from_binary(bytes, shape, type)
    parts = if type == :c64, do: [Mlx.real(array), Mlx.imag(array)], else: [array]
    Enum.flat_map(parts, &(&1 |> Mlx.as_type(:f64) |> Mlx.flatten() |> Mlx.to_list()))
  end

  defp greatest(numbers), do: numbers |> Enum.filter(&is_float/1) |> Enum.map(&abs/1) |> Enum.max(fn -> 0.0 end)

  # What is no number has to be the same; where only Python has none, its sum or a square was too large for its type.
  defp error(numbers, exact) do
    Enum.zip_reduce(numbers, exact, 0.0, fn
      number, wanted, error when is_float(number) and is_float(wanted) -> max(error, abs(number - wanted))
      same, same, error -> error
      _number, _wanted, _error -> :infinity
    end)
  end
end
