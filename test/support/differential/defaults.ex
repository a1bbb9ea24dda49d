defmodule Mlx.Differential.Defaults do
  @moduledoc "Rows for calls without options: where Python has the same defaults."

  import Mlx.Differential.Draw
  import Mlx.Differential.Input, only: [of: 3, random: 2]

  alias Mlx.Differential.{Python, Row}

  @of_one_array [
    {Mlx,
     sum: "sum",
     product: "prod",
     mean: "mean",
     median: "median",
     reduce_max: "max",
     reduce_min: "min",
     all: "all",
     any: "any",
     count_nonzero: "count_nonzero",
     logsumexp: "logsumexp",
     variance: "var",
     standard_deviation: "std",
     argmax: "argmax",
     argmin: "argmin",
     softmax: "softmax",
     cumulative_sum: "cumsum",
     cumulative_product: "cumprod",
     cumulative_max: "cummax",
     cumulative_min: "cummin",
     cumulative_logsumexp: "logcumsumexp",
     diff: "diff",
     sort: "sort",
     argsort: "argsort",
     squeeze: "squeeze",
     transpose: "transpose",
     reverse: "flip",
     unstack: "unstack",
     trace: "trace",
     diagonal: "diagonal",
     tril: "tril",
     triu: "triu",
     round: "round",
     nan_to_num: "nan_to_num",
     contiguous: "contiguous",
     zeros_like: "zeros_like",
     ones_like: "ones_like"},
    {Mlx.FFT,
     fft: "fft.fft",
     ifft: "fft.ifft",
     rfft: "fft.rfft",
     irfft: "fft.irfft",
     fft2: "fft.fft2",
     ifft2: "fft.ifft2",
     rfft2: "fft.rfft2",
     irfft2: "fft.irfft2",
     fftn: "fft.fftn",
     ifftn: "fft.ifftn",
     rfftn: "fft.rfftn",
     irfftn: "fft.irfftn",
     fftshift: "fft.fftshift",
     ifftshift: "fft.ifftshift"},
    {Mlx.Linalg, norm: "linalg.norm", svd: "linalg.svd", eigh: "linalg.eigh", eigvalsh: "linalg.eigvalsh"}
  ]

  @of_two_arrays [
    is_close: "isclose",
    all_close: "allclose",
    array_equal: "array_equal",
    tensordot: "tensordot",
    vecdot: "vecdot"
  ]

  @of_a_list [concatenate: "concatenate", stack: "stack"]

  # The shape or the other arguments of random functions, for Elixir and for Python.
  @of_a_key [
    uniform: {[{2, 3}], "uniform(shape=(2, 3), "},
    normal: {[{2, 3}], "normal((2, 3), "},
    randint: {[0, 10], "randint(0, 10, "},
    bernoulli: {[0.25], "bernoulli(0.25, "},
    truncated_normal: {[-1, 2], "truncated_normal(-1, 2, "},
    gumbel: {[{2, 3}], "gumbel((2, 3), "},
    laplace: {[{2, 3}], "laplace((2, 3), "},
    permutation: {[7], "permutation(7, "}
  ]

  @doc "The rows."
  def rows do
    for({module, functions} <- @of_one_array, {name, python} <- functions, do: row(module, name, fn -> one(python) end)) ++
      for({name, python} <- @of_two_arrays, do: row(Mlx, name, fn -> two(python) end)) ++
      for({name, python} <- @of_a_list, do: row(Mlx, name, fn -> list(python) end)) ++
      for({name, {arguments, python}} <- @of_a_key, do: row(Mlx.Random, name, fn -> keyed(arguments, python) end)) ++
      [row(Mlx, :quantize, &quantize/0), row(Mlx, :linspace, &linspace/0), row(Mlx, :tri, &tri/0)]
  end

  defp row(module, function, draw), do: Row.new(function, [module: module, variant: "without options"], draw)

  # A square, which every function takes that wants two axes.
  defp array(name), do: random(name, shape: {4, 4}, type: [:f32, :f32, :s32], values: :finite)

  defp one(python) do
    x = array("x")
    {[x], Python.call("mx.#{python}", [x])}
  end

  defp two(python) do
    arrays = [array("a"), array("b")]
    {arrays, Python.call("mx.#{python}", arrays)}
  end

  defp list(python) do
    arrays = [array("a"), array("b")]
    {[arrays], Python.call("mx.#{python}", [arrays])}
  end

  defp keyed(arguments, python) do
    key = of("key", several(2, fn -> one_of(0..0xFFFFFFFF) end), :u32)
    {arguments ++ [[key: key]], "mx.random.#{python}key=#{key})"}
  end

  defp quantize do
    w = random("w", shape: {3, 128}, type: [:f32, :f16, :bf16], values: :finite)
    {[w], Python.call("mx.quantize", [w])}
  end

  defp linspace do
    {start, stop} = {one_of([0, -3.5]), one_of([1, 10])}
    {[start, stop], Python.call("mx.linspace", [start, stop])}
  end

  defp tri do
    {rows, columns} = {one_of(1..5), one_of(1..5)}
    {[rows, columns], Python.call("mx.tri", [rows, columns])}
  end
end
