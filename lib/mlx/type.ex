defmodule Mlx.Type do
  @moduledoc """
  The types of arrays.

  | type | values | Nx | Python |
  | --- | --- | --- | --- |
  | `:bool` | `true` and `false` | `{:u, 8}` | `bool_` |
  | `:u8` `:u16` `:u32` `:u64` | unsigned integers | `{:u, 8}` ... | `uint8` ... |
  | `:s8` `:s16` `:s32` `:s64` | signed integers | `{:s, 8}` ... | `int8` ... |
  | `:f16` | half precision | `{:f, 16}` | `float16` |
  | `:bf16` | half the bits of `:f32`, with its range | `{:bf, 16}` | `bfloat16` |
  | `:f32` | single precision | `{:f, 32}` | `float32` |
  | `:f64` | double precision, on the CPU only | `{:f, 64}` | `float64` |
  | `:c64` | complex: two `:f32` | `{:c, 64}` | `complex64` |

  Wherever a type is asked for, the form of Nx is taken too. What becomes of the types that Nx has and MLX lacks is said in
  `Mlx.Backend`.

  Operations on arrays of different types give the type that holds both, as `result_type/1` says: an integer and a
  floating-point type give the floating-point type, `:f16` and `:bf16` give `:f32`. Operations without integer results,
  such as `Mlx.exp/1`, turn integers into `:f32`.

  ## Kinds

  Types belong to kinds, and kinds to wider ones:

      :generic
        :bool
        :number
          :integer
            :signed      :s8 :s16 :s32 :s64
            :unsigned    :u8 :u16 :u32 :u64
          :inexact
            :float       :f16 :bf16 :f32 :f64
            :complex     :c64

  `subtype?/2` asks for one.

  Python: `mlx.core.Dtype`, and for the kinds `mlx.core.DtypeCategory`.
  """

  @type t ::
          :bool | :u8 | :u16 | :u32 | :u64 | :s8 | :s16 | :s32 | :s64 | :f16 | :bf16 | :f32 | :f64 | :c64

  @typedoc "A type in the form of Nx."
  @type nx :: {:u | :s | :f | :bf | :c, 8 | 16 | 32 | 64}

  @typedoc "The kind of values of a type."
  @type class :: :bool | :unsigned | :signed | :float | :complex

  @typedoc "A kind of types."
  @type kind :: :generic | :number | :integer | :signed | :unsigned | :inexact | :float | :complex

  use Mlx.Arguments.Mismatch

  alias Mlx.Arguments.{ArgumentType, Given}

  # type, class, bits, Nx type, letter and size of numpy's type strings
  @table [
    {:bool, :bool, 8, {:u, 8}, "b1"},
    {:u8, :unsigned, 8, {:u, 8}, "u1"},
    {:u16, :unsigned, 16, {:u, 16}, "u2"},
    {:u32, :unsigned, 32, {:u, 32}, "u4"},
    {:u64, :unsigned, 64, {:u, 64}, "u8"},
    {:s8, :signed, 8, {:s, 8}, "i1"},
    {:s16, :signed, 16, {:s, 16}, "i2"},
    {:s32, :signed, 32, {:s, 32}, "i4"},
    {:s64, :signed, 64, {:s, 64}, "i8"},
    {:f16, :float, 16, {:f, 16}, "f2"},
    {:bf16, :float, 16, {:bf, 16}, "V2"},
    {:f32, :float, 32, {:f, 32}, "f4"},
    {:f64, :float, 64, {:f, 64}, "f8"},
    {:c64, :complex, 64, {:c, 64}, "c8"}
  ]

  # What other libraries call types: Python's MLX and numpy, then PyTorch and Rust.
  @other_names [
    {"bool_", :bool},
    {"uint8", :u8},
    {"uint16", :u16},
    {"uint32", :u32},
    {"uint64", :u64},
    {"int8", :s8},
    {"int16", :s16},
    {"int32", :s32},
    {"int64", :s64},
    {"float16", :f16},
    {"bfloat16", :bf16},
    {"float32", :f32},
    {"float64", :f64},
    {"complex64", :c64},
    {"boolean", :bool},
    {"i8", :s8},
    {"i16", :s16},
    {"i32", :s32},
    {"i64", :s64},
    {"short", :s16},
    {"int", :s32},
    {"integer", :s32},
    {"long", :s64},
    {"half", :f16},
    {"float", :f32},
    {"double", :f64},
    {"cfloat", :c64},
    {"complex", :c64}
  ]

  @types for row <- @table, do: elem(row, 0)
  @spellings @other_names ++ for(type <- @types, do: {Atom.to_string(type), type})
  @largest %{f16: 65504.0, bf16: 3.3895313892515355e38, f32: 3.4028234663852886e38, f64: 1.7976931348623157e308}

  # bits of the fraction, and the exponent of the smallest normal number
  @precision %{f16: {10, -14}, bf16: {7, -126}, f32: {23, -126}, f64: {52, -1022}}

  # each kind with the one around it
  @kinds %{
    generic: nil,
    number: :generic,
    integer: :number,
    inexact: :number,
    signed: :integer,
    unsigned: :integer,
    float: :inexact,
    complex: :inexact
  }

  @doc """
  All types.

      iex> :bf16 in Mlx.Type.all()
      true
  """
  @spec all() :: [t(), ...]
  def all, do: @types

  @doc """
  The type for a type in any form.

      iex> Mlx.Type.normalize!({:f, 32})
      :f32
      iex> Mlx.Type.normalize!(:bool)
      :bool

  Raises an `ArgumentError` when it is none.
  """
  @spec normalize!(t() | nx()) :: t()
  def normalize!(type), do: normalize!(type, :"Type.normalize!")

  @doc false
  # The type that was given to a function of `Mlx`.
  @spec normalize!(t() | nx(), atom()) :: t()
  def normalize!(type, _function) when type in @types, do: type

  for {type, class, _bits, nx, _numpy} <- @table, class != :bool do
    def normalize!(unquote(nx), _function), do: unquote(type)
  end

  def normalize!(other, function) do
    raise ArgumentError,
          "Mlx.#{function}: expected a type such as :f32 (see Mlx.Type), got: #{Given.text(other)}#{hint(other)}"
  end

  defp hint(name) when is_atom(name) or is_binary(name) do
    case List.keyfind(@spellings, to_string(name), 0) do
      {_name, type} -> "; it is #{inspect(type)} here"
      nil -> ""
    end
  end

  defp hint(_other), do: ""

  @doc """
  The type in the form of Nx, which holds booleans in `{:u, 8}`.

      iex> Mlx.Type.to_nx(:bf16)
      {:bf, 16}
  """
  @spec to_nx(t()) :: nx()
  for {type, _class, _bits, nx, _numpy} <- @table do
    def to_nx(unquote(type)), do: unquote(nx)
  end

  @doc """
  The kind of values of a type: `:bool`, `:unsigned`, `:signed`, `:float` or `:complex`.

      iex> Mlx.Type.class(:u8)
      :unsigned
  """
  @spec class(t()) :: class()
  for {type, class, _bits, _nx, _numpy} <- @table do
    def class(unquote(type)), do: unquote(class)
  end

  @doc """
  The number of bits of an element.

      iex> Mlx.Type.bits(:f16)
      16

  Python: `mlx.core.finfo(type).bits`.
  """
  @spec bits(t()) :: 8 | 16 | 32 | 64
  for {type, _class, bits, _nx, _numpy} <- @table do
    def bits(unquote(type)), do: unquote(bits)
  end

  @doc """
  The number of bytes of an element.

      iex> Mlx.Type.bytes(:f16)
      2

  Python: `mlx.core.Dtype.size`, `array.itemsize`.
  """
  @spec bytes(t()) :: 1 | 2 | 4 | 8
  def bytes(type) when type in @types, do: div(bits(type), 8)

  @doc """
  The letter and size that numpy writes for a type in its files. It has none for `:bf16`, which is stored as raw bytes.

      iex> Mlx.Type.numpy(:s32)
      "i4"
  """
  @spec numpy(t()) :: binary()
  for {type, _class, _bits, _nx, numpy} <- @table do
    def numpy(unquote(type)), do: unquote(numpy)
  end

  @doc """
  Whether a type has fractions: true for the floating-point types and `:c64`.

      iex> Mlx.Type.fractional?(:bf16)
      true
  """
  @spec fractional?(t()) :: boolean()
  def fractional?(type) when type in @types, do: class(type) in [:float, :complex]

  @doc """
  The least finite value of a type.

      iex> Mlx.Type.min(:s8)
      -128
      iex> Mlx.Type.min(:f16)
      -65504.0

  Raises an `ArgumentError` for `:c64`, whose values have no order.

  Python: `mlx.core.finfo(type).min`, `mlx.core.iinfo(type).min`.
  """
  @spec min(t()) :: number() | boolean()
  def min(type) when type in @types, do: bound(type, class(type), -1)

  @doc """
  The greatest finite value of a type.

      iex> Mlx.Type.max(:u8)
      255
      iex> Mlx.Type.max(:bool)
      true

  Raises an `ArgumentError` for `:c64`, whose values have no order.

  Python: `mlx.core.finfo(type).max`, `mlx.core.iinfo(type).max`.
  """
  @spec max(t()) :: number() | boolean()
  def max(type) when type in @types, do: bound(type, class(type), 1)

  @doc """
  The distance from 1.0 to the next greater number of a floating-point type; for `:c64` that of its parts.

      iex> Mlx.Type.epsilon(:bf16)
      0.0078125

  Raises an `ArgumentError` for other types.

  Python: `mlx.core.finfo(type).eps`.
  """
  @spec epsilon(t()) :: float()
  def epsilon(type) do
    {fraction_bits, _exponent} = precision(type, :epsilon)
    2.0 ** -fraction_bits
  end

  @doc """
  The smallest positive number of a floating-point type that has its full precision; for `:c64` that of its parts.

      iex> Mlx.Type.smallest_normal(:f16)
      6.103515625e-5

  Raises an `ArgumentError` for other types.

  Python: `mlx.core.finfo(type).smallest_normal`.
  """
  @spec smallest_normal(t()) :: float()
  def smallest_normal(type) do
    {_fraction_bits, exponent} = precision(type, :smallest_normal)
    2.0 ** exponent
  end

  defp precision(:c64, function), do: precision(:f32, function)

  defp precision(type, function) do
    @precision[type] ||
      raise ArgumentError, "Mlx.Type.#{function}: expected a floating-point type or :c64, got: #{Given.text(type)}"
  end

  @doc """
  The type that an operation on several arrays or types has: the one that holds all.

      iex> Mlx.Type.result_type([:s32, :f16])
      :f16
      iex> Mlx.Type.result_type([Mlx.array([1], type: :u8), :s8])
      :s16

  | | |
  | --- | --- |
  | two unsigned or two signed integers | the wider one |
  | an unsigned and a signed integer | the signed one that holds both, `:f32` beside `:u64` |
  | an integer and a floating-point type | the floating-point type |
  | two floating-point types | the wider one, `:f32` for `:f16` and `:bf16` |
  | `:bool` | the other type |
  | `:c64` | `:c64` |

  Numbers beside arrays are not counted: they take the type of the array where they can.

  Raises an `ArgumentError` for an empty list.

  Python: `mlx.core.result_type`.
  """
  @spec result_type([Mlx.Array.t() | t() | nx(), ...]) :: t()
  def result_type(arrays_or_types) do
    if not match?([_ | _], arrays_or_types) or List.improper?(arrays_or_types) do
      raise ArgumentError,
            "Mlx.Type.result_type: expected a list with at least one array or type, got: #{Given.text(arrays_or_types)}"
    end

    arrays_or_types |> Enum.map(&of(&1, :result_type)) |> Enum.reduce(&promote/2)
  end

  @doc """
  Whether every operation on this array or type and the second type gives the second type.

      iex> Mlx.Type.can_cast?(:u8, :s32)
      true
      iex> Mlx.Type.can_cast?(:f32, :s32)
      false

  `Mlx.as_type/2` converts all types into each other all the same.

  Python: `mlx.core.can_cast`.
  """
  @spec can_cast?(Mlx.Array.t() | t() | nx(), t() | nx()) :: boolean()
  def can_cast?(array_or_type, type) do
    type = normalize!(type, :"Type.can_cast?")
    promote(of(array_or_type, :can_cast?), type) == type
  end

  @doc """
  Whether a type or kind belongs to another: see the kinds above. A list asks for one of several.

      iex> Mlx.Type.subtype?(:bf16, :float)
      true
      iex> Mlx.Type.subtype?(:float, :number)
      true
      iex> Mlx.Type.subtype?(:bool, [:bool, :integer])
      true
      iex> Mlx.Type.subtype?(:f32, :f64)
      false

  Raises an `ArgumentError` for what is neither a type nor a kind.

  Python: `mlx.core.issubdtype`, and `mlx.core.isdtype` whose kinds have other names.
  """
  @spec subtype?(t() | nx() | kind(), t() | nx() | kind() | [t() | nx() | kind()]) :: boolean()
  def subtype?(type, kinds) do
    lineage = lineage(type_or_kind!(type))
    kinds = if ArgumentType.list?(kinds), do: kinds, else: [kinds]
    kinds |> Enum.map(&type_or_kind!/1) |> Enum.any?(&(&1 in lineage))
  end

  defp lineage(nil), do: []
  defp lineage(kind) when is_map_key(@kinds, kind), do: [kind | lineage(@kinds[kind])]
  defp lineage(:bool), do: [:bool, :generic]
  defp lineage(type), do: [type | lineage(class(type))]

  defp type_or_kind!(kind) when is_map_key(@kinds, kind), do: kind
  defp type_or_kind!(type), do: normalize!(type, :"Type.subtype?")

  defp of(%Mlx.Array{type: type}, _function), do: type
  defp of(type, function), do: normalize!(type, :"Type.#{function}")

  defp promote(type, type), do: type
  defp promote(a, b), do: promote(a, class(a), b, class(b))

  defp promote(_a, :complex, _b, _), do: :c64
  defp promote(_a, _, _b, :complex), do: :c64
  defp promote(a, :float, b, :float), do: if(bits(a) == bits(b), do: :f32, else: wider(a, b))
  defp promote(a, :float, _b, _), do: a
  defp promote(_a, _, b, :float), do: b
  defp promote(_a, :bool, b, _), do: b
  defp promote(a, _, _b, :bool), do: a
  defp promote(a, class, b, class), do: wider(a, b)
  defp promote(a, :signed, b, :unsigned), do: promote(b, :unsigned, a, :signed)
  defp promote(:u64, :unsigned, _b, :signed), do: :f32
  defp promote(a, :unsigned, b, :signed), do: normalize!({:s, Kernel.max(2 * bits(a), bits(b))})

  defp wider(a, b), do: if(bits(a) > bits(b), do: a, else: b)

  defp bound(_type, :bool, side), do: side > 0
  defp bound(type, :unsigned, side), do: if(side > 0, do: 2 ** bits(type) - 1, else: 0)
  defp bound(type, :signed, side), do: if(side > 0, do: 2 ** (bits(type) - 1) - 1, else: -(2 ** (bits(type) - 1)))
  defp bound(type, :float, side), do: side * Map.fetch!(@largest, type)

  defp bound(type, :complex, side) do
    function = if side > 0, do: "max", else: "min"
    raise ArgumentError, "Mlx.Type.#{function}: the values of #{inspect(type)} have no order"
  end
end
