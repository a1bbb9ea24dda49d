if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Manner do
    @moduledoc false
    # How a result is computed: whether it waits until it is needed, on which device, and how many operations it waits with.
    # A tensor has the first two from the options of the backend that made it, and hands them on to what is computed of it.
    #
    # To hand an operation to a device takes longer than to compute one on small tensors. So such operations are handed over
    # several at a time, or when a value is needed.

    alias Mlx.{Backend, Device}
    alias Mlx.Arguments.Options
    alias Mlx.Nx.Backend.{DeviceGaps, Fallback, SmallArrays}
    alias Nx.Tensor

    # The most operations that are handed over together. With what each is made of, the device gets them without a change of
    # threads.
    @most_waiting 16

    @type t :: {lazy :: boolean(), Device.t() | nil, waiting :: non_neg_integer()}

    @doc "That of options of the backend. Nx has not checked those of its option `:backend`."
    @spec from(keyword()) :: t()
    def from(options) do
      device = Keyword.get(options, :device)
      device!(device)
      {Keyword.get(options, :lazy, false), device, 0}
    end

    @doc "That of an array that any number of operations may lead to, on the device of the process."
    @spec of_graph(boolean()) :: t()
    def of_graph(lazy), do: {lazy, nil, @most_waiting}

    @doc "That of an argument of an operation. Numbers and tensors of other backends have none of their own."
    @spec of(Tensor.t() | [Tensor.t() | integer()] | term()) :: t()
    def of(%Tensor{data: %Backend{array: held, lazy: lazy, device: device, waiting: waiting}}) do
      {lazy, device, if(SmallArrays.small?(held), do: waiting, else: @most_waiting)}
    end

    def of([_ | _] = arguments), do: arguments |> Enum.map(&of/1) |> Enum.reduce(&join(&2, &1))
    def of(_other), do: {false, nil, 0}

    @doc "That of a result of several arguments: it waits if one of them does, and the first one that has a device has it."
    @spec join(t(), t()) :: t()
    def join({lazy, device, waiting}, {other_lazy, other_device, other_waiting}),
      do: {lazy or other_lazy, device || other_device, waiting + other_waiting}

    @doc "That of an operation's result: nothing waits with it where the device is to have it now."
    @spec of_result(t(), SmallArrays.held()) :: t()
    def of_result({lazy, device, waiting}, held) do
      waits? = not lazy and waiting + 1 < @most_waiting and SmallArrays.small?(held)
      {lazy, device, if(waits?, do: waiting + 1, else: 0)}
    end

    @doc "The same, for a result that the device is to have now."
    @spec at_once(t()) :: t()
    def at_once({lazy, device, _waiting}), do: {lazy, device, @most_waiting}

    @doc "What a function returns whose operations run on the device, or else on that of the process."
    @spec run(t(), (-> result)) :: result when result: var
    def run({_lazy, nil, _waiting}, fun), do: fun.()

    def run({_lazy, device, _waiting}, fun),
      do: if(Device.default() == device, do: fun.(), else: Mlx.with_device(device, fun))

    @doc "The same for an operation of Nx and its tensors, which the CPU computes where a GPU lacks a type or a kernel for it."
    @spec run(t(), atom(), [term()], (-> result)) :: result when result: var
    def run({_lazy, device, _waiting} = manner, operation, tensors, fun) do
      lacking = if (device || Device.default()) == :gpu, do: DeviceGaps.type(operation, tensors)

      if lacking do
        Fallback.announce_cpu(operation, lacking, tensors)
        Mlx.with_device(:cpu, fun)
      else
        run(manner, fun)
      end
    end

    @doc "The options of the backend, checked."
    @spec validate!(keyword()) :: keyword()
    def validate!(options) do
      options = Options.complete(options, :Backend, lazy: false, device: nil)
      device!(options[:device])
      options
    end

    defp device!(nil), do: :ok

    defp device!(device) when device in [:cpu, :gpu] do
      if not Device.available?(device) do
        raise ArgumentError,
              "Mlx.Backend: the option device: #{inspect(device)} asks for a device that is not there; without it the GPU " <>
                "is used where there is one, and Mlx.with_device/2 chooses the device for a function"
      end
    end

    defp device!(other) do
      raise ArgumentError, "Mlx.Backend: expected the option :device to be :cpu or :gpu, got: #{inspect(other)}"
    end
  end
end
