defmodule Mlx.LM.Decoder.Compressor do
  @moduledoc """
  Entries that stand for windows of `ratio` positions each:

      kv, gate = kv_proj(x), gate_proj(x) + position_bias
      entry = rotate(kv_norm(sum of softmax(gate) * kv over a window))

  With `:overlap` the matrices have twice the features: an entry is of the second half in its own window, and of the first
  half in the window before. An entry has the position of the first one of its window.

  The rows of a window that is not complete wait in the cache. The entry of that window is made, too, with what is there;
  nobody may see it, and it is made anew with the next position. Windows of one position have no gate:
  `entry = rotate(kv_norm(kv_proj(x)))`.

  Source: DeepSeek-AI, "DeepSeek-V4" (2026), section 2.3.
  """

  alias Mlx.{Array, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.Decoder.{Parameter, TailRotation}

  @constants [:ratio, :size, :overlap, :rope]
  defstruct [:kv_proj, :gate_proj, :position_bias, :kv_norm] ++ @constants

  @type t :: %__MODULE__{}

  @doc """
  A compressor with zeros for arrays. Options: `:width`, `:size`, the features of an entry, `:ratio`, `:overlap`, default
  false, `:norm`, `:position_bias`, whether gates have one, default true, and `:rope`, that of entries, one step of which is a
  window, or `nil`.
  """
  @spec new(keyword()) :: t()
  def new(options) do
    defaults = [width: nil, size: nil, ratio: nil, overlap: false, norm: nil, position_bias: true, rope: nil]

    [width, size, ratio, overlap, norm, position_bias, rope] =
      Options.without_stream(options, :"LM.Decoder.Compressor.new", defaults)

    features = if overlap, do: 2 * size, else: size

    %__MODULE__{
      kv_proj: Parameter.linear(width, features),
      gate_proj: if(ratio > 1, do: Parameter.linear(width, features)),
      position_bias: if(ratio > 1 and position_bias, do: Parameter.zeros({ratio, features})),
      kv_norm: Parameter.norm(norm, size),
      ratio: ratio,
      size: size,
      overlap: overlap,
      rope: rope
    }
  end

  @typedoc "The rows of the last windows, `{batch, rows, features}`: those of the window n begin at `rem(n, windows) * ratio`."
  @type rows :: {Array.t(), Array.t()} | {} | nil

  @doc """
  The entries `{batch, 1, count, size}` of the windows from the one of the first position of `x` on, and the rows for what
  comes next.
  """
  @spec call(t(), Array.t(), non_neg_integer() | Array.t(), rows()) :: {Array.t(), rows()}
  def call(%__MODULE__{ratio: 1} = layer, x, start, _rows) do
    entries = layer.kv_norm |> NN.Layer.call(NN.Layer.call(layer.kv_proj, x)) |> Mlx.new_axis(1)
    {rotated(layer.rope, entries, start), {}}
  end

  def call(%__MODULE__{} = layer, x, start, rows) do
    kv = NN.Layer.call(layer.kv_proj, x)
    gate = NN.Layer.call(layer.gate_proj, x)

    if Mlx.axis_size(x, 1) == 1 and rows != nil,
      do: one(layer, kv, gate, start, rows),
      else: several(layer, kv, gate, start, rows)
  end

  # One position: its row takes its place, and its window is there as a whole.
  defp one(%__MODULE__{ratio: ratio} = layer, kv, gate, start, {kvs, gates}) do
    windows = windows(layer)
    place = Mlx.remainder(start, windows * ratio)
    [kvs, gates] = for {buffer, row} <- [{kvs, kv}, {gates, gate}], do: put(buffer, row, place)
    window = Mlx.floor_divide(start, ratio)
    own = Mlx.remainder(window, windows)
    [kv, gate] = for buffer <- [kvs, gates], do: Mlx.new_axis(window(buffer, own, ratio), 1)

    before =
      if layer.overlap do
        [kv, gate] = for buffer <- [kvs, gates], do: Mlx.new_axis(window(buffer, Mlx.subtract(1, own), ratio), 1)
        {kv, Mlx.select(first(window), :neg_infinity, gate)}
      end

    {entries(layer, kv, gate, before, window), {kvs, gates}}
  end

  # Each row of a batch may have a place of its own.
  defp put(buffer, %Array{shape: {batch, 1, _features} = shape} = row, %Array{shape: {batch}} = place) do
    Mlx.put_along_axis(buffer, place |> Mlx.reshape({batch, 1, 1}) |> Mlx.broadcast(shape), row, axis: 1)
  end

  defp put(buffer, row, place), do: Mlx.put_slice(buffer, [0, place, 0], row)

  defp first(%Array{shape: {batch}} = window), do: window |> Mlx.equal(0) |> Mlx.reshape({batch, 1, 1, 1})
  defp first(window), do: Mlx.equal(window, 0)

  defp window(%Array{shape: {batch, _rows, features}} = buffer, %Array{shape: {batch}} = number, ratio) do
    own = Mlx.arange(0, ratio, type: :s32) |> Mlx.add(Mlx.multiply(Mlx.new_axis(number, 1), ratio))
    Mlx.take_along_axis(buffer, own |> Mlx.new_axis(-1) |> Mlx.broadcast({batch, ratio, features}), axis: 1)
  end

  defp window(buffer, number, ratio) do
    Mlx.take(buffer, Mlx.add(Mlx.arange(0, ratio, type: :s32), Mlx.multiply(number, ratio)), axis: 1)
  end

  # Several positions: all windows from the first one on, the last one filled up.
  defp several(%__MODULE__{ratio: ratio} = layer, %Array{shape: {batch, length, features}} = kv, gate, start, rows) do
    first = div(start, ratio)
    {before, waiting} = waiting(layer, rows, start, batch, features, kv.type)
    count = div(rem(start, ratio) + length + ratio - 1, ratio)
    missing = count * ratio - rem(start, ratio) - length

    [kvs, gates] =
      for {waiting, new} <- Enum.zip(waiting, [kv, gate]) do
        parts = [waiting, new, Mlx.zeros({batch, missing, features}, type: new.type)]
        parts |> Enum.reject(&(Mlx.axis_size(&1, 1) == 0)) |> Mlx.concatenate(axis: 1)
      end

    [kv, gate] = for all <- [kvs, gates], do: Mlx.reshape(all, {batch, count, ratio, features})
    shifted = for {before, all} <- Enum.zip(before, [kv, gate]), do: shifted(Mlx.new_axis(before, 1), all)
    before = if layer.overlap, do: List.to_tuple(shifted)
    kept = for {before, all} <- Enum.zip(shifted, [kv, gate]), do: kept(layer, before, all, first + count - 1)
    {entries(layer, kv, gate, before, first), kept |> Enum.map(&Mlx.contiguous/1) |> List.to_tuple()}
  end

  # The rows of the window before the first one, and those of the first one that came before.
  defp waiting(layer, nil, 0, batch, features, type) do
    zeros = Mlx.zeros({batch, layer.ratio, features}, type: type)
    none = Mlx.zeros({batch, 0, features}, type: type)
    {[zeros, Mlx.full({batch, layer.ratio, features}, :neg_infinity, type: type)], [none, none]}
  end

  defp waiting(%__MODULE__{ratio: ratio} = layer, {kvs, gates}, start, batch, features, _type) do
    own = rem(div(start, ratio), windows(layer))

    own_rows =
      for buffer <- [kvs, gates], do: Mlx.slice(buffer, [0, own * ratio, 0], [batch, rem(start, ratio), features])

    place = if layer.overlap, do: (1 - own) * ratio, else: 0
    [kv, gate] = for buffer <- [kvs, gates], do: Mlx.slice(buffer, [0, place, 0], [batch, ratio, features])
    {[kv, if(start < ratio, do: Mlx.full(gate.shape, :neg_infinity, type: gate.type), else: gate)], own_rows}
  end

  # The windows before those of `all`.
  defp shifted(before, %Array{shape: {_, 1, _, _}}), do: before

  defp shifted(before, %Array{shape: {batch, count, ratio, features}} = all) do
    Mlx.concatenate([before, Mlx.slice(all, [0, 0, 0, 0], [batch, count - 1, ratio, features])], axis: 1)
  end

  # The rows of the last window, and of the one before it, in their places.
  defp kept(layer, before, %Array{shape: {batch, count, ratio, features}} = all, last) do
    [own, before] =
      for windows <- [all, before] do
        windows |> Mlx.slice([0, count - 1, 0, 0], [batch, 1, ratio, features]) |> Mlx.squeeze(axes: [1])
      end

    cond do
      not layer.overlap -> own
      rem(last, 2) == 0 -> Mlx.concatenate([own, before], axis: 1)
      true -> Mlx.concatenate([before, own], axis: 1)
    end
  end

  # {batch, windows, ratio, features} each, of windows from the number `first` on.
  defp entries(%__MODULE__{size: size} = layer, kv, gate, before, first) do
    gate = biased(gate, layer.position_bias)

    {kv, gate} =
      case before do
        nil ->
          {kv, gate}

        {old_kv, old_gate} ->
          [of_next, _own] = Mlx.split(biased(old_gate, layer.position_bias), [size], axis: -1)
          [old_kv, _own] = Mlx.split(old_kv, [size], axis: -1)
          [[_, kv], [_, gate]] = for x <- [kv, gate], do: Mlx.split(x, [size], axis: -1)
          {Mlx.concatenate([old_kv, kv], axis: 2), Mlx.concatenate([of_next, gate], axis: 2)}
      end

    shares = gate |> Mlx.as_type(:f32) |> Mlx.softmax(axes: 2, precise: true) |> Mlx.as_type(kv.type)
    entries = layer.kv_norm |> NN.Layer.call(Mlx.sum(Mlx.multiply(kv, shares), axes: [2])) |> Mlx.new_axis(1)
    rotated(layer.rope, entries, first)
  end

  defp biased(gate, nil), do: gate
  defp biased(gate, bias), do: Mlx.add(gate, bias)

  defp rotated(nil, entries, _first), do: entries
  defp rotated(rope, entries, first), do: TailRotation.call(rope, entries, first)

  defp windows(%__MODULE__{overlap: true}), do: 2
  defp windows(%__MODULE__{overlap: false}), do: 1
end
