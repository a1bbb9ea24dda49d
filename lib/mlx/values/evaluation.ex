defmodule Mlx.Values.Evaluation do
  @moduledoc false
  # When arrays are computed, and when they are given back.

  use Mlx.Ops.Topic, title: "Evaluating"

  alias Mlx.{Array, Native, Tree}
  alias Mlx.Arguments.Options
  alias Mlx.Values.Computation

  @doc """
  Computes arrays, and returns once their values are there.

  Takes an array, or lists, tuples, maps and structs of arrays at any depth. What is no array is left alone. Returns
  its argument, so that it fits into a pipe.

      iex> state = %{weight: Mlx.zeros({2}), steps: [Mlx.array(1), 2]}
      iex> Mlx.eval(state) == state
      true

  Evaluating once a step keeps graphs short in a loop: an array that is not evaluated keeps everything it is computed
  from.

  Python: `mlx.core.eval`.
  """
  @spec eval(container) :: container when container: term()
  def eval(container) do
    arrays = Tree.arrays(container)
    :ok = Computation.run(:eval, "Mlx.eval", arrays, fn -> Native.eval(arrays) end)
    container
  end

  @doc """
  Starts to compute arrays and returns at once. Otherwise as `eval/1`.

      iex> array = Mlx.async_eval(Mlx.add(1, 2))
      iex> Mlx.to_number(array)
      3

  What can fail, such as the inverse of a matrix that may be singular, is computed before it returns, and raises here.

  Python: `mlx.core.async_eval`, which raises where the value is needed.
  """
  @spec async_eval(container) :: container when container: term()
  def async_eval(container) do
    arrays = Tree.arrays(container)
    :ok = Computation.run(:eval, "Mlx.async_eval", arrays, fn -> Native.async_eval(arrays) end)
    container
  end

  @doc """
  Copies of arrays that are computed only after other arrays. Both arguments are lists.

      iex> [sum] = Mlx.depends([Mlx.add(1, 2)], [Mlx.multiply(3, 4)])
      iex> Mlx.to_number(sum)
      3

  Python: `mlx.core.depends`.
  """
  @spec depends([Array.t()], [Array.t()]) :: [Array.t()]
  def depends(arrays, dependencies), do: Native.depends(arrays, dependencies)

  @doc """
  The array as a constant to transforms that differentiate: no gradient flows through it.

      iex> Mlx.stop_gradient(Mlx.array([1, 2])) |> Mlx.to_list()
      [1, 2]

  Python: `mlx.core.stop_gradient`.
  """
  @spec stop_gradient(Array.t(), keyword()) :: Array.t()
  def stop_gradient(array, options \\ []), do: Native.stop_gradient(array, Options.stream(options, :stop_gradient))

  @doc """
  Gives the memory of an array back now instead of at the next garbage collection of the processes that hold it.

  Using the array afterwards raises. Arrays computed from it are not affected.

      iex> array = Mlx.zeros({1000})
      iex> Mlx.deallocate(array)
      :ok
      iex> array
      #Mlx.Array<
        f32[1000]
        deallocated
      >
  """
  @spec deallocate(Array.t()) :: :ok
  def deallocate(%Array{} = array), do: Native.deallocate(array)
end
