if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.MixedPrecision do
    @moduledoc """
    Training in a narrow type: the parameters stay in `f32`, the model computes in `f16` or `bf16`.

    Gradients in `f16` are often too small for it and become 0. So the loss is multiplied by a scale before its gradient is
    taken, and the gradients are divided by it. A scale that is too large makes them infinite or NaN: such a step is left out
    and the scale made smaller, and after some steps without it is made larger again. `bf16` has the range of `f32` and needs
    no scale: `new(scale: 1, interval: :infinity)`.

    The state is a container of tensors. All functions can be called inside `defn`:

        import Nx.Defn

        defn step(parameters, state, x, y) do
          {x, y} = MixedPrecision.cast({x, y}, :f16)
          {loss, gradients, state} = MixedPrecision.value_and_grad(state, parameters, &loss(&1, x, y))
          updated = update(parameters, gradients)
          {loss, MixedPrecision.select(state, updated, parameters), state}
        end

    Not in Python.
    """

    import Nx.Defn

    alias Mlx.Arguments.Options
    alias Nx.Defn.Composite
    alias Nx.Tensor

    @enforce_keys [:scale, :steps, :finite, :factor, :interval]
    @derive {Nx.Container, containers: [:scale, :steps, :finite], keep: [:factor, :interval]}
    defstruct @enforce_keys

    @typedoc """
    The scale, the number of steps since it changed, and whether the gradients of the last step were finite.
    """
    @type t :: %__MODULE__{
            scale: Tensor.t(),
            steps: Tensor.t(),
            finite: Tensor.t(),
            factor: number(),
            interval: pos_integer() | :infinity
          }

    @doc """
    The state before the first step.

    Options:

      * `:scale` - of the loss, default 32768
      * `:factor` - that the scale is divided by after a step whose gradients are not finite, and multiplied by after
        `:interval` steps whose are, default 2
      * `:interval` - default 2000; `:infinity` for a scale that stays, but where it is too large

    Examples:

        iex> Mlx.Nx.MixedPrecision.new(scale: 1024).scale |> Nx.to_number()
        1024.0
    """
    @spec new(keyword()) :: t()
    deftransform new(options \\ []) do
      defaults = [scale: 32_768, factor: 2, interval: 2000]
      [scale, factor, interval] = Options.without_stream(options, :"Nx.MixedPrecision.new", defaults)

      %__MODULE__{
        scale: Nx.tensor(scale, type: :f32),
        steps: Nx.tensor(0, type: :s32),
        finite: Nx.tensor(1, type: :u8),
        factor: factor,
        interval: interval
      }
    end

    @doc """
    The container with its floating-point tensors in a type. Others stay as they are.

        iex> %{w: w, n: n} = Mlx.Nx.MixedPrecision.cast(%{w: Nx.tensor([1.0]), n: Nx.tensor(1)}, :bf16)
        iex> {w.type, n.type}
        {{:bf, 16}, {:s, 32}}
    """
    @spec cast(Nx.Container.t(), Nx.Type.t() | atom()) :: Nx.Container.t()
    deftransform cast(container, type) do
      Composite.traverse(container, fn value ->
        tensor = Nx.to_tensor(value)
        if Nx.Type.float?(tensor.type), do: Nx.as_type(tensor, type), else: tensor
      end)
    end

    @doc """
    The loss that `fun` computes of the parameters, its gradients for them, and the next state: `{loss, gradients, state}`.

    `fun` gets the parameters in the narrow type, and returns a tensor without axes. Its other tensors have to be of that type,
    too (`cast/2`), or else Nx computes in the wider one. The loss comes in `f32`, and each gradient in the type of its
    parameter. Where one of them is not finite, `state.finite` is 0.

    Options:

      * `:type` - the narrow type, default `:f16`

    Examples:

        iex> alias Mlx.Nx.MixedPrecision
        iex> state = MixedPrecision.new(scale: 1024)
        iex> {loss, gradient, state} = MixedPrecision.value_and_grad(state, Nx.tensor([3.0, 4.0]), &Nx.sum(Nx.multiply(&1, &1)))
        iex> {Nx.to_number(loss), Nx.to_list(gradient), Nx.to_number(state.finite)}
        {25.0, [6.0, 8.0], 1}
    """
    @spec value_and_grad(t(), Nx.Container.t(), (Nx.Container.t() -> Tensor.t()), keyword()) ::
            {Tensor.t(), Nx.Container.t(), t()}
    deftransform value_and_grad(%__MODULE__{scale: scale} = state, parameters, fun, options \\ []) do
      [type] = Options.without_stream(options, :"Nx.MixedPrecision.value_and_grad", type: :f16)

      # Nx takes no tensors of other backends from around the function.
      {loss, {gradients, _of_scale}} =
        Nx.Defn.value_and_grad({parameters, scale}, fn {parameters, scale} ->
          parameters |> cast(type) |> fun.() |> widened() |> Nx.multiply(scale)
        end)

      {gradients, []} =
        Composite.traverse(gradients, Composite.flatten_list([parameters]), fn gradient, [parameter | rest] ->
          {gradient |> Nx.as_type(:f32) |> Nx.divide(scale) |> Nx.as_type(parameter.type), rest}
        end)

      {Nx.divide(loss, scale), gradients, next(state, finite(gradients))}
    end

    # Nx leaves gradients in the type that they come in, which would be `f32` all the way.
    defp widened(%Tensor{type: type} = loss) do
      loss |> Nx.as_type(:f32) |> Nx.Defn.Kernel.custom_grad([loss], fn gradient -> [Nx.as_type(gradient, type)] end)
    end

    defp finite(gradients) do
      [gradients]
      |> Composite.flatten_list()
      |> Enum.map(fn gradient ->
        gradient |> Nx.is_nan() |> Nx.logical_or(Nx.is_infinity(gradient)) |> Nx.any() |> Nx.logical_not()
      end)
      |> Enum.reduce(&Nx.logical_and(&2, &1))
    end

    defp next(%__MODULE__{scale: scale, steps: steps, factor: factor} = state, finite) do
      steps = Nx.add(steps, 1)
      due = if state.interval == :infinity, do: Nx.tensor(0, type: :u8), else: Nx.greater_equal(steps, state.interval)
      grown = Nx.select(due, Nx.multiply(scale, factor), scale)
      # A scale below 1 would make gradients of a usual size too small.
      shrunk = Nx.max(Nx.divide(scale, factor), 1)
      steps = Nx.select(Nx.logical_and(finite, Nx.logical_not(due)), steps, 0)
      %{state | scale: Nx.select(finite, grown, shrunk), steps: Nx.as_type(steps, :s32), finite: finite}
    end

    @doc """
    The first container if the gradients of the last step were finite, or else the second one: what a step has made, and what
    was there before.

        iex> alias Mlx.Nx.MixedPrecision
        iex> state = MixedPrecision.new(scale: 1024)
        iex> {_, _, state} = MixedPrecision.value_and_grad(state, Nx.tensor(1.0), &Nx.multiply(&1, Nx.Constants.infinity()))
        iex> {Nx.to_number(MixedPrecision.select(state, 2, 1)), Nx.to_number(state.scale)}
        {1, 512.0}
    """
    @spec select(t(), Nx.Container.t(), Nx.Container.t()) :: Nx.Container.t()
    deftransform select(%__MODULE__{finite: finite}, updated, previous) do
      {selected, []} =
        Composite.traverse(updated, Composite.flatten_list([previous]), fn new, [old | rest] ->
          {Nx.select(finite, new, old), rest}
        end)

      selected
    end
  end
end
