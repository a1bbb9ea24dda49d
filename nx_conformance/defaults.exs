defmodule Mlx.NxConformance.Defaults do
  @moduledoc "The backend and the compiler that tests run with."

  @doc "Takes Mlx.Backend and, if so asked, Mlx.Compiler from now on."
  @spec use_mlx(boolean()) :: :ok
  def use_mlx(compiler?), do: put(Mlx.Backend, if(compiler?, do: [compiler: Mlx.Compiler], else: []))

  @doc "Takes Nx's own backend and evaluator from now on."
  @spec use_reference() :: :ok
  def use_reference, do: put(Nx.BinaryBackend, [])

  defp put(backend, options) do
    Nx.global_default_backend(backend)
    Nx.Defn.global_default_options(options)
    :ok
  end

  @doc """
  The code with these defaults in place of those that the supporting code of a library's tests names: it has a function
  `test_backend/0` and a function `test_compiler/0`.
  """
  @spec rewrite(Macro.t()) :: Macro.t()
  def rewrite(code) do
    Macro.prewalk(code, fn
      {:def, meta, [{name, _, context} = head, _body]}
      when name in [:test_backend, :test_compiler] and is_atom(context) ->
        {:def, meta, [head, [do: {{:., meta, [__MODULE__, name]}, meta, []}]]}

      other ->
        other
    end)
  end

  @doc false
  def test_backend, do: Nx.default_backend()

  @doc false
  def test_compiler, do: Keyword.get(Nx.Defn.default_options(), :compiler, Nx.Defn.Evaluator)
end
