defmodule Mlx.Differential.Transforms do
  @moduledoc "Rows for `Mlx.FFT`."

  import Mlx.Differential.Draw
  import Mlx.Differential.Input, only: [random: 1, random: 2]

  alias Mlx.Differential.{Python, Row}

  @doc "The rows."
  def rows do
    for(name <- [:fft, :ifft, :rfft, :irfft], do: row(name, [share: 2], fn -> one_axis("#{name}") end)) ++
      for(name <- [:fft2, :ifft2, :rfft2, :irfft2], do: row(name, fn -> several_axes("#{name}", 2) end)) ++
      for(name <- [:fftn, :ifftn, :rfftn, :irfftn], do: row(name, [share: 2], fn -> several_axes("#{name}", :all) end)) ++
      for(name <- [:fftshift, :ifftshift], do: row(name, fn -> shift("#{name}") end)) ++
      for(name <- [:fftfreq, :rfftfreq], do: row(name, fn -> frequencies("#{name}") end)) ++
      [row(:stft, &stft/0), row(:istft, &istft/0)]
  end

  defp row(function, options \\ [], draw), do: Row.new(function, [module: Mlx.FFT] ++ options, draw)
  defp call(function, arguments), do: Python.call("mx.fft.#{function}", arguments)

  defp transformed(function, rank) do
    complex = not String.starts_with?(function, "rfft")
    type = one_of([:f32, :f32, :f16, :s32, :u8] ++ if(complex, do: [:c64, :c64, :c64], else: []))
    sizes = several(rank, fn -> one_of([2, 3, 4, 5, 8, 12]) end)
    random("x", shape: List.to_tuple(sizes), type: type, values: :finite)
  end

  defp norm, do: one_of([:backward, :ortho, :forward])

  defp one_axis(function) do
    x = transformed(function, one_of(1..3))
    {length, axis, norm} = {one_of([nil, nil, one_of(1..10)]), axis(x.shape), norm()}
    {[x, [length: length, axis: axis, norm: norm]], call(function, [x, n: length, axis: axis, norm: norm])}
  end

  defp several_axes(function, default) do
    x = transformed(function, one_of(2..3))
    count = if default == 2, do: 2, else: one_of(1..tuple_size(x.shape))
    axes = one_of([nil, Enum.take_random(0..(tuple_size(x.shape) - 1), count), Enum.to_list(-count..-1)])
    # Without axes, Python takes no lengths for several.
    lengths = if axes || default == 2, do: one_of([nil, several(count, fn -> one_of(2..8) end)])
    norm = norm()
    python = [s: lengths && List.to_tuple(lengths)] ++ if(axes, do: [axes: axes], else: []) ++ [norm: norm]
    {[x, [lengths: lengths, norm: norm] ++ if(axes, do: [axes: axes], else: [])], call(function, [x | python])}
  end

  defp stft do
    {length, elixir, python} = frames()
    shape = one_of([{one_of(16..40)}, {2, one_of(16..40)}])
    x = random("x", shape: shape, type: one_of([:f32, :f16, :s32]), values: :finite)
    {mode, one_sided} = {one_of([:reflect, :constant, :edge]), flag()}
    options = [length: length, mode: mode, one_sided: one_sided]
    {[x, options ++ elixir], call("stft", [x, {:n_fft, length}, {:pad_mode, mode}, {:onesided, one_sided} | python])}
  end

  defp istft do
    {length, elixir, python} = frames()
    one_sided = flag()
    frequencies = if one_sided, do: div(length, 2) + 1, else: length
    x = random("x", shape: {frequencies, one_of(3..9)}, type: :c64, values: :finite)
    samples = one_of([nil, 20])
    options = [length: length, one_sided: one_sided, samples: samples]

    {[x, options ++ elixir], call("istft", [x, {:n_fft, length}, {:onesided, one_sided}, {:length, samples} | python])}
  end

  # The size of the transforms, and the options that both directions have.
  defp frames do
    length = one_of([4, 6, 7, 8])
    {hop, size, center, norm} = {one_of(1..4), one_of([nil, one_of(2..length)]), flag(), norm()}
    window = one_of([nil, random("w", shape: {size || length}, type: :f32, values: :finite)])
    elixir = [hop: hop, window: window, window_length: size, center: center, norm: norm]
    {length, elixir, [hop_length: hop, window: window, win_length: size, center: center, norm: norm]}
  end

  defp shift(function) do
    x = random("x")
    axes = one_of([nil, axes(x.shape)])
    {[x, [axes: axes]], call(function, [x, {:axes, axes}])}
  end

  defp frequencies(function) do
    {n, spacing} = {one_of(1..20), one_of([1, 0.5, 2, 0.1])}
    {[n, [spacing: spacing]], call(function, [n, spacing])}
  end
end
