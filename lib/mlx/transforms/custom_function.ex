defmodule Mlx.Transforms.CustomFunction do
  @moduledoc false
  # Functions that are transformed in another way than MLX would.

  use Mlx.Ops.Topic, title: "Own rules for transforms"

  import Mlx.NonFinite.Operations, only: [checked: 3]

  alias Mlx.{Native, Tree}
  alias Mlx.Arguments.{Arity, Options}
  alias Mlx.Transforms.{MappedFunction, Recording, Replacement}

  @doc """
  A function that does what `fun` does and keeps nothing of it for the gradient: what is between the arguments and the
  result is computed again when the gradient needs it. It takes less memory and more time.

      iex> block = Mlx.checkpoint(fn x -> Mlx.exp(Mlx.sin(x)) end)
      iex> Mlx.grad(block).(Mlx.array(0.0)) |> Mlx.to_number()
      1.0

  Python: `mlx.core.checkpoint`.
  """
  @spec checkpoint(function()) :: function()
  def checkpoint(fun) when is_function(fun) do
    Arity.function(Arity.of(fun), fn arguments ->
      checked "Mlx.checkpoint", [fun | arguments] do
        recorded = Recording.with_values("Mlx.checkpoint", arguments, Replacement.carried(fun))

        recorded.program
        |> Native.program_checkpoint()
        |> run(recorded, Tree.arrays(arguments) ++ recorded.captured)
        |> Replacement.received(arguments)
      end
    end)
  end

  @doc """
  A function that does what `fun` does, with transforms of your own.

  `fun` takes and returns containers of arrays (see `Mlx.Tree`). Where a transform needs a derivative, it takes it from:

    * `:vjp` - `fn primals, cotangents, outputs -> cotangents of the primals end`. `primals` is the list of arguments, the
      cotangents come in the form of the result, and those of the primals go back as a list in the form of the arguments.
    * `:jvp` - `fn primals, tangents -> tangents of the result end`. The tangents come as a list in the form of the
      arguments, zero for arguments that are not differentiated.

  Where `vmap/2` maps it over axes, it takes the result from:

    * `:vmap` - `fn primals, axes -> {result, axes of the result} end`. The primals come with the mapped axis, `axes` is
      a list in their form with the axis of each array, nil for one that is the same for all. The axes of the result are
      in its form, or one that holds for all of its arrays.

  A transform with a rule does not look at what `fun` does, which may be something that has no such transform. Without
  one of them MLX uses `fun` itself. Arrays that `fun` uses from outside get no gradient.

      iex> clipped = Mlx.custom_function(&Mlx.square/1, vjp: fn [x], c, _y -> [Mlx.multiply(c, Mlx.clip(x, -1, 1))] end)
      iex> Mlx.grad(clipped).(Mlx.array(5.0)) |> Mlx.to_number()
      1.0

      iex> shifted = Mlx.custom_function(&Mlx.negate/1, vmap: fn [x], [axis] -> {Mlx.add(x, 1), axis} end)
      iex> {Mlx.to_number(shifted.(Mlx.array(2))), Mlx.to_list(Mlx.vmap(shifted).(Mlx.array([2, 3])))}
      {-2, [3, 4]}

  Raises `ArgumentError` when one of them has a result of another form than it should.

  Python: `mlx.core.custom_function`.
  """
  @spec custom_function(function(), keyword()) :: function()
  def custom_function(fun, transforms) when is_function(fun) do
    [vjp, jvp, vmap] = Options.without_stream(transforms, :custom_function, vjp: nil, jvp: nil, vmap: nil)

    Arity.function(Arity.of(fun), fn primals ->
      checked("Mlx.custom_function", [fun | primals], do: call(fun, vjp, jvp, vmap, primals))
    end)
  end

  # A derivative may use arrays from outside, too. So all three programs take whatever any of them captured: the
  # arguments of each are the primals, all captured arrays, and what it has of its own.
  defp call(fun, vjp, jvp, vmap, primals) do
    function = record(primals, [], &apply(fun, &1), nil)
    outputs = function.result
    vjp = vjp && record(primals, [outputs, outputs], fn [p, c, o] -> vjp.(p, c, o) end, {"cotangents", primals})
    jvp = jvp && record(primals, [primals], fn [p, t] -> jvp.(p, t) end, {"tangents", outputs})
    programs = [function | Enum.reject([vjp, jvp], &is_nil/1)]
    captured = Enum.flat_map(programs, & &1.captured)
    inputs = Tree.arrays(primals) ++ captured

    instruction =
      Native.program_custom_function(
        widen(function, primals, captured, programs, [], fn _captured -> [] end),
        vjp &&
          widen(vjp, primals, captured, programs, [outputs, outputs], &Enum.map(&1, fn x -> Mlx.zeros_like(x) end)),
        jvp && widen_jvp(jvp, primals, captured, programs),
        vmap && Native.vmap_rules_new(MappedFunction.recorder(vmap, primals, outputs))
      )

    run(instruction, function, inputs)
  end

  defp record(primals, [], fun, nil), do: Recording.with_values("Mlx.custom_function", primals, fun)

  defp record(primals, others, fun, {what, form}) do
    arguments = [primals | others]
    recorded = Recording.without_values("Mlx.custom_function", arguments, Recording.shapes(arguments), fun)

    if Recording.shapes(recorded.result) != Recording.shapes(form) do
      raise ArgumentError,
            "Mlx.custom_function: expected #{what} of the shapes and types #{inspect(Recording.shapes(form))}, " <>
              "got: #{inspect(Recording.shapes(recorded.result))}"
    end

    recorded
  end

  # The program as a function of the primals, of all captured arrays and of its own arguments; `rest` makes what
  # follows its results of the captured arrays.
  defp widen(recorded, primals, captured, programs, others, rest) do
    arguments = [primals, captured, others]

    Recording.without_values("Mlx.custom_function", arguments, Recording.shapes(arguments), fn [p, c, o] ->
      results = call_program(recorded, Tree.arrays(p) ++ Tree.arrays(o) ++ own(recorded, c, programs))
      results ++ rest.(c)
    end).program
  end

  # Its tangents are those of the primals and of the captured arrays, which are of no interest.
  defp widen_jvp(recorded, primals, captured, programs) do
    arguments = [primals, captured, primals, captured]

    Recording.without_values("Mlx.custom_function", arguments, Recording.shapes(arguments), fn [p, c, t, _] ->
      call_program(recorded, Tree.arrays(p) ++ Tree.arrays(t) ++ own(recorded, c, programs))
    end).program
  end

  # Those of all captured arrays that the program captured.
  defp own(recorded, captured, programs) do
    before =
      programs |> Enum.take_while(&(&1.program != recorded.program)) |> Enum.map(&length(&1.captured)) |> Enum.sum()

    Enum.slice(captured, before, length(recorded.captured))
  end

  defp call_program(recorded, inputs), do: Recording.run(Native.program_call(recorded.program), inputs)

  defp run(instruction, recorded, inputs) do
    Tree.with_arrays(recorded.result, Recording.run(instruction, inputs))
  end
end
