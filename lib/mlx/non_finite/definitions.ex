defmodule Mlx.NonFinite.Definitions do
  @moduledoc false
  # `use Mlx.NonFinite.Definitions` has what the public functions of a module return checked, as the results of operations:
  # see `Mlx.NonFinite.Operations`. The arguments of such a function have names.

  defmacro __using__(_options) do
    quote do
      import Kernel, except: [def: 2]
      import Mlx.NonFinite.Definitions, only: [def: 2]
      require Mlx.NonFinite.Operations
    end
  end

  @doc "Defines a public function."
  defmacro def(head, do: body) do
    # Its name may only be known while it is defined.
    name = quote(do: "#{inspect(__MODULE__)}.#{elem(__ENV__.function, 0)}")

    quote do
      Kernel.def unquote(head) do
        Mlx.NonFinite.Operations.checked(unquote(name), unquote(arguments(head)), do: unquote(body))
      end
    end
  end

  defp arguments({:when, _, [head, _guard]}), do: arguments(head)
  defp arguments({_name, _, arguments}) when is_list(arguments), do: Enum.map(arguments, &argument/1)
  defp arguments({_name, _, context}) when is_atom(context), do: []

  defp argument({:\\, _, [argument, _default]}), do: argument(argument)
  defp argument({:=, _, [_pattern, name]}), do: name
  defp argument(name), do: name
end
