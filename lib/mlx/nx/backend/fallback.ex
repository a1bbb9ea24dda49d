if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Fallback do
    @moduledoc false
    # What MLX has no operation or no type for, computed by `Nx.BinaryBackend`, and the announcement of what is computed
    # elsewhere than the program asks for.

    import Mlx.Nx.Backend.Conversion, only: [array: 1, wrap: 3]

    import Mlx.Nx.Backend.ForeignTypes, only: [is_absent: 1]

    alias Mlx.Nx.Backend.Manner
    alias Mlx.Telemetry
    alias Nx.{BinaryBackend, Tensor}

    require Logger

    @doc "Calls a function of `Nx.BinaryBackend`. What is absent from MLX stays there."
    @spec compute(atom(), Tensor.t(), [term()]) :: Tensor.t()
    def compute(function, out, arguments) do
      tensors = tensors(arguments)
      announce_binary(function, tensors)
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

    @doc "Tells that the CPU computes an operation that the GPU lacks a type or a kernel for."
    @spec announce_cpu(atom(), Nx.Type.t(), [term()]) :: :ok
    def announce_cpu(function, type, arguments) do
      problem = "the GPU cannot compute this call of Nx.#{function} with #{Nx.Type.to_string(type)}"
      announce(function, tensors(arguments), problem, "the CPU")
    end

    defp announce_binary(function, tensors) do
      announce(function, tensors, "MLX cannot compute this call of Nx.#{function}", "Nx.BinaryBackend, which is slow,")
    end

    defp announce(function, tensors, problem, other) do
      bytes = tensors |> Enum.map(&Nx.byte_size/1) |> Enum.sum()
      warning = "Mlx.Backend: #{problem}; #{other} computes it"
      Telemetry.execute([:fallback], %{bytes: bytes}, %{function: "Nx.#{function}", device: :cpu, reason: warning})

      case Application.get_env(:mlx, :nx_fallback, :allow) do
        :allow -> :ok
        :warn -> Logger.warning(warning)
        :raise -> raise ArgumentError, forbidden(problem, other)
      end
    end

    defp forbidden(problem, other) do
      "Mlx.Backend: #{problem}, and the configuration `config :mlx, nx_fallback: :raise` forbids that #{other} computes it"
    end

    defp tensors(arguments), do: for(argument <- arguments, %Tensor{} = tensor <- List.wrap(argument), do: tensor)
  end
end
