defmodule Mlx.Optimizers do
  @moduledoc """
  Optimizers: how a gradient changes parameters.

  An optimizer is a struct that holds its options. What it remembers from one step to the next is a state, a container of
  arrays that `init/2` makes and `update/4` returns anew, as it does the parameters.

      iex> loss = fn %{w: w, b: b}, x, y -> Mlx.mean(Mlx.square(Mlx.subtract(Mlx.add(Mlx.multiply(w, x), b), y))) end
      iex> optimizer = Mlx.Optimizers.Adam.new(0.1)
      iex> step = Mlx.compile(fn parameters, state, x, y ->
      ...>   {loss, gradients} = Mlx.value_and_grad(loss).(parameters, x, y)
      ...>   {parameters, state} = Mlx.Optimizers.update(optimizer, gradients, parameters, state)
      ...>   {loss, parameters, state}
      ...> end, donate: [0, 1])
      iex> {x, y} = {Mlx.array([0.0, 1.0, 2.0, 3.0]), Mlx.array([1.0, 3.0, 5.0, 7.0])}
      iex> parameters = %{w: Mlx.array(0.0), b: Mlx.array(0.0)}
      iex> state = Mlx.Optimizers.init(optimizer, parameters)
      iex> {parameters, _state} = Enum.reduce(1..300, {parameters, state}, fn _step, {parameters, state} ->
      ...>   {_loss, parameters, state} = step.(parameters, state, x, y)
      ...>   {parameters, state}
      ...> end)
      iex> for number <- [parameters.w, parameters.b], do: number |> Mlx.to_number() |> Float.round(2)
      [2.0, 1.0]

  | optimizer | in a few words |
  | --- | --- |
  | `Mlx.Optimizers.SGD` | the gradient, with momentum if wanted |
  | `Mlx.Optimizers.RMSprop` | the gradient over a running mean of its size |
  | `Mlx.Optimizers.Adagrad` | the gradient over the size of all gradients so far |
  | `Mlx.Optimizers.AdaDelta` | RMSprop, in the unit of the parameter |
  | `Mlx.Optimizers.Adam` | momentum over a running mean of the gradient's size |
  | `Mlx.Optimizers.AdamW` | Adam, and parameters that shrink |
  | `Mlx.Optimizers.Adamax` | Adam with the greatest gradient for its size |
  | `Mlx.Optimizers.Lion` | the sign of the momentum |
  | `Mlx.Optimizers.Adafactor` | Adam that remembers a row and a column of a matrix |
  | `Mlx.Optimizers.Muon` | momentum, made orthogonal, for matrices |
  | `Mlx.Optimizers.MultiOptimizer` | one optimizer for some parameters, another for the others |

  ## The learning rate

  It is a number, or a schedule: a function that gets the number of steps made so far, a scalar array, and returns the
  rate for the next one. `Mlx.Optimizers.Schedules` makes the usual ones; any function of array operations is one. In a
  compiled step it is recorded as the rest is.

      iex> schedule = fn step -> Mlx.divide(0.1, Mlx.add(1, step)) end
      iex> optimizer = Mlx.Optimizers.SGD.new(schedule)
      iex> x = Mlx.array(1.0)
      iex> {x, state} = Mlx.Optimizers.update(optimizer, Mlx.array(1.0), x, Mlx.Optimizers.init(optimizer, x))
      iex> {x, _state} = Mlx.Optimizers.update(optimizer, Mlx.array(1.0), x, state)
      iex> x |> Mlx.to_number() |> Float.round(4)
      0.85

  ## The state

  It is a map with `:step`, a scalar of the type `:u64`, with `:learning_rate`, a scalar, and with what the optimizer
  remembers of a parameter under the keys that lead to this parameter. The paths are those of Python:

      iex> model = %{layers: [%{weight: Mlx.ones({2, 3})}]}
      iex> state = Mlx.Optimizers.init(Mlx.Optimizers.Adam.new(0.001), model)
      iex> for {path, _array} <- Mlx.Tree.flatten(state), do: path
      ["layers.0.weight.m", "layers.0.weight.v", "learning_rate", "step"]

  So a state that Python has saved can be loaded. A state is saved as any container is, and the one of `init/2` gives a
  loaded one its form:

      iex> path = Path.join(System.tmp_dir!(), "mlx_optimizers_example.safetensors")
      iex> optimizer = Mlx.Optimizers.Adam.new(0.001)
      iex> parameters = %{weight: Mlx.ones({2})}
      iex> {parameters, state} =
      ...>   Mlx.Optimizers.update(optimizer, parameters, parameters, Mlx.Optimizers.init(optimizer, parameters))
      iex> Mlx.IO.save(path, state |> Mlx.Tree.flatten() |> Map.new())
      iex> state = path |> Mlx.IO.load() |> Mlx.Tree.unflatten(Mlx.Optimizers.init(optimizer, parameters))
      iex> File.rm!(path)
      iex> Mlx.to_number(state.step)
      1

  The learning rate in the state is the one that is used, unless there is a schedule. Another number in its place,
  `%{state | learning_rate: Mlx.array(0.01)}`, compiles nothing anew.

  An optimizer of one's own is a module that uses `Mlx.Optimizers.PerParameter`.

  Python: `mlx.optimizers`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, Tree, Type}
  alias Mlx.Arguments.CalledFunction

  @typedoc "An optimizer: a struct whose module has the behaviour `Mlx.Optimizers.Optimizer`."
  @type t :: struct()

  @typedoc "A rate, or the function of the number of steps made so far that gives it."
  @type learning_rate :: number() | Array.t() | (Array.t() -> Array.operand())

  @typedoc "What an optimizer remembers: a container of arrays."
  @type state :: map()

  # Whose errors are told of as those of the functions here.
  @parts ["Mlx.Tree", "Mlx.Optimizers"]

  # Keeps the quotient of the norms finite.
  @least_norm 1.0e-6

  @doc """
  The state of an optimizer before the first step.

  `parameters` is a container of arrays (see `Mlx.Tree`). What the state holds for an array has the type of this array.

      iex> parameters = {Mlx.ones({2, 3}, type: :bf16), [Mlx.ones({3})]}
      iex> state = Mlx.Optimizers.init(Mlx.Optimizers.SGD.new(0.1, momentum: 0.9), parameters)
      iex> for {path, array} <- Mlx.Tree.flatten(state), do: {path, array.type, array.shape}
      [{"0.v", :bf16, {2, 3}}, {"1.0.v", :f32, {3}}, {"learning_rate", :f32, {}}, {"step", :u64, {}}]

  Raises `ArgumentError` when the outermost keys of the parameters are also those of the state itself, `:step` and
  `:learning_rate`. Python: `mlx.optimizers.Optimizer.init`, `state`.
  """
  @spec init(t(), Tree.t()) :: state()
  def init(%module{} = optimizer, parameters) do
    check_optimizer!(:init, module)
    CalledFunction.name("Mlx.Optimizers.init", @parts, fn -> module.init(optimizer, parameters) end)
  end

  @doc """
  One step: the changed parameters and the new state.

  `gradients` is a container like `parameters`, as `Mlx.grad/2` gives it. It may lack elements or have `nil` in their
  place: such parameters, and what the state holds for them, stay as they are. All else in the container of the parameters
  stays, too.

      iex> optimizer = Mlx.Optimizers.SGD.new(0.5)
      iex> parameters = %{w: Mlx.array([1.0, 2.0]), frozen: Mlx.array(3.0), name: "layer"}
      iex> state = Mlx.Optimizers.init(optimizer, parameters)
      iex> {new, state} = Mlx.Optimizers.update(optimizer, %{w: Mlx.array([1.0, 1.0])}, parameters, state)
      iex> {Mlx.to_list(new.w), new.frozen == parameters.frozen, new.name, Mlx.to_number(state.step)}
      {[0.5, 1.5], true, "layer", 1}

  Types are promoted as in all operations: parameters of the type `:bf16` stay so when their gradients are. Nothing is
  computed before the results are evaluated, so a loop that is not compiled needs `Mlx.eval/1` after each step.

  Raises `ArgumentError` when a gradient has not the shape of its parameter, when there is no parameter for it, and when the
  state is not the one of such an optimizer with such parameters. Python: `mlx.optimizers.Optimizer.update`,
  `apply_gradients`.
  """
  @spec update(t(), Tree.t(), parameters, state()) :: {parameters, state()} when parameters: Tree.t()
  def update(%module{} = optimizer, gradients, parameters, state) do
    check_optimizer!(:update, module)

    CalledFunction.name("Mlx.Optimizers.update", @parts, fn ->
      module.update(optimizer, gradients, parameters, state)
    end)
  end

  defp check_optimizer!(function, module) do
    if not (Code.ensure_loaded?(module) and function_exported?(module, :update, 4)) do
      raise ArgumentError,
            "Mlx.Optimizers.#{function}: expected an optimizer such as Mlx.Optimizers.Adam.new(0.001), " <>
              "got a struct of #{inspect(module)}"
    end
  end

  @doc """
  The gradients, made smaller where their norm exceeds `max_norm`, and the norm that they had.

  The norm is that of all elements of all arrays together, a scalar array. Each array keeps its type; integers become
  `:f32`.

      iex> {%{w: w, b: b}, norm} = Mlx.Optimizers.clip_grad_norm(%{w: Mlx.array([3.0]), b: Mlx.array([4.0])}, 1.0)
      iex> {Mlx.to_number(norm), for(array <- [w, b], do: array |> Mlx.to_number() |> Float.round(4))}
      {5.0, [0.6, 0.8]}

  Raises `ArgumentError` when `max_norm` is negative. Python: `mlx.optimizers.clip_grad_norm`, which squares complex
  numbers without their absolute values.
  """
  @spec clip_grad_norm(gradients, number()) :: {gradients, Array.t()} when gradients: Tree.t()
  def clip_grad_norm(gradients, max_norm) when is_number(max_norm) do
    if max_norm < 0 do
      raise ArgumentError, "Mlx.Optimizers.clip_grad_norm: expected a norm of at least 0, got: #{inspect(max_norm)}"
    end

    norm = gradients |> Tree.reduce(0.0, &Mlx.add(&2, squared_norm(&1))) |> Mlx.sqrt()
    scale = max_norm |> Mlx.divide(Mlx.add(norm, @least_norm)) |> Mlx.min(1.0)
    {Tree.map(gradients, &scaled(&1, scale)), norm}
  end

  # Squares of :f16 soon exceed its range.
  defp squared_norm(%Array{type: :f16} = array), do: array |> Mlx.as_type(:f32) |> squared_norm()
  defp squared_norm(%Array{type: :c64} = array), do: array |> Mlx.abs() |> squared_norm()
  defp squared_norm(array), do: array |> Mlx.square() |> Mlx.sum()

  # A small scale may be none of the type of the array.
  defp scaled(%Array{type: type} = array, scale) do
    scaled = Mlx.multiply(array, scale)
    if Type.subtype?(type, :float), do: Mlx.as_type(scaled, type), else: scaled
  end
end
