defmodule Mlx.Conformance.Kernels do
  @moduledoc """
  Kernels of the tests' own: in Python they are functions.
  """

  alias Mlx.Unsafe

  # Python's names, and the options of `Mlx.Unsafe.run/3`.
  @options %{
    "grid" => :grid,
    "threadgroup" => :thread_group,
    "template" => :template,
    "init_value" => :initial,
    "verbose" => :verbose,
    "stream" => :stream
  }

  @doc "`metal_kernel(name, input_names, output_names, source)` or `cuda_kernel`, with options: a function that runs it."
  def make(call, %{name: name, input_names: inputs, output_names: outputs, source: source}, options) do
    kernel = call.([name, inputs, outputs, source], options)
    fn [], keywords -> run(kernel, keywords) end
  end

  defp run(kernel, %{"inputs" => inputs, "output_shapes" => shapes, "output_dtypes" => types} = keywords) do
    options =
      for {name, value} <- Map.drop(keywords, ~w(inputs output_shapes output_dtypes)),
          value != nil,
          do: {Map.fetch!(@options, name), option(value)}

    Unsafe.run(kernel, inputs, [outputs: Enum.zip(shapes, Enum.map(types, &option/1))] ++ options)
  end

  defp option({kind, value}) when kind in [:type, :device], do: value
  defp option(template) when is_list(template), do: for({name, value} <- template, do: {name, option(value)})
  defp option(value), do: value
end
