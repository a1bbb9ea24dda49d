defmodule Mlx.NN.CasesTest do
  # Every layer, activation function, loss and initializer of Python's mlx.nn.
  use ExUnit.Case, async: true

  import Mlx.LayerOracle
  import Mlx.Oracle

  alias Mlx.LayerCases

  @moduletag :oracle

  # Names of Python's that have no case.
  @layers_without_case %{
    "Module" => "any struct is a module: see Mlx.NN.Layer",
    "QQLinear" => "MLX computes it on GPUs only: see Mlx.NN.QuantizationTest"
  }

  for {{name, _make, python, _inputs, _options}, index} <- Enum.with_index(LayerCases.layers()) do
    test "#{index}: #{name} as #{python}" do
      {_name, make, python, inputs, options} = Enum.at(LayerCases.layers(), unquote(index))
      assert_layer(make, python, inputs, options)
      # A mask in single precision is refused, there and here.
      if not String.contains?(inspect(options), "create_additive_causal_mask"),
        do: assert_half_precision(make, python, inputs, options)
    end
  end

  # Of half precision Mlx.softmax/2 sums more exactly than Python.
  @single_precision ~w(softmax softmin)

  for {{name, _fun, python}, index} <- Enum.with_index(LayerCases.activations()) do
    test "#{index}: activation #{python}" do
      {_name, fun, python} = Enum.at(LayerCases.activations(), unquote(index))
      types = if unquote(name in @single_precision), do: [:f32], else: [:f32, :bf16]
      for type <- types, do: assert_function(fun, python, [wave({6, 4}, type)])
    end
  end

  for {{name, _fun, python, _inputs}, index} <- Enum.with_index(LayerCases.losses()) do
    test "#{index}: #{name} as #{python}" do
      {_name, fun, python, inputs} = Enum.at(LayerCases.losses(), unquote(index))
      assert_function(fun, python, inputs)
    end
  end

  test "initializers give Python's values after a seed" do
    for {_name, initialize, python, shape} <- LayerCases.initializers() do
      Mlx.Random.seed(3)
      python = "[mx.random.seed(3), (#{python})(mx.zeros([#{shape |> Tuple.to_list() |> Enum.join(", ")}]))][1]"
      assert_oracle(initialize.(Mlx.zeros(shape)), python)
    end
  end

  test "every layer of Python has a case" do
    names =
      python_names("[n for n in dir(nn) if isinstance(getattr(nn, n), type) and issubclass(getattr(nn, n), nn.Module)]")

    cases = for {name, _, _, _, _} <- LayerCases.layers(), do: name
    assert Enum.sort(Enum.uniq(cases) ++ Map.keys(@layers_without_case)) == Enum.sort(names)
  end

  test "every activation function of Python has a case" do
    names =
      python_names("[n for n in dir(nn.layers.activations) if n[0].islower() and n != 'partial' and n in dir(nn)]")

    assert Enum.sort(Enum.uniq(for {name, _, _} <- LayerCases.activations(), do: name)) == Enum.sort(names)
  end

  test "every loss of Python has a case" do
    names = python_names("[n for n in dir(nn.losses) if n.endswith('_loss') or n.endswith('_entropy')]")
    assert Enum.sort(Enum.uniq(for {name, _, _, _} <- LayerCases.losses(), do: name)) == Enum.sort(names)
  end

  test "every initializer of Python has a case" do
    names = python_names("[n for n in dir(nn.init) if n[0].islower() and n not in ('math', 'mx')]")
    assert Enum.sort(Enum.uniq(for {name, _, _, _} <- LayerCases.initializers(), do: name)) == Enum.sort(names)
  end

  # The oracle answers with arrays: the bytes of a text.
  defp python_names(expression) do
    "mx.array(list(chr(10).join(#{expression}).encode()), mx.uint8)" |> eval() |> Mlx.to_binary() |> String.split("\n")
  end
end
