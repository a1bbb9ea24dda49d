defmodule Examples.Options do
  @moduledoc false
  # The options of the examples that train. Each has a default, an integer, a number, a text, or nil for a text that may be
  # missing. It is given in the command line, or in the environment:
  #
  #   mix run examples/resnet.exs --epochs 2
  #   EXAMPLE_EPOCHS=2 mix run examples/resnet.exs
  #
  # The command line comes before the environment.

  @doc "The options, a map, and the other arguments."
  def parse!(arguments, defaults) do
    types = for {name, default} <- defaults, do: {name, type(default)}

    environment =
      for {name, _default} <- defaults, value = System.get_env(variable(name)), do: "--#{option(name)}=#{value}"

    {options, others} = OptionParser.parse!(environment ++ arguments, strict: types)
    # Of an option that is given twice the last one counts.
    {Map.merge(Map.new(defaults), Map.new(options)), others}
  end

  defp type(default) when is_integer(default), do: :integer
  defp type(default) when is_float(default), do: :float
  defp type(_text), do: :string

  defp variable(name), do: "EXAMPLE_#{String.upcase("#{name}")}"
  defp option(name), do: String.replace("#{name}", "_", "-")

  @doc "Shows the curve of a training, and writes it to the file of `:svg`, if there is one."
  def show_curve(training, options) do
    curve = Mlx.Training.curve(training)
    IO.puts(Mlx.Training.Curve.to_text(curve))
    if path = options.svg, do: File.write!(path, Mlx.Training.Curve.to_svg(curve))
  end

  @doc "The last line of an example: how many of the test's images or letters, a hundred, were recognised."
  def show_accuracy(%{validations: [{_step, %{accuracy: accuracy}} | _]}, count, what) do
    IO.puts("accuracy on #{count} #{what}: #{Float.round(100 * accuracy, 2)} %")
  end
end
