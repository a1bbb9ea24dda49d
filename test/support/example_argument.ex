defmodule Mlx.ExampleArgument do
  @moduledoc """
  An argument for a type of a spec.
  """

  # type, an argument
  @types %{
    "Mlx.Array.t()" => &__MODULE__.array/0,
    "Mlx.Array.operand()" => &__MODULE__.array/0,
    "Mlx.Array.shape()" => {2, 2},
    "Mlx.Array.sizes()" => {2, 2},
    "Mlx.Type.t()" => :f32,
    "Mlx.Device.t()" => :cpu,
    "Mlx.Stream.t()" => &Mlx.Stream.default/0,
    "Mlx.Distributed.Group.t()" => &Mlx.Distributed.init/0,
    "Mlx.Tree.t()" => &__MODULE__.array/0,
    "Nx.Container.t()" => &__MODULE__.tensor/0,
    "Nx.Tensor.t()" => &__MODULE__.tensor/0,
    "Nx.t()" => &__MODULE__.tensor/0,
    "Path.t()" => "missing.safetensors",
    "String.t()" => "text",
    "binary()" => "text",
    "atom()" => :atom,
    "boolean()" => true,
    "float()" => 1.0,
    "function()" => {:function, 1},
    "integer()" => 1,
    "keyword()" => [],
    "map()" => %{},
    "non_neg_integer()" => 1,
    "number()" => 1,
    "pos_integer()" => 1,
    "term()" => &__MODULE__.array/0,
    "tuple()" => {2, 2}
  }

  @doc "An argument of a type, which may be one of `module`'s own."
  @spec of(Macro.t(), module()) :: term()
  def of({:|, _, [type, _other]}, module), do: of(type, module)
  def of({:"::", _, [_name, type]}, module), do: of(type, module)
  def of({:%, _, [struct, _fields]}, _module), do: struct(struct)
  def of({:%{}, _, _fields}, _module), do: %{}
  def of({:{}, _, types}, module), do: types |> Enum.map(&of(&1, module)) |> List.to_tuple()
  def of({first, second}, module), do: {of(first, module), of(second, module)}
  def of([{:->, _, [[{:..., _, _}], _result]}], _module), do: function(1)
  def of([{:->, _, [arguments, _result]}], _module), do: function(length(arguments))
  # Options, which none of has to be given.
  def of([{name, _type} | _], _module) when is_atom(name) or is_tuple(name), do: []
  def of([type | _], module), do: [of(type, module)]
  def of(literal, _module) when is_atom(literal) or is_integer(literal) or literal == [], do: literal

  def of(type, module) do
    case @types[Macro.to_string(type)] do
      nil -> defined(type, module)
      {:function, arity} -> function(arity)
      fun when is_function(fun, 0) -> fun.()
      example -> example
    end
  end

  defp function(arity), do: Mlx.Arguments.Arity.function(arity, &(List.first(&1) || array()))

  # One of a type by its definition.
  defp defined({{:., _, [module, name]}, _, arguments}, _module), do: defined(module, name, arguments)
  defp defined({name, _, arguments}, module) when is_list(arguments), do: defined(module, name, arguments)
  # A variable stands for any term.
  defp defined({_variable, _, _context}, _module), do: array()

  defp defined(module, name, []) do
    {:ok, types} = Code.Typespec.fetch_types(module)
    {_kind, type} = Enum.find(types, fn {_kind, {defined, _, _}} -> defined == name end)
    {:"::", _, [_name, definition]} = Code.Typespec.type_to_quoted(type)
    of(definition, module)
  end

  @doc false
  def array, do: Mlx.zeros({2, 2})

  # Nx may not be there.
  @doc false
  def tensor, do: apply(Nx, :broadcast, [1.0, {2, 2}])
end
