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

  @doc "`get_active_memory()`, without what nobody holds: Python frees it at once, and Elixir at its next collection."
  def active_memory(call, _bound, _options) do
    Enum.each(Process.list(), &:erlang.garbage_collect/1)
    Mlx.Stream.synchronize()
    settled(call, call.([], []), 50)
  end

  # MLX frees in the background.
  defp settled(_call, bytes, 0), do: bytes

  defp settled(call, bytes, tries) do
    Process.sleep(5)
    now = call.([], [])
    if now == bytes, do: bytes, else: settled(call, now, tries - 1)
  end

  defp arrays({:tuple, arrays}), do: arrays
  defp arrays(arrays), do: List.wrap(arrays)

  defp containers({:tuple, elements}), do: containers(elements)
  defp containers(list) when is_list(list), do: Enum.map(list, &containers/1)
  defp containers(value), do: value
end
