if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Compiler.Cache do
    @moduledoc false
    # What was compiled, for all processes of the virtual machine.

    alias Mlx.Native
    alias Nx.Defn.Expr
    alias Nx.Tensor

    @doc """
    What is there for the key, or else what the function makes. A key with an expression in it, which will not come again,
    is not kept: as a term of its own an expression may be larger than the memory, since it has every node as often as there
    are ways to it.
    """
    @spec fetch(term(), (-> value)) :: value when value: term()
    def fetch(key, make) do
      if expression?(key), do: make.(), else: find(key, make)
    end

    defp expression?(%Tensor{data: data}), do: is_struct(data, Expr)
    defp expression?(fun) when is_function(fun), do: fun |> :erlang.fun_info(:env) |> elem(1) |> expression?()
    defp expression?([first | rest]), do: expression?(first) or expression?(rest)
    defp expression?(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> expression?()
    defp expression?(%{} = map), do: map |> Map.to_list() |> expression?()
    defp expression?(_other), do: false

    defp find(key, make) do
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
