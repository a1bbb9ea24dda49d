if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Compiler.Cache do
    @moduledoc false
    # What was compiled, for all processes of the virtual machine.

    alias Mlx.Native

    @doc "What is there for the key, or else what the function makes."
    @spec fetch(term(), (-> value)) :: value when value: term()
    def fetch(key, make) do
      cache = cache()
      Native.cache_find(cache, key) || Native.cache_insert(cache, key, make.())
    end

    # Two processes may make one at first: the later one stays, and nothing is lost but time.
    defp cache do
      with nil <- :persistent_term.get(__MODULE__, nil) do
        cache = Native.cache_new()
        :persistent_term.put(__MODULE__, cache)
        cache
      end
    end
  end
end
