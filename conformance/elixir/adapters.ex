defmodule Mlx.Conformance.Adapters do
  @moduledoc """
  Calls whose arguments do not fit the function of `Mlx` one by one. An adapter gets the function that stands in the mapping
  table, the bound arguments by their Python names, and the options, and returns the result.
  """

  alias Mlx.Conformance.{Index, PythonError, Value}

  @doc "Two operands: a number or an array of numpy takes the type of the array beside it."
  def pair(call, %{a: a, b: b}, options), do: call.(operands(a, b), options)

  @doc "A binary operator: what cannot be an operand is a `ValueError`."
  def operator(call, %{self: self, other: other}, options), do: call.(comparable(self, other), options)

  @doc "The same with the operands exchanged."
  def reflected(call, %{self: self, other: other}, options) do
    call.(Enum.reverse(comparable(self, other)), options)
  end

  @doc "A bitwise operator, which is logical between booleans."
  def bitwise(%{bool: bool}) do
    fn call, %{self: self, other: other}, options ->
      case comparable(self, other) do
        [%{type: :bool} = a, %{type: :bool} = b] -> bool.(a, b)
        [%{type: :bool} = a, b] when is_boolean(b) -> bool.(a, b)
        operands -> call.(integers(operands), options)
      end
    end
  end

  @doc "`==` and `!=`, which answer for what cannot be compared."
  def equality(answer) do
    fn call, %{self: self, other: other}, options ->
      if comparable?(other), do: call.(operands(self, other), options), else: answer
    end
  end

  @doc "`x /= y`, which keeps the type of `x`."
  def divide_in_place(call, %{self: self} = bound, options) do
    unless Mlx.Type.fractional?(self.type), do: PythonError.value_error!("integers cannot be divided in place")
    operator(call, bound, options)
  end

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

  @doc "Two axes as an option."
  def two_axes(call, %{a: a, axis1: first, axis2: second}, options),
    do: call.([a], [{:axes, [first, second]} | options])

  @doc "`flatten(a, start_axis, end_axis)`: the axes that are joined."
  def flatten(call, %{a: a, start_axis: first, end_axis: last}, options) do
    rank = Mlx.rank(a)
    [from, to] = for axis <- [first, last], do: if(axis < 0, do: axis + rank, else: axis)

    cond do
      rank == 0 -> call.([a], options)
      from not in 0..(rank - 1) or to not in 0..(rank - 1) or from > to -> PythonError.value_error!("invalid axes")
      true -> call.([a], [{:axes, Enum.to_list(from..to)} | options])
    end
  end

  @doc "`x.reshape(2, 3)` and `x.reshape((2, 3))`."
  def reshape(call, %{self: self, shape: shape}, options), do: call.([self, List.to_tuple(integers_of(shape))], options)

  @doc "`x.transpose(1, 0)`, `x.transpose((1, 0))` and `x.transpose()`."
  def transpose(call, %{self: self, axes: axes}, options) do
    case axes do
      [] -> call.([self], options)
      [nil] -> call.([self], options)
      axes -> call.([self], [{:axes, integers_of(axes)} | options])
    end
  end

  @doc "Several arrays as one list; Python returns a tuple."
  def as_list(call, %{arrays: arrays}, options), do: List.to_tuple(call.([flat(arrays)], options))

  @doc "`broadcast_shapes(*shapes)`, of one at least."
  def shapes(_call, %{shapes: []}, _options), do: PythonError.value_error!("broadcast_shapes: no shapes")
  def shapes(call, %{shapes: shapes}, _options), do: call.([shapes], [])

  @doc "`concatenate(arrays, axis)`, of the flattened arrays when the axis is `None`."
  def concatenate(call, %{arrays: arrays, axis: nil}, options) do
    call.([Enum.map(arrays, &Mlx.flatten/1)], options)
  end

  def concatenate(call, %{arrays: arrays, axis: axis}, options), do: call.([arrays], [{:axis, axis} | options])

  @doc "`take_along_axis(a, indices, axis)`, of the flattened array when the axis is `None`."
  def take_along_axis(call, %{a: a, indices: indices, axis: nil}, options) do
    call.([Mlx.flatten(a), indices], options)
  end

  def take_along_axis(call, %{a: a, indices: indices, axis: axis}, options) do
    call.([a, indices], [{:axis, axis} | options])
  end

  @doc "`put_along_axis(a, indices, values, axis)`, into the flattened array when the axis is `None`."
  def put_along_axis(call, %{a: a, indices: indices, values: values, axis: nil}, options) do
    Mlx.reshape(call.([Mlx.flatten(a), indices(indices), values], options), a.shape)
  end

  def put_along_axis(call, %{a: a, indices: indices, values: values, axis: axis}, options) do
    call.([a, indices, values], [{:axis, axis} | options])
  end

  @doc "`roll(a, shift, axis)`: one axis takes all the shifts."
  def roll(call, %{a: a, shift: shift} = bound, options) do
    case bound[:axis] do
      nil ->
        call.([a, shift], options)

      axis when is_integer(axis) ->
        call.([a, shift], [{:axes, List.duplicate(axis, length(List.wrap(shift)))} | options])

      axes ->
        call.([a, shift], [{:axes, axes} | options])
    end
  end

  @doc "`as_strided(a, shape, strides, offset)`: without strides the elements lie row after row."
  def as_strided(call, %{a: a, shape: shape, strides: strides}, options) do
    shape = shape || a.shape
    call.([a, shape, strides || shape |> Tuple.to_list() |> row_major()], options)
  end

  @doc "`slice(a, start_indices, axes, slice_size)`: an array has the starts of some axes."
  def slice(call, %{a: a, start_indices: starts, axes: axes, slice_size: sizes}, options) do
    call.([a, starts(a, starts, axes), sizes], options)
  end

  @doc "`slice_update(a, update, start_indices, axes)`."
  def slice_update(call, %{a: a, update: update, start_indices: starts, axes: axes}, options) do
    call.([a, starts(a, starts, axes), update], options)
  end

  @doc "`depends(inputs, dependencies)`, of one array or several."
  def depends(call, %{inputs: %Mlx.Array{} = input} = bound, options) do
    hd(depends(call, %{bound | inputs: [input]}, options))
  end

  def depends(call, %{inputs: inputs, dependencies: dependencies}, _options) do
    call.([flat([inputs]), flat([dependencies])], [])
  end

  @doc "`tensordot(a, b, axes)`: how many axes, or which."
  def tensordot(call, %{a: a, b: b, axes: axes}, options) do
    case axes do
      count when is_integer(count) -> call.([a, b], [{:axes, count} | options])
      {:tuple, axes} -> tensordot(call, %{a: a, b: b, axes: axes}, options)
      [axes_of_a, axes_of_b] -> call.([a, b], [{:axes, {flat([axes_of_a]), flat([axes_of_b])}} | options])
    end
  end

  @doc "`atleast_1d(*arys)`: one array gives one, several give a list."
  def each(call, %{arrays: [array]}, options), do: call.([array], options)
  def each(call, %{arrays: arrays}, options), do: Enum.map(arrays, &call.([&1], options))

  @doc "`eval(*args)`: whatever holds arrays."
  def evaluate(call, %{arrays: arrays}, _options) do
    call.([containers(arrays)], [])
    nil
  end

  @doc "`pad_width`: an integer, one pair, or a pair for each axis."
  def pad(call, %{a: a, pad_width: widths}, options), do: call.([a, widths(widths)], options)

  @doc "`a.item()` and what converts to numbers."
  def number(call, %{self: self}, _options), do: Value.numbers(call.([self], []))

  @doc "`a.tolist()`: a number for an array without axes."
  def to_list(_call, %{self: %{shape: {}} = self}, _options), do: Value.numbers(Mlx.to_number(self))
  def to_list(call, %{self: self}, _options), do: Value.numbers(call.([self], []))

  @doc "`x[index]`."
  def get_item(call, %{self: self, index: index}, _options) do
    case Index.from_python(index, self.shape) do
      [] -> self
      index -> call.([self, index], [])
    end
  end

  @doc "`x[index] = value` and `x.at[index].add(value)`: the new array."
  def update(call, %{self: self, index: index, value: value}, _options) do
    value = operand(value, self.type)

    case Index.mask(index) do
      nil -> call.([self, Index.from_python(index, self.shape), value], [])
      mask -> call.([self, mask, value], [])
    end
  end

  @doc "`bernoulli(p, shape)`: an integer is an array of integers, which are no probabilities."
  def bernoulli(call, %{p: p}, options) when is_integer(p), do: call.([Mlx.array(p)], options)
  def bernoulli(call, %{p: p}, options), do: call.([p], options)

  @doc "The text of an array."
  def text(_call, %{self: self}, _options), do: inspect(self)

  @doc "The shape, the type and the bytes of an array, for numpy."
  def buffer(_call, %{self: %{type: :bf16}}, _options), do: PythonError.type_error!("numpy has no bfloat16")

  def buffer(_call, %{self: self}, _options) do
    {Tuple.to_list(self.shape), Value.type_name(self.type), {:bytes, Mlx.to_binary(self)}}
  end

  @doc "The size of an element in bytes."
  def item_size(call, %{self: self}, _options), do: call.([self.type], [])

  @doc "`synchronize(stream)`, of a stream, a device or neither."
  def synchronize(call, %{s: device}, _options) when device in [:cpu, :gpu], do: call.([Mlx.Stream.default(device)], [])
  def synchronize(call, %{s: stream}, _options), do: call.([stream], [])

  @doc "Whether a value of Python can be an operand."
  def comparable?(%Mlx.Array{}), do: true
  def comparable?({tag, _}) when tag in [:buffer], do: true
  def comparable?({:complex, _, _}), do: true
  def comparable?(value), do: is_number(value) or is_boolean(value) or value in [:nan, :infinity, :neg_infinity]

  defp comparable(self, other) do
    if comparable?(other), do: operands(self, other), else: PythonError.value_error!("no operand: #{inspect(other)}")
  end

  defp operands(%Mlx.Array{} = a, b), do: [a, operand(b, a.type)]
  defp operands(a, %Mlx.Array{} = b), do: [operand(a, b.type), b]
  defp operands(a, b), do: [operand(a, nil), operand(b, nil)]

  defp operand({:buffer, array}, nil), do: array
  defp operand({:buffer, array}, type), do: Mlx.as_type(array, type)
  defp operand({:complex, real, imaginary}, _type), do: Mlx.array({real, imaginary})

  defp operand(value, _type) do
    if comparable?(value), do: value, else: PythonError.type_error!("no operand: #{inspect(value)}")
  end

  defp integers(operands) do
    if Enum.any?(operands, &(is_float(&1) or (is_struct(&1) and Mlx.Type.fractional?(&1.type)))) do
      PythonError.value_error!("bitwise operators take integers and booleans")
    end

    operands
  end

  defp create(%Mlx.Array{} = array, type), do: Mlx.as_type(array, type || array.type)
  defp create({:buffer, %{type: :f64} = array}, type), do: Mlx.as_type(array, type || :f32)
  defp create({:buffer, array}, type), do: Mlx.as_type(array, type || array.type)
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

  # An empty list is an array of floats, and picks nothing.
  defp indices(%Mlx.Array{} = array), do: if(Mlx.size(array) == 0, do: Mlx.as_type(array, :s32), else: array)

  defp starts(a, starts, axes) do
    axes = for axis <- axes, do: if(axis < 0, do: axis + Mlx.rank(a), else: axis)

    for axis <- 0..(Mlx.rank(a) - 1)//1 do
      case Enum.find_index(axes, &(&1 == axis)) do
        nil -> 0
        position -> Mlx.at(starts, position)
      end
    end
  end

  defp row_major([]), do: []
  defp row_major([_size | sizes]), do: [Enum.product(sizes) | row_major(sizes)]

  defp widths({:tuple, widths}), do: widths(widths)
  defp widths([before, behind]) when is_integer(before) and is_integer(behind), do: {before, behind}
  defp widths([width]), do: widths(width)
  defp widths(widths) when is_list(widths), do: Enum.map(widths, &widths/1)
  defp widths(width), do: width

  defp integers_of([{:tuple, integers}]), do: integers_of(integers)
  defp integers_of([integers]) when is_list(integers), do: integers_of(integers)

  defp integers_of(integers) do
    unless Enum.all?(integers, &is_integer/1), do: PythonError.type_error!("expected integers")
    integers
  end

  defp flat([{:tuple, arrays}]), do: arrays
  defp flat([arrays]) when is_list(arrays), do: arrays
  defp flat(arrays), do: arrays

  defp containers({:tuple, elements}), do: containers(elements)
  defp containers(list) when is_list(list), do: Enum.map(list, &containers/1)
  defp containers(value), do: value
end
