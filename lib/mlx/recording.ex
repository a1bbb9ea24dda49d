defmodule Mlx.Recording do
  @moduledoc false
  # What every transform begins with: the function is called with placeholder arrays, and the operations on them are
  # recorded as a program, which the native functions transform.
  #
  # `result` is what the function returned, with its placeholders, and `captured` are the arrays that it used from
  # outside: the program takes them after the arrays of the arguments.

  alias Mlx.{Array, Native, Tree}

  @enforce_keys [:program, :captured, :result]
  defstruct [:program, :captured, :result]

  @type t :: %__MODULE__{program: reference(), captured: [Array.t()], result: term()}

  @doc """
  Records `fun.(arguments)`; the placeholders have the values of the arguments.
  """
  @spec with_values(String.t(), container, (container -> term())) :: t() when container: term()
  def with_values(transform, arguments, fun) do
    record(Native.begin_tape(transform, Tree.arrays(arguments)), arguments, fun)
  end

  @doc """
  Records `fun.(arguments)`; the placeholders only have a shape and a type, those of `arrays` in place of the arguments'.
  """
  @spec without_values(String.t(), container, [{tuple(), Mlx.Type.t()}], (container -> term())) :: t()
        when container: term()
  def without_values(transform, arguments, shapes, fun) do
    record(Native.begin_tape_without_values(transform, shapes), arguments, fun)
  end

  defp record({tape, placeholders}, arguments, fun) do
    result = fun.(Tree.with_arrays(arguments, placeholders))
    {program, captured} = Native.finish_tape(tape, Tree.arrays(result))
    %__MODULE__{program: program, captured: captured, result: result}
  after
    Native.abandon_tape(tape)
  end

  @doc "The shapes and types of the arrays in a container, for `without_values/4`."
  @spec shapes(term()) :: [{tuple(), Mlx.Type.t()}]
  def shapes(container), do: for(%Array{shape: shape, type: type} <- Tree.arrays(container), do: {shape, type})
end
