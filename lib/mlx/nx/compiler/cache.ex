if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Compiler.Cache do
    @moduledoc false
    # What was compiled, for all processes of the virtual machine. A persistent term is read without being copied.

    alias Nx.Defn.Expr
    alias Nx.Tensor

    # The oldest ones go, so many at once since that has all processes collected.
    @most 1024
    @dropped 256

    @doc "The number of functions that are kept."
    @spec most() :: pos_integer()
    def most, do: @most

    @doc """
    What is there for the key, a function with templates and options, or else what `make` makes.

    A key with an expression in it, which will not come again, is not kept: as a term of its own an expression may be larger
    than the memory, since it has every node as often as there are ways to it.
    """
    @spec fetch({function(), [Nx.Container.t()], keyword()}, (-> value)) :: value when value: term()
    def fetch(key, make) do
      {fun, _templates, options} = key
      if expression?({fun, options}), do: make.(), else: find({__MODULE__, key}, make)
    end

    defp expression?(%Tensor{data: data}), do: is_struct(data, Expr)
    defp expression?(fun) when is_function(fun), do: fun |> :erlang.fun_info(:env) |> elem(1) |> expression?()
    defp expression?([first | rest]), do: expression?(first) or expression?(rest)
    defp expression?(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> expression?()
    defp expression?(%{} = map), do: map |> Map.to_list() |> expression?()
    defp expression?(_other), do: false

    defp find(key, make) do
      case :persistent_term.get(key, nil) do
        {_number, value} -> value
        nil -> insert(key, make.())
      end
    end

    defp insert(key, value) do
      counter = counter()
      :counters.add(counter, 1, 1)
      number = :counters.get(counter, 1)
      :persistent_term.put(key, {number, value})
      if rem(number, @dropped) == 0, do: drop_before(number - @most + @dropped)
      value
    end

    defp drop_before(first) do
      for {{__MODULE__, _} = key, {number, _value}} <- :persistent_term.get(), number <= first do
        :persistent_term.erase(key)
      end
    end

    # Two processes may make one at first: the later one stays, and some are dropped a little later than they could be.
    defp counter do
      with nil <- :persistent_term.get(__MODULE__, nil) do
        counter = :counters.new(1, [])
        :persistent_term.put(__MODULE__, counter)
        counter
      end
    end
  end
end
