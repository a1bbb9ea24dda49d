if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Backend.Fallback do
    @moduledoc false
    # What MLX has no operation or no type for, computed by `Nx.BinaryBackend`.

    import Mlx.Backend.Conversion, only: [array: 1, wrap: 3]

    import Mlx.Backend.ForeignTypes, only: [is_absent: 1]

    alias Mlx.Backend.Manner
    alias Nx.{BinaryBackend, Tensor}

    require Logger

    @event [:mlx, :backend, :fallback]

    @doc "Calls a function of `Nx.BinaryBackend`. What is absent from MLX stays there."
    @spec compute(atom(), Tensor.t(), [term()]) :: Tensor.t()
    def compute(function, out, arguments) do
      tensors = for argument <- arguments, %Tensor{} = tensor <- List.wrap(argument), do: tensor
      announce(function, tensors)
      arguments = Enum.map(arguments, &copy/1)

      # Numbers in functions become tensors of the default backend.
      result = Nx.with_default_backend(BinaryBackend, fn -> apply(BinaryBackend, function, [out | arguments]) end)
      give(result, Manner.of(tensors))
    end

    @spec reduce(Tensor.t(), Tensor.t(), Tensor.t(), keyword(), fun()) :: Tensor.t()
    def reduce(out, tensor, accumulator, options, fun) do
      compute(:reduce, out, [tensor, accumulator, options, fun])
    end

    @spec window_reduce(Tensor.t(), Tensor.t(), Tensor.t(), tuple(), keyword(), fun()) :: Tensor.t()
    def window_reduce(out, tensor, accumulator, window, options, fun) do
      compute(:window_reduce, out, [tensor, accumulator, window, options, fun])
    end

    defp give(result, _manner) when is_absent(result), do: result
    defp give(result, manner), do: wrap(result, array(result), manner)

    defp copy(%Tensor{} = tensor), do: Nx.backend_copy(tensor, BinaryBackend)
    defp copy([%Tensor{} | _] = tensors), do: Enum.map(tensors, &copy/1)
    defp copy(fun) when is_function(fun, 2), do: fn element, accumulator -> copy(fun.(element, accumulator)) end
    defp copy(other), do: other

    defp announce(function, tensors) do
      :telemetry.execute(@event, %{bytes: tensors |> Enum.map(&Nx.byte_size/1) |> Enum.sum()}, %{function: function})

      case Application.get_env(:mlx, :nx_fallback, :allow) do
        :allow -> :ok
        :warn -> Logger.warning(message(function))
        :raise -> raise ArgumentError, message(function)
      end
    end

    defp message(function) do
      "Mlx.Backend: MLX cannot compute this call of Nx.#{function}; Nx.BinaryBackend computes it, slowly"
    end
  end
end
