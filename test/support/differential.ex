defmodule Mlx.Differential do
  @moduledoc """
  Random calls of every operation, compared with Python MLX.

  A row is a description of an operation (`Mlx.Description`). The cases of a row are drawn from a seed and a number, so that
  each can be repeated alone:

  | variable | meaning | default |
  | --- | --- | --- |
  | `MLX_DIFFERENTIAL_SEED` | an integer | 1 |
  | `MLX_DIFFERENTIAL_CASES` | the number of cases, about | 10000 |
  | `MLX_DIFFERENTIAL_CASE` | the only case of each row to run | all |
  """

  alias Mlx.{Description, Descriptions}
  alias Mlx.Differential.{Case, Input, Judge}

  @seed 1
  @cases 10_000
  @chunk 200
  @most_shown 3

  @doc "All rows."
  def rows, do: Descriptions.drawn()

  @doc "The number of cases of a row."
  def case_count(row) do
    ceil(row.share * setting("CASES", @cases) / Enum.sum(for row <- rows(), do: row.share))
  end

  @doc """
  Runs the cases of a row. Gives how many have the same value and how many raise on both sides, and the failures as texts
  that say how to repeat them.
  """
  @spec run(%Description{}) :: %{equal: non_neg_integer(), raising: non_neg_integer(), failures: [String.t()]}
  def run(row) do
    row
    |> indices()
    |> Stream.chunk_every(@chunk)
    |> Enum.reduce(%{equal: 0, raising: 0, failures: []}, fn indices, found ->
      cases = for index <- indices, do: Case.new(row, setting("SEED", @seed), index)
      oracle = Task.async(fn -> cases |> Enum.map(&Case.question/1) |> Mlx.Oracle.ask_all() end)
      got = Enum.map(cases, &Case.run/1)
      outcomes = Enum.zip_with([cases, got, Task.await(oracle, :infinity)], &apply(__MODULE__, :compare, &1))

      %{
        equal: found.equal + Enum.count(outcomes, &(&1 == :equal)),
        raising: found.raising + Enum.count(outcomes, &(&1 == :both_raise)),
        failures: found.failures ++ for({:failure, text} <- outcomes, do: text)
      }
    end)
  end

  @doc "What a failed test says."
  def report(%{failures: failures}) do
    shown = failures |> Enum.take(@most_shown) |> Enum.join("\n\n")
    "#{length(failures)} cases differ from Python:\n\n#{shown}"
  end

  defp indices(row) do
    case System.get_env("MLX_DIFFERENTIAL_CASE") do
      nil -> 1..case_count(row)
      index -> [String.to_integer(index)]
    end
  end

  defp setting(name, default) do
    case System.get_env("MLX_DIFFERENTIAL_#{name}") do
      nil -> default
      text -> String.to_integer(text)
    end
  end

  @doc "Compares what a case gives in Elixir and in Python."
  def compare(a_case, got, wanted)

  def compare(a_case, _got, {:died, status}),
    do: failure(a_case, "Python dies with status #{inspect(status)}", "does not")

  def compare(_case, {:error, _message}, {:error, _reason}), do: :both_raise
  def compare(a_case, {:ok, got}, {:ok, wanted}), do: compare_values(a_case, got, wanted)

  def compare(%Case{row: %Description{refusals: text}}, {:ok, _got}, {:error, _reason}) when text != nil, do: :refused

  def compare(a_case, {:ok, got}, {:error, reason}) do
    failure(a_case, "Python raises #{reason}", "gives #{summary(got)}")
  end

  def compare(a_case, {:error, message}, {:ok, wanted}) do
    failure(a_case, "Python gives #{summary(wanted)}", "raises #{message}")
  end

  defp compare_values(a_case, got, wanted) do
    cond do
      kinds(got) != kinds(wanted) -> failure(a_case, "Python gives #{summary(wanted)}", "gives #{summary(got)}")
      distance(got, wanted) <= a_case.row.ulps or within_share?(got, wanted, a_case.row.of_largest) -> :equal
      Judge.otherwise?(a_case) and Judge.as_exact?(got, wanted, Case.run(a_case, Judge.stored(a_case))) -> :equal
      true -> differ(a_case, got, wanted)
    end
  end

  defp differ(a_case, got, wanted) do
    failure(a_case, "Python gives #{values(wanted)}", "gives #{values(got)}#{apart(distance(got, wanted), a_case.row)}")
  end

  defp apart(:infinity, _row), do: ""
  defp apart(distance, row), do: ", #{distance} units in the last place apart (allowed: #{row.ulps})"

  defp kinds(values), do: for({type, shape, _bytes} <- values, do: {type, shape})

  defp distance(got, wanted) do
    Enum.zip_reduce(got, wanted, 0, fn {type, _, a}, {_, _, b}, greatest ->
      max(greatest, Mlx.Ulps.distance(type, a, b))
    end)
  end

  defp within_share?(got, wanted, share) do
    Enum.all?(Enum.zip(got, wanted), fn pair ->
      [got, wanted] = for {type, shape, bytes} <- Tuple.to_list(pair), do: Mlx.from_binary(bytes, shape, type)
      Mlx.Ulps.within_share?(got, wanted, share)
    end)
  end

  defp summary(values), do: values |> kinds() |> Enum.map_join(", ", fn {type, shape} -> "#{type}#{inspect(shape)}" end)

  defp values(values) do
    Enum.map_join(values, ", ", fn {type, shape, bytes} -> bytes |> Mlx.from_binary(shape, type) |> inspect() end)
  end

  defp failure(a_case, python, elixir) do
    label = Description.label(a_case.row)
    bindings = a_case |> Case.inputs() |> Enum.map(&Input.bindings/1) |> Enum.zip() |> Enum.map(&Tuple.to_list/1)
    [for_elixir, for_python] = if bindings == [], do: [[], []], else: bindings

    text = """
    #{label}: #{python}; Elixir #{elixir}
    Elixir:
    #{lines(for_elixir ++ [Case.elixir(a_case)])}
    Python:
    #{lines(for_python ++ [a_case.python])}
    To repeat it:
      MLX_DIFFERENTIAL_SEED=#{a_case.seed} MLX_DIFFERENTIAL_CASE=#{a_case.index} bin/test test/mlx/differential_test.exs --only "operation:#{label}"
    """

    {:failure, text}
  end

  defp lines(lines), do: Enum.map_join(lines, "\n", &("  " <> &1))
end
