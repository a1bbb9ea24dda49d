defmodule Mlx.FFTTest do
  use ExUnit.Case, async: true

  import Mlx.Oracle

  alias Mlx.FFT

  doctest Mlx.FFT

  @moduletag :oracle

  defp wave(shape), do: Mlx.reshape(Mlx.sin(Mlx.arange(Tuple.product(shape), type: :f32)), shape)

  # Real numbers, but for the inverses that give real numbers.
  defp input(name) when name in [:irfft, :irfft2, :irfftn], do: Mlx.as_type(wave({3, 4, 5}), :c64)
  defp input(_name), do: wave({3, 4, 5})

  for name <- [:fft, :ifft, :rfft, :irfft] do
    test "#{name}" do
      name = unquote(name)
      x = input(name)
      assert_oracle(FFT.unquote(name)(x), "mx.fft.#{name}(x)", x: x)
      assert_oracle(FFT.unquote(name)(x, axis: 1), "mx.fft.#{name}(x, axis=1)", x: x)

      for length <- [2, 7], norm <- [:backward, :ortho, :forward] do
        actual = FFT.unquote(name)(x, length: length, axis: 0, norm: norm)
        assert_oracle(actual, "mx.fft.#{name}(x, #{length}, 0, '#{norm}')", x: x)
      end

      assert_raise ArgumentError, ~r/3 is not an axis/, fn -> FFT.unquote(name)(x, axis: 3) end
      assert_raise Mlx.Error, fn -> FFT.unquote(name)(x, length: 0) end
    end
  end

  for name <- [:fft2, :ifft2, :rfft2, :irfft2, :fftn, :ifftn, :rfftn, :irfftn] do
    test "#{name}" do
      name = unquote(name)
      x = input(name)
      assert_oracle(FFT.unquote(name)(x), "mx.fft.#{name}(x)", x: x)
      assert_oracle(FFT.unquote(name)(x, norm: :ortho), "mx.fft.#{name}(x, norm='ortho')", x: x)
      assert_oracle(FFT.unquote(name)(x, axes: [0, 2]), "mx.fft.#{name}(x, axes=[0, 2])", x: x)
      actual = FFT.unquote(name)(x, lengths: [4, 3], axes: [1, 0])
      assert_oracle(actual, "mx.fft.#{name}(x, [4, 3], [1, 0])", x: x)
      assert_oracle(FFT.unquote(name)(x, lengths: [2, 6]), "mx.fft.#{name}(x, [2, 6], [-2, -1])", x: x)
      assert_raise Mlx.Error, fn -> FFT.unquote(name)(x, axes: [0, 0]) end
      assert_raise ArgumentError, ~r/not an axis/, fn -> FFT.unquote(name)(x, axes: [0, -4]) end
    end
  end

  test "a shift of one axis" do
    array = Mlx.reshape(Mlx.arange(12), {3, 4})

    for name <- [:fftshift, :ifftshift], axis <- [0, 1, -1] do
      [one, list] = for axes <- [axis, [axis]], do: apply(Mlx.FFT, name, [array, [axes: axes]])
      assert Mlx.to_list(one) == Mlx.to_list(list)
      assert Mlx.to_list(one) != Mlx.to_list(array)
    end
  end

  test "shifts" do
    for shape <- [{4}, {5}, {3, 4}], name <- [:fftshift, :ifftshift] do
      x = wave(shape)
      assert_oracle(apply(FFT, name, [x]), "mx.fft.#{name}(x)", x: x)
      assert_oracle(apply(FFT, name, [x, [axes: [0]]]), "mx.fft.#{name}(x, axes=[0])", x: x)
    end
  end

  test "frequencies" do
    for n <- [1, 4, 5], name <- [:fftfreq, :rfftfreq] do
      assert_oracle(apply(FFT, name, [n]), "mx.fft.#{name}(#{n})")
      assert_oracle(apply(FFT, name, [n, [spacing: 0.1]]), "mx.fft.#{name}(#{n}, 0.1)")
    end
  end

  test "the transform of frames is linear in its samples, forward twice as well" do
    options = [length: 8, hop: 4, center: false, window: Mlx.hanning(8)]
    frames = fn amplitude -> FFT.stft(Mlx.broadcast(amplitude, {16}), options) end
    of_ones = frames.(Mlx.array(1.0))
    one = Mlx.array(1.0)

    tangent = fn x -> frames |> Mlx.jvp([x], [one]) |> elem(1) end
    assert one |> tangent.() |> Mlx.all_close(of_ones) |> Mlx.to_number()

    squares = fn x -> Mlx.real(frames.(Mlx.multiply(x, x))) end
    twice = fn x -> squares |> Mlx.jvp([x], [one]) |> elem(1) end

    assert twice
           |> Mlx.jvp([one], [one])
           |> elem(1)
           |> Mlx.all_close(Mlx.multiply(2.0, Mlx.real(of_ones)))
           |> Mlx.to_number()
  end
end
