defmodule Mlx.Conformance.Creation do
  @moduledoc """
  Adapters for making arrays.
  """

  alias Mlx.Conformance.{PythonError, Value}

  @doc "`array(val, dtype)`: numbers, lists of numbers or of arrays, arrays of numpy."
  def array(_call, %{val: value} = bound, _options), do: create(value, bound[:dtype])

  @doc "`asarray(a, dtype, copy)`. Nothing but a buffer that is shared is taken without a copy."
  def as_array(_call, %{copy: false}, _options), do: PythonError.value_error!("asarray: a copy is needed")
  def as_array(_call, %{a: value, dtype: type}, _options), do: create(value, type)

  @doc "`arange(stop)`, `arange(start, stop)`, `arange(start, stop, step)`; without `stop`, `start` is that."
  def arange(call, %{start: stop, stop: nil, step: step}, options), do: call.([0, stop, step || 1], options)
  def arange(call, %{start: start, stop: stop, step: step}, options), do: call.([start, stop, step || 1], options)
  def arange(call, %{stop: stop, step: step}, options), do: call.([0, stop, step || 1], options)

  @doc "`eye(n, m)`."
  def eye(call, %{n: n, m: m}, options), do: call.([{n, m || n}], options)

  @doc "`tri(n, m)`."
  def tri(call, %{n: n, m: m}, options), do: call.([n, m || n], options)

  @doc "`bernoulli(p, shape)`: an integer is an array of integers, which are no probabilities."
  def bernoulli(call, %{p: p}, options) when is_integer(p), do: call.([Mlx.array(p)], options)
  def bernoulli(call, %{p: p}, options), do: call.([p], options)

  defp create(%Mlx.Array{} = array, type), do: Mlx.as_type(array, type || array.type)
  defp create({:buffer, _array} = buffer, type), do: Value.array(buffer, type)
  defp create({:complex, real, imaginary}, type), do: Mlx.array({real, imaginary}, type: type)
  defp create({:bytes, bytes}, type), do: bytes |> Mlx.from_binary({byte_size(bytes)}, :u8) |> create(type)
  defp create({:tuple, elements}, type), do: create(elements, type)

  defp create(list, type) when is_list(list) do
    if holds_array?(list) do
      list |> Enum.map(&create(&1, type)) |> stack()
    else
      Mlx.array(plain(list), type: type)
    end
  end

  defp create({:opaque, name}, _type), do: PythonError.value_error!("an array cannot be made of #{name}")
  defp create(number, type), do: Mlx.array(number, type: type)

  defp stack([first | rest] = arrays) do
    if Enum.any?(rest, &(&1.shape != first.shape)) do
      PythonError.value_error!("Initialization encountered non-uniform length.")
    end

    Mlx.stack(arrays)
  end

  defp holds_array?(list) when is_list(list), do: Enum.any?(list, &holds_array?/1)
  defp holds_array?({:tuple, list}), do: holds_array?(list)
  defp holds_array?(element), do: is_struct(element, Mlx.Array)

  defp plain(list) when is_list(list), do: Enum.map(list, &plain/1)
  defp plain({:tuple, list}), do: plain(list)
  defp plain({:complex, real, imaginary}), do: {real, imaginary}
  defp plain(element), do: element
end
