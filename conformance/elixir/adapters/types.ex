defmodule Mlx.Conformance.Types do
  @moduledoc """
  Adapters for the functions that tell about types.
  """

  alias Mlx.Conformance.PythonError

  # The kinds of Python's array API.
  @kinds %{
    "bool" => :bool,
    "signed integer" => :signed,
    "unsigned integer" => :unsigned,
    "integral" => :integer,
    "real floating" => :float,
    "complex floating" => :complex,
    "numeric" => :number
  }

  @doc "`finfo(dtype)`; that of complex numbers is that of their parts."
  def float_limits(_call, %{dtype: :c64} = bound, options), do: float_limits(nil, %{bound | dtype: :f32}, options)

  def float_limits(_call, %{dtype: type}, _options) do
    if Mlx.Type.class(type) != :float, do: PythonError.value_error!("#{type} is no floating-point type")

    %{
      dtype: type,
      bits: Mlx.Type.bits(type),
      min: Mlx.Type.min(type),
      max: Mlx.Type.max(type),
      eps: Mlx.Type.epsilon(type),
      smallest_normal: Mlx.Type.smallest_normal(type)
    }
  end

  @doc "`iinfo(dtype)`."
  def integer_limits(_call, %{dtype: type}, _options) do
    if Mlx.Type.class(type) not in [:signed, :unsigned], do: PythonError.value_error!("#{type} is no integer type")
    %{dtype: type, min: Mlx.Type.min(type), max: Mlx.Type.max(type)}
  end

  @doc "`result_type(*arrays_and_dtypes)`."
  def result_type(_call, %{arrays_and_dtypes: []}, _options), do: PythonError.value_error!("result_type: no arguments")
  def result_type(call, %{arrays_and_dtypes: arguments}, _options), do: call.([Enum.map(arguments, &type/1)], [])

  @doc "`can_cast(from_, to)`, from a type or the type of an array."
  def can_cast(call, %{from_: from, to: to}, _options), do: call.([type(from), to], [])

  @doc "`issubdtype(arg1, arg2)`, of types and categories."
  def subtype(call, %{arg1: type, arg2: category}, _options), do: call.([type(type), type(category)], [])

  @doc "`isdtype(dtype, kind)`: whether the type is one of the kinds."
  def kind(call, %{dtype: type, kind: {:tuple, kinds}}, options) do
    Enum.any?(kinds, &kind(call, %{dtype: type, kind: &1}, options))
  end

  def kind(_call, %{dtype: type, kind: {:type, other}}, _options), do: type == other

  def kind(call, %{dtype: type, kind: name}, _options) when is_map_key(@kinds, name),
    do: call.([type, @kinds[name]], [])

  def kind(_call, %{kind: name}, _options), do: PythonError.value_error!("unknown kind #{inspect(name)}")

  defp type({_tag, type}), do: type
  defp type(%Mlx.Array{type: type}), do: type
end
