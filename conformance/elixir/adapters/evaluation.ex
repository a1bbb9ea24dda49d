defmodule Mlx.Conformance.Evaluation do
  @moduledoc """
  Adapters for evaluation, and for devices and streams.
  """

  @doc "`eval(*args)`: whatever holds arrays."
  def evaluate(call, %{arrays: arrays}, _options) do
    call.([containers(arrays)], [])
    nil
  end

  @doc "`depends(inputs, dependencies)`, of one array or several."
  def depends(call, %{inputs: %Mlx.Array{} = input} = bound, options) do
    hd(depends(call, %{bound | inputs: [input]}, options))
  end

  def depends(call, %{inputs: inputs, dependencies: dependencies}, _options) do
    call.([arrays(inputs), arrays(dependencies)], [])
  end

  @doc "`device_info(d)`, of the default device when none is given."
  def device_info(call, %{d: device}, _options), do: call.([device || Mlx.Device.default()], [])

  @doc "`synchronize(stream)`, of a stream, a device or neither."
  def synchronize(call, %{s: device}, _options) when device in [:cpu, :gpu], do: call.([Mlx.Stream.default(device)], [])
  def synchronize(call, %{s: stream}, _options), do: call.([stream], [])

  defp arrays({:tuple, arrays}), do: arrays
  defp arrays(arrays), do: List.wrap(arrays)

  defp containers({:tuple, elements}), do: containers(elements)
  defp containers(list) when is_list(list), do: Enum.map(list, &containers/1)
  defp containers(value), do: value
end
