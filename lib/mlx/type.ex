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

  Wherever a type is asked for, the form of Nx is taken too.

  Operations on arrays of different types give the type that holds both: an integer and a floating-point type give the
  floating-point type, `:f16` and `:bf16` give `:f32`. Operations without integer results, such as `Mlx.exp/1`, turn
  integers into `:f32`.
  """

  @type t ::
          :bool | :u8 | :u16 | :u32 | :u64 | :s8 | :s16 | :s32 | :s64 | :f16 | :bf16 | :f32 | :f64 | :c64

  @typedoc "A type in the form of Nx."
  @type nx :: {:u | :s | :f | :bf | :c, 8 | 16 | 32 | 64}

  @typedoc "The kind of values of a type."
  @type class :: :bool | :unsigned | :signed | :float | :complex

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

  @types for row <- @table, do: elem(row, 0)
  @largest %{f16: 65504.0, bf16: 3.3895313892515355e38, f32: 3.4028234663852886e38, f64: 1.7976931348623157e308}

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
  def normalize!(type) when type in @types, do: type

  for {type, class, _bits, nx, _numpy} <- @table, class != :bool do
    def normalize!(unquote(nx)), do: unquote(type)
  end

  def normalize!(other) do
    raise ArgumentError, "expected a type such as :f32 (see Mlx.Type), got: #{inspect(other)}"
  end

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
  """
  @spec bits(t()) :: 8 | 16 | 32 | 64
  for {type, _class, bits, _nx, _numpy} <- @table do
    def bits(unquote(type)), do: unquote(bits)
  end

  @doc """
  The number of bytes of an element.

      iex> Mlx.Type.bytes(:f16)
      2
  """
  @spec bytes(t()) :: 1 | 2 | 4 | 8
  def bytes(type), do: div(bits(type), 8)

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
  def fractional?(type), do: class(type) in [:float, :complex]

  @doc """
  The least finite value of a type.

      iex> Mlx.Type.min(:s8)
      -128
      iex> Mlx.Type.min(:f16)
      -65504.0

  Raises an `ArgumentError` for `:c64`, whose values have no order.
  """
  @spec min(t()) :: number() | boolean()
  def min(type), do: bound(type, class(type), -1)

  @doc """
  The greatest finite value of a type.

      iex> Mlx.Type.max(:u8)
      255
      iex> Mlx.Type.max(:bool)
      true

  Raises an `ArgumentError` for `:c64`, whose values have no order.
  """
  @spec max(t()) :: number() | boolean()
  def max(type), do: bound(type, class(type), 1)

  defp bound(_type, :bool, side), do: side > 0
  defp bound(type, :unsigned, side), do: if(side > 0, do: 2 ** bits(type) - 1, else: 0)
  defp bound(type, :signed, side), do: if(side > 0, do: 2 ** (bits(type) - 1) - 1, else: -(2 ** (bits(type) - 1)))
  defp bound(type, :float, side), do: side * Map.fetch!(@largest, type)
  defp bound(type, :complex, _side), do: raise(ArgumentError, "the values of #{inspect(type)} have no order")
end
