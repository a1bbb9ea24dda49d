defmodule Mlx.Descriptions.FourierTransforms do
  @moduledoc "`Mlx.FFT`."

  use Mlx.Description, of: Mlx.FFT

  import Mlx.Differential.Input, only: [random: 1, random: 2]

  alias Mlx.Conformance.Fourier

  @one_axis [[array({4, 8}), 8, 1, :backward, nil], [array({4, 8}), 6, 0, :forward, nil]]
  @several_axes [[array({4, 4}), [4, 4], [0, 1], :backward, nil], [array({3, 4, 5}), [2, 6], [0, -1], :ortho, nil]]

  @doc "The descriptions."
  def operations do
    for(name <- [:fft, :ifft, :rfft, :irfft], do: of_one_axis(name, "fft.#{name}")) ++
      for(name <- [:fft2, :ifft2, :rfft2, :irfft2], do: of_two_axes(name, "fft.#{name}")) ++
      for(name <- [:fftn, :ifftn, :rfftn, :irfftn], do: of_all_axes(name, "fft.#{name}")) ++
      for(name <- [:fftshift, :ifftshift], do: shifted(name)) ++
      for(name <- [:fftfreq, :rfftfreq], do: frequencies_of(name)) ++ of_frames()
  end

  defp of_one_axis(name, python) do
    parameters = [a: :array, n: option(:integer, :length), axis: option(:integer, :axis)] ++ norm_parameter()

    operation(name,
      python: python(python, parameters, note: "n is the option :length"),
      examples: [{:"fft_#{name}", @one_axis}],
      share: 2,
      without_options: :array,
      draw: fn -> one_axis("#{name}") end
    )
  end

  defp of_two_axes(name, python) do
    axes = [axes: default({:nullable, {:list, :integer}}, [-2, -1])]
    parameters = [a: :array, s: option({:list, :integer}, :lengths)] ++ axes ++ norm_parameter()

    operation(name,
      python: python(python, parameters, adapter: &Fourier.two_axes/3, note: "s is the option :lengths"),
      examples: [{:"fft_#{name}", @several_axes}],
      without_options: :array,
      draw: fn -> several_axes("#{name}", 2) end
    )
  end

  defp of_all_axes(name, python) do
    lengths = [s: option({:list, :integer}, :lengths), axes: option({:list, :integer}, :axes)]

    operation(name,
      python: python(python, [a: :array] ++ lengths ++ norm_parameter(), note: "s is the option :lengths"),
      examples: [{:"fft_#{name}", @several_axes}],
      share: 2,
      without_options: :array,
      draw: fn -> several_axes("#{name}", :all) end
    )
  end

  defp shifted(name) do
    operation(name,
      python: python("fft.#{name}", a: :array, axes: option(:axes, :axes)),
      without_options: :array,
      draw: fn -> shift("#{name}") end
    )
  end

  defp frequencies_of(name) do
    operation(name,
      python: python("fft.#{name}", [n: :integer, d: option(:number, :spacing)], note: "d is the option :spacing"),
      no_gradient: "takes no array with fractions",
      draw: fn -> frequencies("#{name}") end
    )
  end

  # Neither is in mlx-c.
  defp of_frames do
    sides = norm_parameter() ++ [onesided: option(:boolean, :one_sided)]

    [
      operation(:stft,
        python: python("fft.stft", [x: :array] ++ frame_parameters() ++ [pad_mode: option(:word, :mode)] ++ sides),
        kinds: [fft_stft: ~w(array size size size optional_array flag text norm flag stream)a],
        examples: [
          fft_stft: [
            [array({2, 32}), 8, 2, 8, array({8}), true, "reflect", :backward, true, nil],
            [array({32}), 8, 8, 4, nil, false, "constant", :ortho, false, nil]
          ]
        ],
        draw: &stft/0
      ),
      operation(:istft,
        python:
          python(
            "fft.istft",
            [stft_matrix: :array] ++ frame_parameters() ++ sides ++ [length: option(:integer, :samples)]
          ),
        kinds: [fft_istft: ~w(array size size size optional_array flag norm flag optional_size stream)a],
        examples: [
          fft_istft: [
            [array({2, 5, 9}, :c64), 8, 2, 8, array({8}), true, :backward, true, nil, nil],
            [array({8, 4}, :c64), 8, 8, 4, nil, false, :ortho, false, 20, nil]
          ]
        ],
        draw: &istft/0
      )
    ]
  end

  defp norm_parameter, do: [norm: option(:word, :norm)]

  defp frame_parameters do
    [
      n_fft: option(:integer, :length),
      hop_length: option(:integer, :hop),
      win_length: option(:integer, :window_length),
      window: option(:array, :window),
      center: option(:boolean, :center)
    ]
  end

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
    # MLX takes no frames of a view with strides.
    rows = {:python, Python.call("mx.contiguous", [x])}
    {[x, options ++ elixir], call("stft", [rows, {:n_fft, length}, {:pad_mode, mode}, {:onesided, one_sided} | python])}
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
