defmodule Mlx.Transforms.FusedFunction do
  @moduledoc false
  # Functions of the library's own that compute each element by itself, as one kernel, also where nobody compiles what calls
  # them. A GPU reads and writes as much memory for each operation as for all of them together.
  #
  # A CPU takes longer to find a kernel than to compute a few operations, and who records the operations fuses them with those
  # around.

  alias Mlx.{Array, Device, Native}

  @doc """
  What the function gives for the arrays. It gives the same under the same name always, and looks at no shape.
  """
  @spec call(term(), function(), [Array.t()]) :: Array.t()
  def call(name, fun, arrays) do
    if Device.default() == :cpu or Native.is_traced(arrays),
      do: apply(fun, arrays),
      else: apply(compiled(name, fun), arrays)
  end

  defp compiled(name, fun) do
    key = {__MODULE__, name}

    with nil <- :persistent_term.get(key, nil) do
      compiled = Mlx.compile(fun, shapeless: true)
      :persistent_term.put(key, compiled)
      compiled
    end
  end
end
