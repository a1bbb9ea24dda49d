defmodule Mlx.Differential.PlainCall do
  @moduledoc "Calls without options: where Python has the same defaults."

  import Mlx.Differential.Draw
  import Mlx.Differential.Input, only: [of: 3, random: 2]

  alias Mlx.Differential.Python

  @doc "A call of a function of Python with an array, with two arrays, or with a list of two."
  def draw(:array, python), do: call(python, [array("x")])
  def draw(:arrays, python), do: call(python, [array("a"), array("b")])
  def draw(:list, python), do: call(python, [[array("a"), array("b")]])

  @doc "A call of a random function with nothing but a key, for Elixir and for Python."
  def keyed(arguments, python) do
    key = of("key", several(2, fn -> one_of(0..0xFFFFFFFF) end), :u32)
    {arguments ++ [[key: key]], "mx.random.#{python}key=#{key})"}
  end

  defp call(python, arguments), do: {arguments, Python.call("mx.#{python}", arguments)}

  # A square, which every function takes that wants two axes.
  defp array(name), do: random(name, shape: {4, 4}, type: [:f32, :f32, :s32], values: :finite)
end
