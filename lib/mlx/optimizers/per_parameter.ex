defmodule Mlx.Optimizers.PerParameter do
  @moduledoc """
  Optimizers that treat each parameter by itself.

  `use Mlx.Optimizers.PerParameter` with the options of an optimizer defines a struct of them and of `:learning_rate`, and
  a private `new!/2` that checks them. It makes the module a `Mlx.Optimizers.Optimizer` and leaves two functions to write:
  what is remembered of a parameter, and how one changes. Each option has a default and a kind:

  | kind | takes |
  | --- | --- |
  | `:number` | a number |
  | `:not_negative` | a number of at least 0 |
  | `:positive` | a number above 0 |
  | `:fraction` | a number of at least 0 and below 1 |
  | `:count` | an integer of at least 0 |
  | `:boolean` | true or false |
  | `:rate` | a learning rate, see `Mlx.Optimizers` |
  | `{kind, kind}` | a tuple of two |
  | `{:optional, kind}` | nil, too |

  This one moves against the sign of the momentum:

      defmodule Signum do
        use Mlx.Optimizers.PerParameter, momentum: {0.9, :fraction}
        use Mlx.Operators

        def new(learning_rate, options \\\\ []), do: new!(learning_rate, options)

        @impl true
        def init_single(_optimizer, parameter), do: %{v: Mlx.zeros_like(parameter)}

        @impl true
        def apply_single(%{momentum: momentum}, gradient, parameter, %{v: v}, shared) do
          v = momentum * v + (1 - momentum) * gradient
          rate = Mlx.as_type(shared.learning_rate, gradient.type)
          {parameter - rate * Mlx.sign(v), %{v: v}}
        end
      end

  Python: `mlx.optimizers.Optimizer`, with `init_single` and `apply_single`.
  """

  alias Mlx.{Array, Optimizers}
  alias Mlx.Arguments.Given
  alias Mlx.Optimizers.{ParameterStates, Settings}

  @typedoc "What all parameters share in a step: its number, from 1, and the learning rate, nil where there is none."
  @type shared :: %{step: Array.t(), learning_rate: Array.t() | nil}

  @doc "What is remembered of a parameter before the first step. Python: `init_single`."
  @callback init_single(optimizer :: Optimizers.t(), parameter :: Array.t()) :: %{atom() => Array.t()}

  @doc """
  The parameter after a step, and what is remembered of it then. What is not returned stays as it was. Python:
  `apply_single`.
  """
  @callback apply_single(
              optimizer :: Optimizers.t(),
              gradient :: Array.t(),
              parameter :: Array.t(),
              remembered :: %{atom() => Array.t()},
              shared()
            ) :: {Array.t(), %{atom() => Array.t()}}

  defmacro __using__(options) do
    quote do
      @behaviour Mlx.Optimizers.Optimizer
      @behaviour Mlx.Optimizers.PerParameter

      @settings Keyword.put_new(unquote(options), :learning_rate, {nil, :rate})
      defstruct Mlx.Optimizers.Settings.defaults(@settings)

      @typedoc "The optimizer."
      @type t :: %__MODULE__{}

      @impl Mlx.Optimizers.Optimizer
      defdelegate init(optimizer, parameters), to: Mlx.Optimizers.PerParameter

      @impl Mlx.Optimizers.Optimizer
      defdelegate update(optimizer, gradients, parameters, state), to: Mlx.Optimizers.PerParameter

      defp new!(learning_rate, options) do
        Mlx.Optimizers.Settings.struct!(__MODULE__, @settings, learning_rate, options)
      end
    end
  end

  @doc false
  @spec init(Optimizers.t(), Mlx.Tree.t()) :: Optimizers.state()
  def init(%module{learning_rate: rate} = optimizer, parameters) do
    step = Mlx.array(0, type: :u64)
    shared = if rate == nil, do: %{step: step}, else: %{step: step, learning_rate: rate(rate, step)}
    parameters |> ParameterStates.init(&module.init_single(optimizer, &1)) |> with_shared!(shared)
  end

  # The names of the two share one level, as in Python.
  defp with_shared!(states, shared) do
    names = Enum.map(Map.keys(shared), &Atom.to_string/1)

    case Enum.filter(Map.keys(states), &(to_string(&1) in names)) do
      [] ->
        Map.merge(states, shared)

      [key | _] ->
        raise ArgumentError,
              "Mlx.Optimizers.init: the state needs the key #{inspect(key)} itself; give it the parameters in a map, " <>
                "under another key"
    end
  end

  @doc false
  @spec update(Optimizers.t(), Mlx.Tree.t(), Mlx.Tree.t(), Optimizers.state()) :: {Mlx.Tree.t(), Optimizers.state()}
  def update(optimizer, gradients, parameters, state) do
    state = next(optimizer, state)
    shared = %{step: state.step, learning_rate: state[:learning_rate]}
    ParameterStates.update(optimizer, gradients, parameters, state, shared)
  end

  # A schedule gets the number of the steps before this one.
  defp next(%{learning_rate: nil}, %{step: step} = state), do: %{state | step: Mlx.add(step, 1)}

  defp next(%{learning_rate: schedule}, %{step: step, learning_rate: rate} = state) do
    rate = if is_function(schedule), do: rate(schedule, step), else: rate
    %{state | step: Mlx.add(step, 1), learning_rate: rate}
  end

  defp next(%module{}, state) do
    raise ArgumentError,
          "Mlx.Optimizers.update: expected the state that Mlx.Optimizers.init/2 makes for an #{inspect(module)}, " <>
            "got: #{Given.text(state)}"
  end

  defp rate(schedule, step) when is_function(schedule), do: step |> schedule.() |> Settings.scalar!()
  # The arrays of a state may be donated, and the optimizer's own must not.
  defp rate(rate, _step), do: rate |> Settings.scalar!() |> Mlx.copy()
end
