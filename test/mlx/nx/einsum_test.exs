if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.EinsumTest do
    use ExUnit.Case, async: true

    import Nx.Defn

    # Subscripts with the shapes of their tensors.
    @cases [
      {"ij,jk->ik", [{2, 3}, {3, 4}]},
      {"ij,jk", [{2, 3}, {3, 4}]},
      {"ba,b", [{2, 3}, {2}]},
      {"ij->ji", [{2, 3}]},
      {"ij->", [{2, 3}]},
      {"ii", [{3, 3}]},
      {"ii->i", [{3, 3}]},
      {"iij->ji", [{3, 3, 2}]},
      {"iii->i", [{3, 3, 3}]},
      {"i,i", [{4}, {4}]},
      {"i,i->i", [{4}, {4}]},
      {"i,j->ij", [{2}, {3}]},
      {",ij->ij", [{}, {2, 3}]},
      {"ij,kl->jl", [{2, 3}, {4, 5}]},
      {"bij,bjk->bik", [{2, 3, 4}, {2, 4, 5}]},
      {"bhqd,bhkd->bhqk", [{2, 3, 4, 5}, {2, 3, 6, 5}]},
      {"...ij,...jk->...ik", [{1, 3, 4}, {6, 4, 5}]},
      {"...ij,...jk->...ik", [{2, 3, 4}, {4, 5}]},
      {"i...->...", [{2, 3, 4}]},
      {"ijk,jk->ki", [{2, 3, 4}, {1, 4}]},
      {"ij,ij,ij->i", [{2, 3}, {2, 3}, {2, 3}]},
      {"ij,jk,kl->il", [{2, 3}, {3, 4}, {4, 5}]},
      {"ij,jk,kl,l->", [{2, 3}, {3, 4}, {4, 5}, {5}]}
    ]

    defp numbers(shape, backend \\ Mlx.Backend) do
      Nx.with_default_backend(backend, fn ->
        shape |> Nx.iota(type: :f32) |> Nx.multiply(1.7) |> Nx.sin() |> Nx.multiply(3)
      end)
    end

    defp assert_close(a, b) do
      assert {a.shape, a.type} == {b.shape, b.type}
      [a, b] = for tensor <- [a, b], do: Nx.backend_copy(tensor, Nx.BinaryBackend)
      assert Nx.to_number(Nx.all_close(a, b, atol: 1.0e-4)) == 1, inspect({a, b})
    end

    test "gives what MLX gives, on every backend and compiled" do
      for {subscripts, shapes} <- @cases do
        tensors = Enum.map(shapes, &numbers/1)
        expected = subscripts |> Mlx.einsum(Enum.map(tensors, &Mlx.Nx.from_nx/1)) |> Mlx.Nx.to_nx()
        assert_close(Mlx.Nx.einsum(subscripts, tensors), expected)
        assert_close(Mlx.Nx.einsum(subscripts, Enum.map(shapes, &numbers(&1, Nx.BinaryBackend))), expected)
        compiled = Nx.Defn.jit(&Mlx.Nx.einsum(subscripts, Tuple.to_list(&1)), compiler: Mlx)
        assert_close(compiled.(List.to_tuple(tensors)), expected)
      end
    end

    test "multiplies integers, and tensors of several types" do
      a = Nx.tensor([[1, 2], [3, 4]])
      assert Nx.to_list(Mlx.Nx.einsum("ij,jk->ik", [a, a])) == [[7, 10], [15, 22]]
      assert Mlx.Nx.einsum("ij->i", [Nx.as_type(a, :u8)]).type == {:u, 8}
      assert Mlx.Nx.einsum("ij,j->i", [a, Nx.tensor([0.5, 1.0], type: :bf16)]).type == {:bf, 16}
      assert Nx.to_number(Mlx.Nx.einsum("i,i->", [Nx.tensor([1, 2], names: [:x]), Nx.tensor([3, 4])])) == 11
    end

    defn(product(a, b), do: Mlx.Nx.einsum("ij,jk->ik", [a, b]))
    defn(gradients(a, b), do: grad({a, b}, fn {a, b} -> Nx.sum(Nx.sin(product(a, b))) end))
    defn(dot_gradients(a, b), do: grad({a, b}, fn {a, b} -> Nx.sum(Nx.sin(Nx.dot(a, b))) end))

    test "works inside of definitions, with gradients" do
      tensors = [numbers({2, 3}), numbers({3, 4})]
      expected = Nx.Defn.jit_apply(&dot_gradients/2, tensors, compiler: Mlx)

      for compiler <- [Mlx, Nx.Defn.Evaluator] do
        given =
          Nx.with_default_backend(Mlx.Backend, fn -> Nx.Defn.jit_apply(&gradients/2, tensors, compiler: compiler) end)

        for position <- 0..1, do: assert_close(elem(given, position), elem(expected, position))
      end
    end

    test "says what is wrong" do
      for {subscripts, shapes, message} <- [
            {"ij,jk->ik", [{2, 3}, {4, 4}], "the index j has the sizes 3 and 4"},
            {"ij->ik", [{2, 3}], "the index k of the output belongs to no array"},
            {"i,j", [{2}], "the subscripts are for 2 arrays, got 1"}
          ] do
        tensors = Enum.map(shapes, &numbers/1)
        assert_raise ArgumentError, "Mlx.Nx.einsum: " <> message, fn -> Mlx.Nx.einsum(subscripts, tensors) end
      end
    end
  end
end
