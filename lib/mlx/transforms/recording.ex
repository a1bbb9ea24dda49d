defmodule Mlx.Transforms.Recording do
  @moduledoc false
  # What every transform begins with: the function is called with placeholder arrays, and the operations on them are
  # recorded as a program, which the native functions transform.
  #
  # `result` is what the function returned, with its placeholders, and `captured` are the arrays that it used from
  # outside: the program takes them after the arrays of the arguments.

  alias Mlx.{Array, Native, Tree}
  alias Mlx.Arguments.CalledFunction
  alias Mlx.NonFinite.Operations
  alias Mlx.Transforms.{Execution, Replacement}

  @enforce_keys [:program, :captured, :result]
  defstruct [:program, :captured, :result]

  @type t :: %__MODULE__{program: reference(), captured: [Array.t()], result: term()}

  @doc """
  Records `fun.(arguments)`; the placeholders have the values of the arguments.
  """
  @spec with_values(String.t(), container, (container -> term())) :: t() when container: term()
  def with_values(transform, arguments, fun) do
    arrays = Tree.arrays(arguments)
    tape = CalledFunction.name(transform, ["Mlx.begin_tape"], fn -> Native.begin_tape(transform, arrays) end)
    record(transform, tape, arguments, fun)
  end

  @doc """
  Records `fun.(arguments)`; the placeholders only have a shape and a type, those of `arrays` in place of the arguments'.
  """
  @spec without_values(String.t(), container, [{tuple(), Mlx.Type.t()}], (container -> term())) :: t()
        when container: term()
  def without_values(transform, arguments, shapes, fun) do
    Operations.unchecked(fn ->
      record(transform, Native.begin_tape_without_values(transform, shapes), arguments, fun)
    end)
  end

  @doc """
  Records a function of arrays of these shapes and types, without values, that returns a list of arrays.
  """
  @spec of_arrays(String.t(), [{tuple(), Mlx.Type.t()}], ([Array.t()] -> [Array.t()])) :: t()
  def of_arrays(transform, shapes, fun) do
    Operations.unchecked(fn ->
      {tape, placeholders} = Native.begin_tape_without_values(transform, shapes)
      finish(transform, tape, fn -> fun.(placeholders) end)
    end)
  end

  defp record(transform, {tape, placeholders}, arguments, fun) do
    finish(transform, tape, fn -> fun.(Tree.with_arrays(arguments, placeholders)) end)
  end

  defp finish(transform, tape, run) do
    result = Replacement.dropped(run)
    arrays = Tree.arrays(result)

    {program, captured} =
      CalledFunction.name(transform, ["Mlx.finish_tape"], fn -> Native.finish_tape(tape, arrays) end)

    %__MODULE__{program: program, captured: captured, result: result}
  after
    Native.abandon_tape(tape)
  end

  @doc """
  The results of an instruction, which the native functions made of a program, for the arrays of its inputs.

  It may have to map a custom function over axes in a way that it was not mapped before: the rule is recorded first.
  What exchanges arrays with other processes is executed, so that the results have values.
  """
  @spec run(reference(), [Array.t()]) :: [Array.t()]
  def run(instruction, inputs) do
    case Native.apply_instruction(instruction, inputs) do
      {rules, record_rule, mapped} ->
        {program, captured, axes} = record_rule.(mapped)
        Native.vmap_rule_insert(rules, mapped, program, captured, axes)
        run(instruction, inputs)

      {:execute, name} ->
        Execution.run(instruction, inputs, name)

      results ->
        results
    end
  end

  @doc """
  Evaluates what a function captured, so that it is a constant: of what is not evaluated, each call would
  compute it again. What an outer transform traces stays as it is.
  """
  @spec evaluate_captured([Array.t()]) :: :ok
  def evaluate_captured(captured) do
    for array <- captured, not Native.is_traced([array]), do: Mlx.eval(array)
    :ok
  end

  @doc "The same, where nothing from outside may be traced."
  @spec evaluate_captured!([Array.t()], String.t()) :: :ok
  def evaluate_captured!(captured, what) do
    if Native.is_traced(captured) do
      raise ArgumentError, "#{what} uses an array that is traced, from outside; give it as an argument instead"
    end

    evaluate_captured(captured)
  end

  @doc "The shapes and types of the arrays in a container, for `without_values/4`."
  @spec shapes(term()) :: [{tuple(), Mlx.Type.t()}]
  def shapes(container), do: for(%Array{shape: shape, type: type} <- Tree.arrays(container), do: {shape, type})
end
