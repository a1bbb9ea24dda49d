defmodule Mlx.NonFiniteError do
  @moduledoc """
  Raised by what `Mlx.NonFinite` switches on, for an operation that made a NaN or an infinity.

  Its fields say what the message says:

    * `function` - the name of the function that made it, such as `"Mlx.divide"`
    * `element` - what it made: `:nan`, `:infinity`, `:neg_infinity`, or a complex number with one of them
    * `position` - the indices of the first such element of the result, row after row; `[]` in an array without axes. Where
      both kinds are there, NaN comes first
    * `shape`, `type` - those of the result
    * `kind` - `:nan` or `:infinity`

  For example:

      iex> error = catch_error(Mlx.NonFinite.with_check(fn -> Mlx.log(Mlx.array([[1.0], [0.0]])) end))
      iex> {error.function, error.element, error.position, error.shape, error.type}
      {"Mlx.log", :neg_infinity, [1, 0], {2, 1}, :f32}
  """

  defexception [:function, :kind, :element, :position, :shape, :type, made: true]

  @impl true
  def message(%__MODULE__{} = error) do
    "#{error.function}: element #{inspect(error.position)} of #{what(error)} of type #{inspect(error.type)} and shape " <>
      "#{inspect(error.shape)} is #{inspect(error.element)}#{origin(error)}"
  end

  defp what(%{made: true}), do: "the result"
  defp what(%{made: false}), do: "an array"

  defp origin(%{made: true, kind: :nan}), do: ", and no operand has a NaN"
  defp origin(%{made: true, kind: :infinity}), do: ", and no operand has an infinity"
  defp origin(%{made: false}), do: ""
end
