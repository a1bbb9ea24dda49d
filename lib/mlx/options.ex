defmodule Mlx.Options do
  @moduledoc false
  # The options of operations. Every operation takes `:stream`; some take more. An unknown option raises.

  alias Mlx.Stream

  @doc """
  The stream of an operation that has no other option; nil is the stream of the process. `function` is its name in `Mlx`.
  """
  @spec stream(keyword(), atom()) :: Stream.t() | nil
  def stream([], _function), do: nil

  def stream(options, function) do
    check(options, [], function)
    Stream.resolve(options)
  end

  @doc """
  The values of the options in the order of `defaults`, followed by the stream.

      [axes, keep_axes, stream] = Options.values(options, :sum, axes: nil, keep_axes: false)
  """
  @spec values(keyword(), atom(), keyword()) :: [term()]
  def values(options, function, defaults) do
    check(options, defaults, function)
    read(defaults, options)
  end

  defp read([], options), do: [Stream.resolve(options)]
  defp read([{name, default} | rest], options), do: [Keyword.get(options, name, default) | read(rest, options)]

  defp check([], _defaults, _function), do: :ok

  defp check([{name, _value} | rest], defaults, function) when is_atom(name) do
    if name == :stream or Keyword.has_key?(defaults, name) do
      check(rest, defaults, function)
    else
      known = Enum.map_join(Keyword.keys(defaults) ++ [:stream], ", ", &inspect/1)
      raise ArgumentError, "Mlx.#{function}: unknown option #{inspect(name)}, expected one of #{known}"
    end
  end

  defp check(other, _defaults, function) do
    raise ArgumentError, "Mlx.#{function}: expected options to be a keyword list, got: #{inspect(other)}"
  end
end
