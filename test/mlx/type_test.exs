defmodule Mlx.TypeTest do
  use ExUnit.Case, async: true

  import Mlx.Oracle

  doctest Mlx.Type
  doctest Mlx.Constants

  @kinds %{
    generic: "generic",
    number: "number",
    integer: "integer",
    signed: "signedinteger",
    unsigned: "unsignedinteger",
    inexact: "inexact",
    float: "floating",
    complex: "complexfloating"
  }

  # What a type or kind is called in Python: that of an array for a type.
  defp python(type, _name) when is_map_key(@kinds, type), do: {"mx.#{@kinds[type]}", []}
  defp python(type, name), do: {"#{name}.dtype", [{name, Mlx.zeros({1}, type: type)}]}

  @tag :oracle
  test "result_type/1 and can_cast?/2 are Python's for every two types, and so is addition" do
    for a <- Mlx.Type.all(), b <- Mlx.Type.all() do
      {x, y} = {Mlx.zeros({1}, type: a), Mlx.zeros({1}, type: b)}
      expected = Mlx.Type.result_type([a, y])
      assert_oracle(Mlx.zeros({1}, type: expected), "mx.zeros((1,), mx.result_type(x, y.dtype))", x: x, y: y)
      assert Mlx.add(x, y).type == expected
      assert_oracle(Mlx.array(Mlx.Type.can_cast?(a, b)), "mx.can_cast(x, y.dtype)", x: x, y: y)
    end
  end

  test "result_type/1 of several, of one, and of none" do
    assert Mlx.Type.result_type([:u8, {:s, 8}, :bool]) == :s16
    assert Mlx.Type.result_type([:bf16]) == :bf16
    assert_raise ArgumentError, ~r/Mlx.Type.result_type: expected a list/, fn -> Mlx.Type.result_type([]) end
    assert_raise ArgumentError, ~r/expected a type such as :f32/, fn -> Mlx.Type.result_type([:f31]) end
  end

  @tag :oracle
  test "subtype?/2 is Python's issubdtype for all types and kinds" do
    for a <- Mlx.Type.all() ++ Map.keys(@kinds), b <- Mlx.Type.all() ++ Map.keys(@kinds) do
      {{first, x}, {second, y}} = {python(a, :x), python(b, :y)}
      assert_oracle(Mlx.array(Mlx.Type.subtype?(a, b)), "mx.issubdtype(#{first}, #{second})", x ++ y)
    end
  end

  @tag :oracle
  test "subtype?/2 is Python's isdtype" do
    names = [
      bool: "bool",
      signed: "signed integer",
      unsigned: "unsigned integer",
      integer: "integral",
      float: "real floating",
      complex: "complex floating",
      number: "numeric"
    ]

    for type <- Mlx.Type.all(), {kind, name} <- names do
      x = Mlx.zeros({1}, type: type)
      assert_oracle(Mlx.array(Mlx.Type.subtype?(type, kind)), "mx.isdtype(x.dtype, '#{name}')", x: x)
    end

    assert Mlx.Type.subtype?(:u8, [:float, :unsigned])
    refute Mlx.Type.subtype?(:u8, [])
    assert_raise ArgumentError, ~r/expected a type such as :f32/, fn -> Mlx.Type.subtype?(:u8, :numeric) end
  end

  @tag :oracle
  test "limits are those of Python's finfo and iinfo" do
    for type <- [:f16, :bf16, :f32, :f64] do
      actual = for name <- [:min, :max, :epsilon, :smallest_normal], do: apply(Mlx.Type, name, [type])

      assert_oracle(
        Mlx.array(actual ++ [Mlx.Type.bits(type)], type: :f64),
        "(lambda f: mx.array([f.min, f.max, f.eps, f.smallest_normal, f.bits], mx.float64))(mx.finfo(x.dtype))",
        x: Mlx.zeros({1}, type: type)
      )
    end

    for type <- [:u8, :u16, :u32, :u64, :s8, :s16, :s32, :s64] do
      # In halves, because Python makes no array of the greatest 64-bit integer.
      bounds = <<Mlx.Type.min(type)::64, Mlx.Type.max(type)::64>>
      halves = for <<half::32 <- bounds>>, do: half

      assert_oracle(
        Mlx.array(halves, type: :u32),
        "(lambda i: mx.array([b >> s & 0xffffffff for b in (i.min, i.max) for s in (32, 0)], mx.uint32))(mx.iinfo(x.dtype))",
        x: Mlx.zeros({1}, type: type)
      )
    end

    assert Mlx.Type.epsilon(:c64) == Mlx.Type.epsilon(:f32)
    assert_raise ArgumentError, ~r/expected a floating-point type or :c64, got: :s32/, fn -> Mlx.Type.epsilon(:s32) end
  end

  @tag :oracle
  test "constants are Python's" do
    constants = [Mlx.Constants.pi(), Mlx.Constants.e(), Mlx.Constants.euler_gamma()]
    assert_oracle(Mlx.array(constants, type: :f64), "mx.array([mx.pi, mx.e, mx.euler_gamma], mx.float64)")
  end

  test "Nx's types come back as they went" do
    for type <- Mlx.Type.all(), type != :bool do
      assert type |> Mlx.Type.to_nx() |> Mlx.Type.normalize!() == type
    end

    assert Mlx.Type.to_nx(:bool) == {:u, 8}
  end

  test "sizes are those of MLX" do
    for type <- Mlx.Type.all() do
      zeros = Mlx.zeros({3}, type: type, stream: Mlx.Stream.default(:cpu))
      assert Kernel.byte_size(Mlx.to_binary(zeros)) == 3 * Mlx.Type.bytes(type)
    end
  end

  test "the greatest and the least value are finite, and the next is not" do
    for type <- [:f16, :bf16, :f32, :f64] do
      assert Mlx.to_number(Mlx.array(Mlx.Type.max(type), type: type)) == Mlx.Type.max(type)
      assert Mlx.to_number(Mlx.array(Mlx.Type.min(type), type: type)) == Mlx.Type.min(type)
    end

    for type <- [:f16, :bf16, :f32] do
      assert Mlx.to_number(Mlx.array(Mlx.Type.max(type) * 1.01, type: type)) == :infinity
    end

    assert {Mlx.Type.min(:u16), Mlx.Type.max(:s64), Mlx.Type.min(:bool)} == {0, 2 ** 63 - 1, false}
    assert_raise ArgumentError, "Mlx.Type.max: the values of :c64 have no order", fn -> Mlx.Type.max(:c64) end
  end

  test "only complex and floating-point types have fractions" do
    assert Enum.filter(Mlx.Type.all(), &Mlx.Type.fractional?/1) == [:f16, :bf16, :f32, :f64, :c64]
  end

  test "what is no type" do
    for bad <- [:float, {:f, 8}, {:u, 128}, "f32", nil] do
      assert_raise ArgumentError, ~r/expected a type such as :f32/, fn -> Mlx.Type.normalize!(bad) end
    end
  end
end
