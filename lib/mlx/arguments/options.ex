defmodule Mlx.Arguments.Options do
  @moduledoc false
  # The options of functions. Every operation takes `:stream`; some take more. An unknown option raises. `function` is the
  # name in `Mlx`.

  alias Mlx.Stream
  alias Mlx.Arguments.Given

  # What Python's libraries call options, and what may be meant here.
  @python [
    axis: [:axes, :axis],
    axes: [:axis, :axes],
    dim: [:axes, :axis],
    dims: [:axes, :axis],
    keepdims: [:keep_axes, :keep_axis],
    keepdim: [:keep_axes, :keep_axis],
    dtype: [:type],
    num: [:n],
    stride: [:strides],
    dilation: [:kernel_dilation],
    groups: [:feature_group_size],
    lambd: [:lambda]
  ]

  @doc "The stream of an operation that has no other option; nil is the stream of the process."
  @spec stream(keyword(), atom()) :: Stream.t() | nil
  def stream([], _function), do: nil

  def stream(options, function) do
    check(options, [], [:stream], function)
    given_stream(options, function)
  end

  @doc """
  The values of the options in the order of `defaults`, followed by the stream.

      [axes, keep_axes, stream] = Options.values(options, :sum, axes: nil, keep_axes: false)
  """
  @spec values(keyword(), atom(), keyword()) :: [term()]
  def values(options, function, defaults) do
    check(options, defaults, [:stream], function)
    read(defaults, options, [given_stream(options, function)])
  end

  @doc "The values of the options in the order of `defaults`, for a function that is no operation."
  @spec without_stream(keyword(), atom(), keyword()) :: [term()]
  def without_stream(options, function, defaults) do
    check(options, defaults, [], function)
    read(defaults, options, [])
  end

  @doc "The options with the defaults of those that are not given, for a function that is no operation."
  @spec complete(keyword(), atom(), keyword()) :: keyword()
  def complete(options, function, defaults) do
    check(options, defaults, [], function)
    Keyword.merge(defaults, options)
  end

  # The function's name is put together only where it may be needed.
  defp given_stream(options, function) do
    if Keyword.has_key?(options, :stream), do: Stream.resolve(options, "Mlx.#{function}")
  end

  defp read([], _options, others), do: others

  defp read([{name, default} | rest], options, others),
    do: [Keyword.get(options, name, default) | read(rest, options, others)]

  defp check([], _defaults, _others, _function), do: :ok

  defp check([{name, _value} | rest], defaults, others, function) when is_atom(name) do
    if name in others or Keyword.has_key?(defaults, name) do
      check(rest, defaults, others, function)
    else
      unknown!(name, Keyword.keys(defaults) ++ others, function)
    end
  end

  defp check(other, _defaults, _others, function) do
    raise ArgumentError, "Mlx.#{function}: expected options to be a keyword list, got: #{Given.text(other)}"
  end

  defp unknown!(name, known, function) do
    hint =
      case Enum.filter(Keyword.get(@python, name, []), &(&1 in known)) do
        [here | _] -> "; Python's #{name} is #{inspect(here)} here"
        [] -> ""
      end

    raise ArgumentError,
          "Mlx.#{function}: unknown option #{inspect(name)}, expected one of " <>
            Enum.map_join(known, ", ", &inspect/1) <> hint
  end
end
