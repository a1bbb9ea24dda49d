defmodule Mlx.Values.Ahead do
  @moduledoc false
  # Computation without waiting until MLX has scheduled it, which takes as long as to build the next graph: that is built
  # meanwhile. What fails is told to whoever reads a value.

  alias Mlx.{Native, Tree}
  alias Mlx.Values.Computation

  @doc """
  Starts to compute all arrays of two containers, and returns the containers with arrays that stand for these values.

  Whoever goes on with the arrays of `continued` builds a compiled call on them at once; any other operation waits until they
  are scheduled. The arrays of `read` are for reading alone, which does not wait for what was built on `continued`. The
  arrays of `continued` are given up.
  """
  @spec start(continued, read, String.t()) :: {continued, read} when continued: term(), read: term()
  def start(continued, read, function) do
    {going_on, to_read} = {Tree.arrays(continued), Tree.arrays(read)}
    start = fn -> Native.start_ahead(going_on, to_read) end
    {followers, copies} = Computation.run(:eval, function, going_on, start)
    Native.deallocate_all(going_on)
    {Tree.with_arrays(continued, followers), Tree.with_arrays(read, copies)}
  end
end
