if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Manner do
    @moduledoc false
    # How a result is computed: whether it waits until it is needed, and on which device. A tensor has it from the options of
    # the backend that made it, and hands it on to what is computed of it.

    alias Mlx.{Backend, Device}
    alias Mlx.Arguments.Options
    alias Mlx.Nx.Backend.{DeviceGaps, Fallback}
    alias Nx.Tensor

    @type t :: {lazy :: boolean(), Device.t() | nil}

    @doc "That of options of the backend. Nx has not checked those of its option `:backend`."
    @spec from(keyword()) :: t()
    def from(options) do
      device = Keyword.get(options, :device)
      device!(device)
      {Keyword.get(options, :lazy, false), device}
    end

    @doc "That of an argument of an operation. Numbers and tensors of other backends have none of their own."
    @spec of(Tensor.t() | [Tensor.t() | integer()] | term()) :: t()
    def of(%Tensor{data: %Backend{lazy: lazy, device: device}}), do: {lazy, device}
    def of([_ | _] = arguments), do: arguments |> Enum.map(&of/1) |> Enum.reduce(&join(&2, &1))
    def of(_other), do: {false, nil}

    @doc "That of a result of several arguments: it waits if one of them does, and the first one that has a device has it."
    @spec join(t(), t()) :: t()
    def join({lazy, device}, {other_lazy, other_device}), do: {lazy or other_lazy, device || other_device}

    @doc "What a function returns whose operations run on the device, or else on that of the process."
    @spec run(t(), (-> result)) :: result when result: var
    def run({_lazy, nil}, fun), do: fun.()
    def run({_lazy, device}, fun), do: if(Device.default() == device, do: fun.(), else: Mlx.with_device(device, fun))

    @doc "The same for an operation of Nx and its tensors, which the CPU computes where a GPU lacks a type or a kernel for it."
    @spec run(t(), atom(), [term()], (-> result)) :: result when result: var
    def run({_lazy, device} = manner, operation, tensors, fun) do
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
