if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Compiler.HostFunctions do
    @moduledoc false
    # The functions of Elixir that a program calls, while it is recorded. Native code knows them by numbers.

    @doc "What the function returns, and the functions that were registered meanwhile, by number."
    @spec collect((-> result)) :: {result, %{non_neg_integer() => function()}} when result: term()
    def collect(fun) do
      before = Process.put(__MODULE__, %{})

      try do
        {fun.(), Process.get(__MODULE__)}
      after
        Process.put(__MODULE__, before)
      end
    end

    @doc "Registers a function from arrays to arrays, and returns its number."
    @spec register(([Mlx.Array.t()] -> [Mlx.Array.t()])) :: non_neg_integer()
    def register(function) do
      functions = Process.get(__MODULE__)
      number = map_size(functions)
      Process.put(__MODULE__, Map.put(functions, number, function))
      number
    end
  end
end
