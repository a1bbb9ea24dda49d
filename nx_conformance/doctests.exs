defmodule Mlx.NxConformance.Doctests do
  @moduledoc "Doctests that compare values and texts of tensors with `Mlx.NxConformance.Equality`."

  alias Mlx.NxConformance.Equality

  @doc "What `ExUnit.DocTest.doctest/2` does."
  defmacro define(module, options \\ []) do
    quote bind_quoted: [module: module, options: options] do
      for {name, test, tags} <- ExUnit.DocTest.__doctests__(module, options) do
        @tag tags
        registered = ExUnit.Case.register_test(__ENV__, :doctest, name, [])
        def unquote(registered)(_context), do: unquote(Mlx.NxConformance.Doctests.rewrite(test))
      end
    end
  end

  @doc "The code of a doctest with these comparisons in place of ExUnit's."
  @spec rewrite(Macro.t()) :: Macro.t()
  def rewrite(code) do
    Macro.prewalk(code, fn
      {{:., meta, [{:__aliases__, _, [:ExUnit, :DocTest]}, name]}, call, arguments}
      when name in [:__inspect__, :__test__] ->
        {{:., meta, [__MODULE__, name]}, call, arguments}

      other ->
        other
    end)
  end

  @doc false
  def __inspect__(value, expected, doctest, code, expected_code, module, file, line) do
    if Equality.same_text?(inspect(value), expected) do
      true
    else
      ExUnit.DocTest.__inspect__(value, expected, doctest, code, expected_code, module, file, line)
    end
  end

  @doc false
  def __test__(value, expected, doctest, code, expected_code, module, file, line) do
    if Equality.equal?(value, expected) do
      true
    else
      ExUnit.DocTest.__test__(value, expected, doctest, code, expected_code, module, file, line)
    end
  end
end
