defmodule Mlx.Stream do
  @moduledoc """
  A stream: a queue of operations on one device.

  Every operation belongs to a stream, which is chosen in this order:

    1. the `:stream` option of the operation: a stream, or `:cpu` or `:gpu` for the default stream of that device;
    2. the stream of the calling process, set by `Mlx.with_stream/2`, `Mlx.with_device/2` or `set_default/1`;
    3. the default stream of the default device.

  Operations of one stream run in order. Operations of different streams may run side by side, and MLX puts the
  synchronisation that the data needs between them, so a stream never changes a result.

  Python: `mlx.core.Stream`, `mlx.core.ThreadLocalStream`; their `device` is a field here too.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Native
  alias Mlx.Arguments.{CalledFunction, Given}

  @enforce_keys [:ref, :device, :index]
  defstruct [:ref, :device, :index]

  @type t :: %__MODULE__{ref: reference(), device: Mlx.Device.t(), index: integer()}

  @process_key __MODULE__

  @doc """
  Makes a new stream on a device.

      iex> stream = Mlx.Stream.new(:cpu)
      iex> Mlx.add(1, 2, stream: stream) |> Mlx.to_number()
      3

  Every process can use it.

  Python: `mlx.core.new_stream`, `new_thread_unsafe_stream`, `new_thread_local_stream`.
  """
  @spec new(Mlx.Device.t()) :: t()
  def new(device), do: wrap(Native.stream_new(device))

  @doc """
  The stream of a device that is used when none is given: the one that the calling process has chosen, or else the first
  of the device. The device is by default that of the process.

      iex> Mlx.Stream.default(:cpu).device
      :cpu
      iex> stream = Mlx.Stream.new(:cpu)
      iex> Mlx.with_stream(stream, fn -> Mlx.Stream.default(:cpu) == stream end)
      true

  Python: `mlx.core.default_stream`.
  """
  @spec default(Mlx.Device.t()) :: t()
  def default(device \\ Mlx.Device.default()) do
    case current() do
      %__MODULE__{device: ^device} = stream -> stream
      _none_or_elsewhere -> wrap(Native.default_stream(device))
    end
  end

  @doc """
  Chooses the stream, and with it the device, for all operations of the calling process from now on. `Mlx.with_stream/2`
  chooses it for a function only.

      iex> stream = Mlx.Stream.new(:cpu)
      iex> Mlx.Stream.set_default(stream)
      :ok
      iex> Mlx.Stream.default() == stream
      true

  Python: `mlx.core.set_default_stream`, which leaves the device as it is.
  """
  @spec set_default(t()) :: :ok
  def set_default(%__MODULE__{} = stream) do
    choose(stream)
    :ok
  end

  @doc """
  Waits until every operation that was scheduled on a stream has run.

      iex> Mlx.Stream.synchronize()
      :ok

  Python: `mlx.core.synchronize`.
  """
  @spec synchronize(t() | nil) :: :ok
  def synchronize(stream \\ nil)
  def synchronize(nil), do: Native.synchronize(nil)
  def synchronize(%__MODULE__{ref: ref}), do: Native.synchronize(ref)

  @doc """
  The stream of the calling process, or `nil` when none is set and the default stream of the default device is used.

      iex> Mlx.Stream.current()
      nil
      iex> Mlx.with_device(:cpu, fn -> Mlx.Stream.current().device end)
      :cpu
  """
  @spec current() :: t() | nil
  def current, do: Process.get(@process_key)

  @doc false
  # Calls `fun` while `stream` is the stream of the calling process.
  @spec with_current(t(), (-> result)) :: result when result: var
  def with_current(%__MODULE__{} = stream, fun) do
    previous = current()
    choose(stream)

    try do
      fun.()
    after
      choose(previous)
    end
  end

  # Native functions know the choice of the calling process themselves; the dictionary is for `current/0`.
  defp choose(nil) do
    Native.choose_stream(nil)
    Process.delete(@process_key)
  end

  defp choose(%__MODULE__{ref: ref} = stream) do
    Native.choose_stream(ref)
    Process.put(@process_key, stream)
  end

  @doc false
  # The stream itself when it is of the CPU, else the default one of the CPU. Nil stands for the default stream of the
  # default device.
  @spec on_cpu(t() | nil) :: t() | nil
  def on_cpu(nil), do: if(Mlx.Device.default() == :cpu, do: nil, else: default(:cpu))
  def on_cpu(%__MODULE__{device: :cpu} = stream), do: stream
  def on_cpu(%__MODULE__{}), do: default(:cpu)

  @doc false
  # Where an operation on arrays of a type runs for which a stream was asked, nil for that of the process: a GPU has no
  # `:f64`.
  @spec for_type(t() | nil, Mlx.Type.t()) :: t() | nil
  def for_type(stream, :f64), do: on_cpu(stream || current())
  def for_type(stream, _type), do: stream

  @doc false
  # The stream that the options of a function name; nil is that of the calling process, or the default stream of the
  # default device.
  @spec resolve(keyword(), String.t()) :: t() | nil
  def resolve(options, function) do
    case Keyword.get(options, :stream) do
      nil ->
        nil

      %__MODULE__{} = stream ->
        stream

      device when device in [:cpu, :gpu] ->
        of_device(device, function)

      other ->
        raise ArgumentError, "#{function}: expected :stream to be a Mlx.Stream, :cpu or :gpu, got: #{Given.text(other)}"
    end
  end

  @doc false
  # The default stream of a device, for a function that was given the device.
  @spec of_device(Mlx.Device.t(), String.t()) :: t()
  def of_device(device, function) do
    CalledFunction.name(function, ["Mlx.Stream.default"], fn -> default(device) end)
  end

  defp wrap(ref), do: %__MODULE__{ref: ref, device: Native.stream_device(ref), index: Native.stream_index(ref)}

  defimpl Inspect do
    def inspect(stream, _opts), do: "#Mlx.Stream<#{stream.device} #{stream.index}>"
  end
end
