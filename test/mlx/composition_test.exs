defmodule Mlx.CompositionTest do
  use ExUnit.Case, async: true

  alias Mlx.Differential.Composition

  @compositions 500

  @tag :oracle
  @tag timeout: 300_000
  test "random functions, transformed up to three times, are Python's" do
    compositions = Enum.map(indices(), &Composition.new(seed(), &1))
    # One after the other: a kernel that both make at the same time can be read when it is half written.
    got = Enum.map(compositions, &Composition.run/1)
    wanted = compositions |> Enum.map(&Composition.question/1) |> Mlx.Oracle.ask_all()
    outcomes = Enum.zip_with([compositions, got, wanted], &outcome/1)

    assert for({:differs, text} <- outcomes, do: text) |> Enum.take(3) == []
    assert Enum.count(outcomes, &(&1 == :both_raise)) <= div(length(outcomes), 10)
  end

  # MLX is the same, and computes the same operations in the same order.
  defp outcome([_composition, {:ok, [{type, shape, got}]}, {:ok, [{type, shape, wanted}]}] = all) do
    if Mlx.Ulps.distance(type, got, wanted) == 0, do: :equal, else: differs(all)
  end

  defp outcome([_composition, {:error, _message}, {:error, _reason}]), do: :both_raise
  # Operations that MLX has no map for, which Mlx.MappingTest compares with a map by hand.
  defp outcome([_composition, {:ok, _result}, {:error, "ValueError: [Primitive::vmap] Not implemented for " <> _name}]),
    do: :only_mapped_here

  defp outcome(all), do: differs(all)

  defp differs([composition, got, wanted]) do
    {:differs, "Elixir: #{inspect(got)}\nPython: #{inspect(wanted)}\n#{Composition.describe(composition)}"}
  end

  defp seed, do: setting("SEED") || 1

  defp indices, do: if(index = setting("CASE"), do: [index], else: 1..@compositions)

  defp setting(name) do
    with text when text != nil <- System.get_env("MLX_DIFFERENTIAL_#{name}"), do: String.to_integer(text)
  end
end
