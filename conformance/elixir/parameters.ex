defmodule Mlx.Conformance.Parameters do
  @moduledoc """
  What a parameter of Python is in `Mlx.Conformance.Signatures`:

    * `name: kind` - a positional argument in both languages (kinds: `Mlx.Conformance.Kinds`),
    * `name: default(kind, value)` - the same, which Python may leave out,
    * `name: option(kind, key)` - an option in Elixir, left out when Python leaves it out or gives `None`,
    * `name: nullable(kind, key)` - an option for which `None` means `nil`,
    * `name: always(kind, key)` - an option that is `nil` when Python leaves it out or gives `None`,
    * `name: variadic(kind)` - `*name`, a list,
    * `name: named(kind)` - `**name`, a map.
  """

  def option(kind, key), do: %{kind: kind, option: key}
  def nullable(kind, key), do: %{kind: {:nullable, kind}, option: key, nullable: true}
  def always(kind, key), do: Map.put(nullable(kind, key), :default, nil)
  def default(kind, value), do: %{kind: kind, default: value}
  def variadic(kind), do: %{kind: kind, rest: true}
  def named(kind), do: %{kind: kind, named: true, default: %{}}

  @doc "Options of these names, with the same names here."
  def options(kind, names), do: for(name <- names, do: {name, option(kind, name)})

  @doc "The names of the positional arguments of these parameters, in their order."
  def positional(parameters), do: for({name, kind} <- parameters, not match?(%{option: _}, kind), do: name)
end
