defmodule Mlx.Conformance.Convolution do
  @moduledoc """
  Adapters for convolutions.
  """

  @doc "`conv_general`: a pair of lists is the padding before and behind the elements."
  def general(call, %{padding: {:tuple, [low, high]}} = bound, options) when is_list(low) and is_list(high) do
    convolve(call, bound, [{:padding, Enum.zip(low, high)} | options])
  end

  def general(call, %{padding: {:tuple, padding}} = bound, options),
    do: general(call, %{bound | padding: padding}, options)

  def general(call, %{padding: [before, behind]} = bound, options) when is_tuple(before) or is_list(before) do
    general(call, %{bound | padding: {:tuple, [elements(before), elements(behind)]}}, options)
  end

  def general(call, %{padding: padding} = bound, options), do: convolve(call, bound, [{:padding, padding} | options])

  defp convolve(call, %{input: input, weight: weight}, options), do: call.([input, weight], options)

  defp elements({:tuple, elements}), do: elements
  defp elements(elements), do: elements
end
