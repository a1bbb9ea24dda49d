defmodule Mlx.LayerOracle do
  @moduledoc """
  Python's layers and functions of `mlx.nn`, which say what those of `Mlx.NN` have to give. See `test/oracle/layers.py`.
  """

  import ExUnit.Assertions
  import Mlx.Oracle

  alias Mlx.NN
  alias Mlx.Tree

  @seed 7

  @doc "An array of different numbers between -1.5 and 1.5."
  def wave(shape, type \\ :f32, start \\ 0) do
    Mlx.arange(start, start + Tuple.product(shape), type: :f32)
    |> Mlx.multiply(0.7)
    |> Mlx.sin()
    |> Mlx.multiply(1.5)
    |> Mlx.reshape(shape)
    |> Mlx.as_type(type)
  end

  @doc "Asserts that a function of a list of inputs gives Python's values, and their gradients."
  def assert_function(fun, python, inputs, options \\ []) do
    {names, arrays} = named("x", inputs)
    got = with_gradients(fun, inputs)
    assert_oracle(got, "layers.function(#{python}, #{Enum.join(names, ", ")})", arrays, options)
  end

  @doc """
  Asserts that a layer begins with Python's parameters after the same seed, and with other ones gives Python's values for
  the inputs, their gradients and those of the parameters, and the parameters after the call.

  Options: `:call`, a function of the layer and the inputs with Python's, default a call with all of them; `:train`, whether
  in the mode for training; `:gradients`, whether these and what is after the call are compared; `:as_made`, whether the
  parameters stay as they are at first; `:ulps`.
  """
  def assert_layer(make, python, inputs, options \\ []) do
    Mlx.Random.seed(@seed)
    layer = make.()
    assert_initial(layer, python)
    layer = if options[:as_made], do: layer, else: with_other_parameters(layer)
    {expression, arrays} = question(layer, python, inputs, options)
    assert_oracle(results(layer, inputs, options), expression, arrays, Keyword.take(options, [:ulps, :share]))
  end

  @doc """
  Asserts that a layer of half precision gives results of Python's types and shapes for inputs of half precision. Their
  values differ more, as Mlx makes some sums more exactly.
  """
  def assert_half_precision(make, python, inputs, options \\ []) do
    half = &if(&1.type == :f32, do: Mlx.as_type(&1, :bf16), else: &1)
    {layer, inputs} = {Tree.map(make.(), half), Enum.map(inputs, half)}
    {expression, arrays} = question(layer, python, inputs, options)
    forms = fn results -> for array <- List.wrap(results), do: {array.type, array.shape} end
    assert forms.(results(layer, inputs, options)) == forms.(eval(expression, arrays)), expression
  end

  # What is compared: the outputs, the gradients of the inputs and of the parameters, and the parameters after the call.
  defp results(layer, inputs, options) do
    {call, _python} = call(options)
    layer = if train?(options), do: layer, else: NN.eval(layer)
    {outputs, after_call} = NN.run(layer, &call.(&1, inputs))

    if gradients?(options) do
      with_gradients(&call.(layer, &1), inputs) ++
        gradients(layer, &call.(&1, inputs)) ++ for {_path, array} <- sorted(after_call), do: array
    else
      listed(outputs)
    end
  end

  # The same for Python: an expression and its arrays.
  defp question(layer, python, inputs, options) do
    {_call, python_call} = call(options)
    {paths, parameters} = layer |> sorted() |> Enum.unzip()
    {names, parameters} = named("p", parameters)
    {inputs_names, inputs} = named("x", inputs)

    arguments = [
      python,
      inspect(paths, limit: :infinity, printable_limit: :infinity),
      "[#{Enum.join(names, ", ")}]",
      "[#{Enum.join(inputs_names, ", ")}]",
      python_call,
      python(train?(options)),
      python(gradients?(options))
    ]

    {"layers.layer(#{Enum.join(arguments, ", ")})", inputs ++ parameters}
  end

  defp call(options), do: Keyword.get(options, :call, {&called/2, "None"})
  defp train?(options), do: Keyword.get(options, :train, true)
  defp gradients?(options), do: Keyword.get(options, :gradients, true)

  defp python(true), do: "True"
  defp python(false), do: "False"

  defp called(layer, [input]), do: NN.forward(input, layer)
  defp called(layer, inputs), do: NN.forward(List.to_tuple(inputs), layer)

  defp assert_initial(layer, python) do
    case sorted(layer) do
      [] -> :ok
      parameters -> assert_oracle(Enum.map(parameters, &elem(&1, 1)), "layers.initial(lambda: #{python}, #{@seed})")
    end
  end

  # Those that layers begin with are often zeros and ones, for which too much is equal. Variances are positive.
  defp with_other_parameters(layer) do
    Tree.map_with_path(layer, fn path, array ->
      other = wave(array.shape, array.type, byte_size(path))
      if path =~ "running_var", do: Mlx.add(1, Mlx.abs(other)), else: other
    end)
  end

  defp with_gradients(fun, inputs) do
    wanted = Enum.map(inputs, &Mlx.Type.subtype?(&1.type, :float))
    chosen = for {array, true} <- Enum.zip(inputs, wanted), do: array

    loss = fn some ->
      {given, []} =
        Enum.map_reduce(Enum.zip(inputs, wanted), some, fn
          {_array, true}, [array | rest] -> {array, rest}
          {array, false}, rest -> {array, rest}
        end)

      outputs = listed(fun.(given))
      {weighted_sum(outputs), outputs}
    end

    if chosen == [] do
      listed(fun.(inputs))
    else
      {{_sum, outputs}, gradients} = Mlx.value_and_grad(loss).(chosen)
      outputs ++ gradients
    end
  end

  defp gradients(layer, call) do
    {trained, _kept} = NN.freeze(layer)

    if Tree.arrays(trained) == [] do
      []
    else
      {_value, gradients, _layer} = NN.value_and_grad(&weighted_sum(listed(call.(&1)))).(layer)
      for {_path, array} <- sorted(gradients), do: array
    end
  end

  defp weighted_sum(outputs) do
    Enum.reduce(outputs, Mlx.array(0.0), fn output, sum ->
      factors = Mlx.arange(Mlx.size(output)) |> Mlx.sin() |> Mlx.reshape(output.shape)
      Mlx.add(sum, Mlx.sum(Mlx.multiply(output, factors)))
    end)
  end

  defp listed(outputs) when is_tuple(outputs), do: Tuple.to_list(outputs)
  defp listed(outputs), do: List.wrap(outputs)

  # As Python sorts the names.
  defp sorted(container), do: container |> Tree.flatten() |> Enum.sort_by(fn {path, _array} -> path end)

  defp named(prefix, arrays) do
    names = for {_array, index} <- Enum.with_index(arrays), do: "#{prefix}#{index}"
    {names, Enum.zip(names, arrays)}
  end
end
