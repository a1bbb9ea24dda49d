defmodule Mlx.Conformance.OptimizerSignatures do
  @moduledoc """
  The rows of `mlx.optimizers` in `Mlx.Conformance.Signatures`.
  """

  import Mlx.Conformance.Parameters

  alias Mlx.Conformance.Optimizers

  @rate {:either, [:unary, :number, :array]}

  @doc "The rows."
  def rows, do: optimizers() ++ methods() ++ schedules()

  defp optimizers do
    rate = [learning_rate: @rate]
    betas = options({:pair, :number}, [:betas])
    eps = options(:number, [:eps])
    decay = options(:number, [:weight_decay])
    correction = options(:boolean, [:bias_correction])
    nesterov = options(:boolean, [:nesterov])

    rows =
      for {name, parameters} <- [
            {"SGD", rate ++ options(:number, [:momentum, :weight_decay, :dampening]) ++ nesterov},
            {"RMSprop", rate ++ options(:number, [:alpha]) ++ eps},
            {"Adagrad", rate ++ eps},
            {"AdaDelta", rate ++ options(:number, [:rho]) ++ eps},
            {"Adam", rate ++ betas ++ eps ++ correction},
            {"AdamW", rate ++ betas ++ eps ++ decay ++ correction},
            {"Adamax", rate ++ betas ++ eps},
            {"Lion", rate ++ betas ++ decay},
            {"Adafactor", adafactor()},
            {"Muon", rate ++ options(:number, [:momentum]) ++ decay ++ nesterov ++ options(:integer, [:ns_steps])}
          ] do
        {["mlx.optimizers.#{name}"], parameters, Optimizers.make(Module.concat(Mlx.Optimizers, name))}
      end

    several = [optimizers: {:list, :layer}, filters: default({:list, :function}, [])]
    rows ++ [{["mlx.optimizers.MultiOptimizer"], several, &Optimizers.make_several/3}]
  end

  defp adafactor do
    [learning_rate: default(@rate, nil)] ++
      options({:pair, :number}, [:eps]) ++
      options(:number, [:clip_threshold, :decay_rate, :beta_1, :weight_decay]) ++
      options(:boolean, [:scale_parameter, :relative_step, :warmup_init])
  end

  defp methods do
    [
      {~w(mlx.optimizers.Optimizer.init), [self: :layer, parameters: :any], &Optimizers.init/3},
      {~w(mlx.optimizers.Optimizer.apply_gradients), [self: :layer, gradients: :any, parameters: :any, state: :any],
       &Optimizers.update/3},
      {~w(mlx.optimizers.clip_grad_norm), [grads: :any, max_norm: :number],
       fn call, %{grads: gradients, max_norm: norm}, _options ->
         call.([Mlx.Conformance.Transforms.container(gradients), norm], [])
       end}
    ]
  end

  defp schedules do
    for {name, parameters} <- [
          {"cosine_decay", [init: :number, decay_steps: :integer, end: option(:number, :end)]},
          {"exponential_decay", [init: :number, decay_rate: :number]},
          {"linear_schedule", [init: :number, end: :number, steps: :integer]},
          {"step_decay", [init: :number, decay_rate: :number, step_size: :integer]},
          {"join_schedules", [schedules: {:list, :unary}, boundaries: {:list, :integer}]}
        ] do
      positional = positional(parameters)

      {["mlx.optimizers.#{name}"], parameters,
       fn call, bound, options -> Optimizers.schedule(call, Enum.map(positional, &Map.fetch!(bound, &1)), options) end}
    end
  end
end
