defmodule Mlx.FFT do
  @moduledoc """
  Discrete Fourier transforms.

  There are transforms over one axis, over two and over any number, for complex and for real input, and their inverses.
  Results are `:c64`, and `:f32` where an inverse gives real numbers (`irfft`, `irfft2`, `irfftn`).

  The option `:norm` says where the factor `1 / n` goes: `:backward` (default) into the inverse, `:forward` into the
  forward transform, `:ortho` with its square root into both.

  Python: `mlx.core.fft`.
  """

  use Mlx.NonFinite.Definitions

  alias Mlx.{Array, Native}
  alias Mlx.Arguments.{Given, Operand, Options, Sizes}

  # name, what it computes, example input, its transform
  @one_axis [
    {:fft, "The discrete Fourier transform along one axis.", "Mlx.array([1.0, 2.0, 3.0, 4.0])",
     "[{10.0, 0.0}, {-2.0, 2.0}, {-2.0, 0.0}, {-2.0, -2.0}]"},
    {:ifft, "The inverse of `fft/2`.", "Mlx.array([4.0, 0.0, 0.0, 0.0])",
     "[{1.0, 0.0}, {1.0, 0.0}, {1.0, 0.0}, {1.0, 0.0}]"},
    {:rfft,
     "The discrete Fourier transform of real input along one axis. Only the first `n / 2 + 1` elements are computed; " <>
       "the others are their conjugates.", "Mlx.array([1.0, 2.0, 3.0, 4.0])",
     "[{10.0, 0.0}, {-2.0, 2.0}, {-2.0, 0.0}]"},
    {:irfft, "The inverse of `rfft/2`. The size of the result is `2 * (n - 1)` unless `:length` says otherwise.",
     "Mlx.array([4.0, 0.0, 0.0])", "[1.0, 1.0, 1.0, 1.0]"}
  ]

  for {name, text, input, output} <- @one_axis do
    @doc """
    #{text}

    Options:

      * `:length` - the size of the #{if name == :irfft, do: "result", else: "transformed"} axis; the input is cut or padded with zeros to match it
      * `:axis` - default -1
      * `:norm` - `:backward`, `:ortho` or `:forward`

    Examples:

        iex> Mlx.FFT.#{name}(#{input}) |> Mlx.to_list()
        #{output}

    Python: `mlx.core.fft.#{name}`.
    """
    @spec unquote(name)(Array.t(), keyword()) :: Array.t()
    def unquote(name)(array, options \\ []) do
      array = Operand.array!(array, unquote(:"FFT.#{name}"))

      [length, axis, norm, stream] =
        Options.values(options, unquote(:"FFT.#{name}"), length: nil, axis: -1, norm: :backward)

      length = length || length(unquote(name), [axis!(unquote(name), array, axis)], array)
      Native.unquote(:"fft_#{name}")(array, length, axis, norm, stream)
    end
  end

  # name, what it computes, the default axes, the shape of the transform of an array {3, 4, 5}
  @several_axes [
    {:fft2, "The discrete Fourier transform over two axes.", 2, "{3, 4, 5}"},
    {:ifft2, "The inverse of `fft2/2`.", 2, "{3, 4, 5}"},
    {:rfft2, "The discrete Fourier transform of real input over two axes. The last is halved as in `rfft/2`.", 2,
     "{3, 4, 3}"},
    {:irfft2, "The inverse of `rfft2/2`.", 2, "{3, 4, 8}"},
    {:fftn, "The discrete Fourier transform over several axes.", :all, "{3, 4, 5}"},
    {:ifftn, "The inverse of `fftn/2`.", :all, "{3, 4, 5}"},
    {:rfftn, "The discrete Fourier transform of real input over several axes. The last is halved as in `rfft/2`.", :all,
     "{3, 4, 3}"},
    {:irfftn, "The inverse of `rfftn/2`.", :all, "{3, 4, 8}"}
  ]

  for {name, text, axes, shape} <- @several_axes do
    @doc """
    #{text}

    Options:

      * `:axes` - default #{if axes == 2, do: "`[-2, -1]`", else: "all, or as many of the last as `:lengths` has"}
      * `:lengths` - the sizes of the #{if name in [:irfft2, :irfftn], do: "result along the axes", else: "transformed axes"}; the input is cut or padded with zeros to match them
      * `:norm` - `:backward`, `:ortho` or `:forward`

    Examples:

        iex> Mlx.FFT.#{name}(Mlx.ones({3, 4, 5})).shape
        #{shape}

    Python: `mlx.core.fft.#{name}`.
    """
    @spec unquote(name)(Array.t(), keyword()) :: Array.t()
    def unquote(name)(array, options \\ []) do
      array = Operand.array!(array, unquote(:"FFT.#{name}"))

      [axes, lengths, norm, stream] =
        Options.values(options, unquote(:"FFT.#{name}"), axes: nil, lengths: nil, norm: :backward)

      lengths = lengths && lengths |> Sizes.shape!(unquote(:"FFT.#{name}")) |> Tuple.to_list()
      axes = if axes, do: List.wrap(axes), else: default_axes(unquote(axes), lengths, array)
      lengths = lengths || lengths(unquote(name), Enum.map(axes, &axis!(unquote(name), array, &1)), array)
      Native.unquote(:"fft_#{name}")(array, lengths, axes, norm, stream)
    end
  end

  @shifts [
    {:fftshift, "Moves the zero frequency to the middle of the axes.", "[3, 4, 1, 2]"},
    {:ifftshift, "The inverse of `fftshift/2`.", "[3, 4, 1, 2]"}
  ]

  for {name, text, output} <- @shifts do
    @doc """
    #{text}

    Options:

      * `:axes` - an axis or a list, default all

    Examples:

        iex> Mlx.FFT.#{name}(Mlx.array([1, 2, 3, 4])) |> Mlx.to_list()
        #{output}

    Python: `mlx.core.fft.#{name}`.
    """
    @spec unquote(name)(Array.t(), keyword()) :: Array.t()
    def unquote(name)(array, options \\ []) do
      array = Operand.array!(array, unquote(:"FFT.#{name}"))
      [axes, stream] = Options.values(options, unquote(:"FFT.#{name}"), axes: nil)
      Native.unquote(:"fft_#{name}")(array, axes(axes, array), stream)
    end
  end

  @frequencies [
    {:fftfreq, "The frequencies of the elements of `fft/2` for `n` samples.", "[0.0, 0.25, -0.5, -0.25]"},
    {:rfftfreq, "The frequencies of the elements of `rfft/2` for `n` samples.", "[0.0, 0.25, 0.5]"}
  ]

  for {name, text, output} <- @frequencies do
    @doc """
    #{text}

    Options:

      * `:spacing` - the distance of two samples, default 1

    Examples:

        iex> Mlx.FFT.#{name}(4) |> Mlx.to_list()
        #{output}

    Python: `mlx.core.fft.#{name}`.
    """
    @spec unquote(name)(pos_integer(), keyword()) :: Array.t()
    def unquote(name)(n, options \\ []) do
      [spacing, stream] = Options.values(options, unquote(:"FFT.#{name}"), spacing: 1)
      Native.unquote(:"fft_#{name}")(n, spacing, stream)
    end
  end

  @doc """
  The short-time Fourier transform of the last axis: the transforms of overlapping frames of `:length` samples, in an array
  `{..., frequencies, frames}`, of `:c64`.

  Options:

    * `:length` - the size of the transforms, default 2048
    * `:hop` - the samples from one frame to the next, default a quarter of `:length`
    * `:window` - a vector that each frame is multiplied with, by default of ones; `:window_length` is its size, default
      `:length`, and a shorter window is centred
    * `:center` - whether borders are added, so that the frames are centred, default true
    * `:mode` - what the borders are made of, as in `Mlx.pad/3`: `:reflect` (default), `:constant` or `:edge`
    * `:one_sided` - whether only frequencies from 0 on are computed, default true for real input
    * `:norm` - `:backward`, `:ortho` or `:forward`

  Examples:

      iex> samples = Mlx.arange(32, type: :f32)
      iex> Mlx.FFT.stft(samples, length: 8, hop: 4, window: Mlx.hanning(8)).shape
      {5, 9}

  Python: `mlx.core.fft.stft`.
  """
  @spec stft(Array.t(), keyword()) :: Array.t()
  def stft(array, options \\ []) do
    own = [mode: :reflect, one_sided: Operand.array!(array, :"FFT.stft").type != :c64]

    [length, hop, window, window_length, center, norm, mode, one_sided, stream] =
      frames(options, :stft, [length: 2048], own)

    {hop, window_length} = {hop || hop(length, :stft), window_length || length}
    Native.fft_stft(array, length, hop, window_length, window, center, mode, norm, one_sided, stream)
  end

  @doc """
  The inverse of `stft/2`: the samples of which an array `{..., frequencies, frames}` has the transforms, as `:f32`.

  Options beside those of `stft/2`, which has to have been called with the same ones:

    * `:length` - the size of the transforms; by default it follows from the number of frequencies, and is even
    * `:samples` - how many samples the result has; it is cut or padded with zeros

  Examples:

      iex> samples = Mlx.arange(32, type: :f32)
      iex> options = [length: 8, hop: 4, window: Mlx.hanning(8)]
      iex> again = samples |> Mlx.FFT.stft(options) |> Mlx.FFT.istft(options)
      iex> Mlx.all_close(again, samples, atol: 1.0e-4) |> Mlx.to_number()
      true

  Python: `mlx.core.fft.istft`.
  """
  @spec istft(Array.t(), keyword()) :: Array.t()
  def istft(array, options \\ []) do
    array = Operand.array!(array, :"FFT.istft")
    own = [one_sided: true, samples: nil]

    [length, hop, window, window_length, center, norm, one_sided, samples, stream] =
      frames(options, :istft, [length: nil], own)

    length = length || transform_length(array, one_sided)
    {hop, window_length} = {hop || hop(length, :istft), window_length || length}
    Native.fft_istft(array, length, hop, window_length, window, center, norm, one_sided, samples, stream)
  end

  defp frames(options, function, length, own) do
    common = length ++ [hop: nil, window: nil, window_length: nil, center: true, norm: :backward]
    Options.values(options, :"FFT.#{function}", common ++ own)
  end

  defp hop(length, _function) when is_integer(length), do: div(length, 4)

  defp hop(length, function) do
    raise ArgumentError, "Mlx.FFT.#{function}: expected :length to be an integer, got: #{Given.text(length)}"
  end

  defp transform_length(%Array{shape: shape}, one_sided) when tuple_size(shape) >= 2 do
    frequencies = elem(shape, tuple_size(shape) - 2)
    if one_sided, do: 2 * (frequencies - 1), else: frequencies
  end

  defp transform_length(%Array{shape: shape}, _one_sided) do
    raise ArgumentError, "Mlx.FFT.istft: expected an array {..., frequencies, frames}, got the shape #{inspect(shape)}"
  end

  defp axis!(name, %Array{shape: shape}, axis) do
    rank = tuple_size(shape)

    if not is_integer(axis) or axis < -rank or axis >= rank do
      raise ArgumentError,
            "Mlx.FFT.#{name}: #{Given.text(axis)} is not an axis of an array of shape #{inspect(shape)}"
    end

    Integer.mod(axis, rank)
  end

  defp axes(nil, array), do: default_axes(:all, nil, array)
  defp axes(axes, _array), do: List.wrap(axes)

  defp default_axes(2, _lengths, _array), do: [-2, -1]
  defp default_axes(:all, nil, array), do: Enum.to_list(0..(tuple_size(array.shape) - 1)//1)
  defp default_axes(:all, lengths, _array), do: Enum.to_list(-length(lengths)..-1//1)

  defp length(name, axes, array), do: hd(lengths(name, axes, array))

  # The inverse of a real transform has real output, of which the input is a half.
  defp lengths(name, axes, array) do
    lengths = for axis <- axes, do: elem(array.shape, axis)
    if name in [:irfft, :irfft2, :irfftn], do: List.update_at(lengths, -1, &(2 * (&1 - 1))), else: lengths
  end
end
