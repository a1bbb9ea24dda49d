defmodule Mlx.Conformance.Fourier do
  @moduledoc """
  Adapters for `mlx.core.fft`.
  """

  @doc "`fft2(a, s, axes)`: with `None` for the axes it is `fftn`."
  def two_axes(call, %{a: a, axes: nil} = bound, options) do
    count = if bound[:s], do: length(bound.s), else: Mlx.rank(a)
    call.([a], [{:axes, Enum.to_list(-count..-1//1)} | options])
  end

  def two_axes(call, %{a: a, axes: axes}, options), do: call.([a], [{:axes, axes} | options])
end
