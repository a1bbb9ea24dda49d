defmodule Mlx.Differential.Case do
  @moduledoc "One call that is made in Elixir and in Python. Its seed, row and index are all that it depends on."

  alias Mlx.Description
  alias Mlx.Differential.Input

  @enforce_keys [:row, :seed, :index, :arguments, :python]
  defstruct [:row, :seed, :index, :arguments, :python]

  @doc "Draws a case."
  def new(row, seed, index) do
    :rand.seed(:exsss, {seed, :erlang.phash2(Description.label(row)), index})
    {arguments, python} = row.draw.()
    %__MODULE__{row: row, seed: seed, index: index, arguments: arguments, python: python}
  end

  @doc "The question for the oracle."
  def question(%__MODULE__{} = a_case), do: {a_case.python, Enum.map(inputs(a_case), &Input.value/1)}

  @doc "The inputs of a case, each once."
  def inputs(%__MODULE__{} = a_case), do: a_case.arguments |> find() |> Enum.uniq_by(& &1.name)

  defp find(%Input{} = input), do: [input]
  defp find(list) when is_list(list), do: Enum.flat_map(list, &find/1)
  defp find(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> find()
  defp find(_other), do: []

  @doc "Makes the call in Elixir: the values of its result, or the message of what it raises."
  @spec run(%__MODULE__{}, %{String.t() => Mlx.Array.t()}) :: {:ok, [Mlx.Oracle.value()]} | {:error, String.t()}
  def run(%__MODULE__{} = a_case, stored \\ nil) do
    values(fn -> a_case |> call(stored || stored(a_case)) |> results() end)
  end

  @doc "The inputs' stored arrays by their names."
  @spec stored(%__MODULE__{}) :: %{String.t() => Mlx.Array.t()}
  def stored(a_case), do: Map.new(inputs(a_case), &{&1.name, Input.stored(&1)})

  @doc "The values of the arrays that a function gives, or the message of what it raises."
  @spec values((-> [Mlx.Array.t()])) :: {:ok, [Mlx.Oracle.value()]} | {:error, String.t()}
  def values(fun) do
    arrays = fun.()
    Mlx.eval(arrays)
    {:ok, for(array <- arrays, do: {array.type, array.shape, Mlx.to_binary(array)})}
  rescue
    error in [Mlx.Error, ArgumentError] -> {:error, Exception.message(error)}
  end

  @doc "Makes the call with other arrays in the place of the stored ones, given by the names of the inputs."
  @spec call(%__MODULE__{}, %{String.t() => Mlx.Array.t()}) :: term()
  def call(%__MODULE__{row: row} = a_case, stored) do
    apply(row.module, row.function, build(a_case.arguments, stored))
  end

  defp build(%Input{} = input, stored), do: Input.view(input, Map.fetch!(stored, input.name))
  defp build(list, stored) when is_list(list), do: Enum.map(list, &build(&1, stored))
  defp build(tuple, stored) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> build(stored) |> List.to_tuple()
  defp build(other, _stored), do: other

  @types Mlx.Type.all()

  # A number, or a list of numbers in a list, is an array, and a type an array of it, as in the oracle's server.
  defp results(type) when type in @types, do: [Mlx.zeros({}, type: type)]
  defp results(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> results()
  defp results(list) when is_list(list), do: Enum.map(list, &Mlx.array/1)
  defp results(one), do: [Mlx.array(one)]

  @doc "The call in Elixir."
  def elixir(%__MODULE__{row: row, arguments: arguments}) do
    arguments = arguments |> inspect(limit: :infinity, charlists: :as_lists) |> String.slice(1..-2//1)
    "#{inspect(row.module)}.#{row.function}(#{arguments})"
  end
end
