defmodule Mlx.Conformance.Reading do
  @moduledoc """
  Adapters for what Python reads of arrays: numbers, text, bytes.
  """

  alias Mlx.Conformance.{PythonError, Value}

  @doc "`a.item()` and what converts to numbers."
  def number(call, %{self: self}, _options), do: Value.numbers(call.([self], []))

  @doc "An integer of Python, where it takes nothing else: `range(a)`."
  def index(call, %{self: %{type: type} = self}, _options) do
    if not Mlx.Type.subtype?(type, :integer),
      do: PythonError.type_error!("only integer arrays can be converted to an index")

    call.([self], [])
  end

  @doc "`a.tolist()`: a number for an array without axes."
  def to_list(_call, %{self: %{shape: {}} = self}, _options), do: Value.numbers(Mlx.to_number(self))
  def to_list(call, %{self: self}, _options), do: Value.numbers(call.([self], []))

  @doc "The text of an array."
  def text(_call, %{self: self}, _options), do: inspect(self)

  @doc "The shape, the type and the bytes of an array, for numpy."
  def buffer(_call, %{self: %{type: :bf16}}, _options), do: PythonError.type_error!("numpy has no bfloat16")

  def buffer(_call, %{self: self}, _options) do
    {Tuple.to_list(self.shape), Value.type_name(self.type), {:bytes, Mlx.to_binary(self)}}
  end

  @doc "The size of an element in bytes."
  def item_size(call, %{self: self}, _options), do: call.([self.type], [])
end
