defmodule Mlx.Ops.Operation do
  @moduledoc false
  # Defines the operations that only pass their operands to the native function:
  #
  #     @doc "The sum, element by element."
  #     operation add(a, b)
  #
  #     @doc "The inverse sine."
  #     operation asin(array), :arcsin
  #
  # Those that MLX computes for `:f64` with the digits of `:f32` have `Mlx.Ops.DoublePrecision` do it:
  #
  #     @doc "The exponential."
  #     operation_in_double exp(array)
  #
  # Each gets a spec and the `:stream` option. The native function has the same name unless another is given. `Mlx` defines
  # them once more instead of delegating: one call less on the path of every operation.

  # What people look for who give options in the place of the second array.
  @reductions %{max: :reduce_max, min: :reduce_min}

  defmacro __using__(_options) do
    quote do
      import Mlx.Ops.Operation, only: [operation: 1, operation: 2, operation_in_double: 1, operation_in_double: 2]
      require Mlx.NonFinite.Operations
      Module.register_attribute(__MODULE__, :native, accumulate: true)
    end
  end

  defmacro operation({name, _, operands}, native \\ nil) do
    types = for _ <- operands, do: quote(do: Mlx.Array.operand())
    native = native || name
    reduction = @reductions[name]

    quote do
      @native {unquote(name), unquote(native)}
      @compile {:inline, [{unquote(name), unquote(length(operands) + 1)}]}
      @spec unquote(name)(unquote_splicing(types), keyword()) :: Mlx.Array.t()
      def unquote(name)(unquote_splicing(operands), options \\ [])

      if unquote(reduction) do
        def unquote(name)(_array, [{option, _value} | _] = options, []) when is_atom(option) do
          raise ArgumentError,
                "Mlx.#{unquote(name)}: expected an Mlx.Array or a number, got: #{inspect(options)}; " <>
                  "of the elements of one array it is Mlx.#{unquote(reduction)}/2"
        end
      end

      # What nearly every call is: inlined, it goes to the native function without a detour.
      def unquote(name)(unquote_splicing(operands), []) do
        Mlx.NonFinite.Operations.checked unquote("Mlx.#{name}"), [unquote_splicing(operands)] do
          Mlx.Native.unquote(native)(unquote_splicing(operands), nil)
        end
      end

      def unquote(name)(unquote_splicing(operands), options) do
        Mlx.NonFinite.Operations.checked unquote("Mlx.#{name}"), [unquote_splicing(operands)] do
          Mlx.Native.unquote(native)(unquote_splicing(operands), Mlx.Arguments.Options.stream(options, unquote(name)))
        end
      end
    end
  end

  defmacro operation_in_double({name, _, operands}, native \\ nil) do
    types = for _ <- operands, do: quote(do: Mlx.Array.operand())

    # Whether an operand is of `:f64`, as guards that fail for numbers one by one.
    guard =
      for(operand <- operands, do: quote(do: :erlang.map_get(:type, unquote(operand)) == :f64))
      |> Enum.reduce(fn next, first -> quote(do: unquote(first) when unquote(next)) end)

    head = quote(do: unquote(name)(unquote_splicing(operands), options) when unquote(guard))

    quote do
      @spec unquote(name)(unquote_splicing(types), keyword()) :: Mlx.Array.t()
      def unquote(name)(unquote_splicing(operands), options \\ [])

      def unquote(head) do
        stream = Mlx.Arguments.Options.stream(options, unquote(name))
        Mlx.Ops.DoublePrecision.on(stream, fn -> Mlx.Ops.DoublePrecision.unquote(name)(unquote_splicing(operands)) end)
      end

      def unquote(name)(unquote_splicing(operands), options) do
        Mlx.Native.unquote(native || name)(
          unquote_splicing(operands),
          Mlx.Arguments.Options.stream(options, unquote(name))
        )
      end
    end
  end
end
