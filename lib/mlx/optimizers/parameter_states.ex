defmodule Mlx.Optimizers.ParameterStates do
  @moduledoc false
  # What an optimizer remembers of each parameter: maps by the keys that lead to the parameters, of lists and tuples their
  # indices, in which a map of arrays stands for a parameter.

  alias Mlx.{Array, Optimizers, Tree}
  alias Mlx.Arguments.Given
  alias Mlx.Optimizers.PerParameter
  alias Mlx.Tree.{Elements, Paths}

  @type states :: %{optional(term()) => Array.t() | states()}
  @type remembered :: %{atom() => Array.t()}

  @doc "What `fun` gives for each parameter."
  @spec init(Tree.t(), (Array.t() -> remembered())) :: states()
  def init(%Array{} = parameter, fun), do: fun.(parameter)

  def init(container, fun) do
    for {key, element} <- Elements.pairs(container), arrays?(element), into: %{}, do: {key, init(element, fun)}
  end

  @doc "The parameters after a step of the optimizer, and what is remembered then. Those without a gradient stay as they are."
  @spec update(Optimizers.t(), Tree.t(), Tree.t(), states(), PerParameter.shared()) :: {Tree.t(), states()}
  def update(optimizer, gradients, parameters, states, shared) do
    if arrays?(gradients),
      do: walk(gradients, parameters, states, [], {optimizer, shared}),
      else: {parameters, states}
  end

  # `keys` lead to the parameters, the last one first.
  defp walk(%Array{shape: shape} = gradient, %Array{shape: shape} = parameter, states, keys, step) do
    {parameter, remembered} = apply_single(gradient, parameter, states, keys, step)
    {parameter, Map.merge(states, remembered)}
  end

  defp walk(gradients, parameters, states, keys, step) do
    if Elements.form(parameters) == :none or Elements.form(gradients) == :none, do: misfit!(gradients, parameters, keys)

    {changed, states} =
      for {key, gradient} <- Elements.pairs(gradients), arrays?(gradient), reduce: {%{}, states} do
        {changed, states} ->
          keys = [key | keys]
          element = element!(Elements.fetch(parameters, key), keys)
          {element, state} = walk(gradient, element, state!(states, key, keys), keys, step)
          {Map.put(changed, key, element), Map.put(states, key, state)}
      end

    pairs = for {key, element} <- Elements.pairs(parameters), do: {key, Map.get(changed, key, element)}
    {Elements.with_pairs(parameters, pairs), states}
  end

  defp apply_single(gradient, parameter, remembered, keys, {%module{} = optimizer, shared}) do
    module.apply_single(optimizer, gradient, parameter, remembered, shared)
  rescue
    error in [FunctionClauseError, KeyError] ->
      if of_another?(error, remembered) do
        raise ArgumentError,
              "Mlx.Optimizers.update: the state#{at(keys)} is not that of an #{inspect(module)}: #{Given.text(remembered)}"
      end

      reraise error, __STACKTRACE__
  end

  # What another optimizer remembers is taken by no clause, or lacks a name.
  defp of_another?(%FunctionClauseError{function: function, arity: arity}, _),
    do: {function, arity} == {:apply_single, 5}

  defp of_another?(%KeyError{term: term}, remembered), do: term === remembered

  defp arrays?(container), do: Tree.arrays(container) != []

  defp element!({:ok, element}, _keys), do: element

  defp element!(:error, keys) do
    raise ArgumentError, "Mlx.Optimizers.update: there is a gradient, but no parameter#{at(keys)}"
  end

  defp state!(states, key, keys) do
    case states do
      %{^key => %{} = state} when not is_struct(state) ->
        state

      _none ->
        raise ArgumentError,
              "Mlx.Optimizers.update: the state has nothing#{at(keys)}, where there is a gradient; give " <>
                "Mlx.Optimizers.init/2 all parameters that are to change"
    end
  end

  defp misfit!(gradients, parameters, keys) do
    raise ArgumentError,
          "Mlx.Optimizers.update: expected a gradient of the shape of the parameter#{at(keys)}, #{Given.text(parameters)}, " <>
            "got: #{Given.text(gradients)}"
  end

  defp at([]), do: ""
  defp at(keys), do: " at #{inspect(Paths.path(keys))}"
end
