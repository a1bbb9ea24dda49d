defmodule Mlx.LM.Quantization.DWQ do
  @moduledoc false
  # Trains a quantized model to foretell what the whole model does: distilled weight quantization. Scales and biases are trained,
  # and all that is not quantized, such as norms. The codes stay.

  alias Mlx.{Array, Optimizers, Type}
  alias Mlx.LM.Decoder
  alias Mlx.LM.Quantization.{AWQ, Distillation, GPTQ, Packing, Unpacked}
  alias Mlx.LM.Sampler.OptionTable

  # From so many bits on, there is nothing to gain.
  @enough 8

  @doc "The table of its own options."
  @spec options() :: keyword()
  def options do
    [
      start: {:round, {:one_of, [:round, :gptq, :awq]}},
      steps: {nil, {:optional, {:integer, 1, nil}}},
      learning_rate: {1.0e-5, {:number_over, 0, 1}},
      temperature: {2.0, {:number_over, 0, 1000}},
      seed: {0, {:optional, :seed}},
      gradient_checkpoint: {false, :boolean},
      report: {nil, {:optional, {:function, 2}}}
    ]
  end

  @doc "The decoder with quantized layers."
  @spec quantize(Decoder.t(), map()) :: Decoder.t()
  def quantize(decoder, %{options: options} = context) do
    student = start(decoder, context)
    packings = Packing.packings(student)

    if not Enum.any?(packings, fn {_path, packing} -> improvable?(packing) end) do
      raise Mlx.Error,
            "no layer is quantized in the mode :affine with fewer than #{@enough} bits, whose scales could be trained"
    end

    parameters =
      for {path, %Array{} = array} <- Mlx.Tree.flatten(Map.take(student, [:model, :lm_head])),
          trained?(path, array, packings),
          into: %{},
          do: {path, Mlx.as_type(array, :f32)}

    steps = options[:steps] || length(context.batches)
    open = open(student)
    loss = &loss(open, decoder, &1, &2, context)
    Distillation.with_arrays(student, in_type(train(parameters, loss, steps, context), context.type))
  end

  defp start(decoder, %{options: options} = context) do
    case options[:start] do
      :round -> Packing.quantize(decoder, context.choose)
      :gptq -> GPTQ.quantize(decoder, context)
      :awq -> AWQ.quantize(decoder, %{context | options: defaults(AWQ)})
    end
  end

  defp defaults(module), do: OptionTable.defaults(module.options())

  defp trained?(path, %Array{type: type}, packings) do
    case packings[Path.rootname(path)] do
      nil -> Type.fractional?(type)
      packing -> Path.extname(path) in [".scales", ".biases"] and improvable?(packing)
    end
  end

  defp improvable?(packing), do: packing[:mode] == :affine and packing[:bits] < @enough

  # As it is fastest on the device.
  defp open(student) do
    if Mlx.Device.default() == :cpu do
      Map.merge(student, student |> Map.take([:model, :lm_head]) |> Unpacked.all() |> Mlx.eval())
    else
      student
    end
  end

  # All is of the type in which it will be written.
  defp loss(student, teacher, parameters, ids, %{options: options, type: type}) do
    targets = Distillation.targets(teacher, ids)

    {loss, slopes} =
      Mlx.value_and_grad(fn parameters ->
        arrays = Map.new(parameters, fn {path, array} -> {path, as_written(array, type)} end)

        student
        |> Distillation.with_arrays(arrays)
        |> Distillation.loss(ids, targets, options[:temperature], options[:gradient_checkpoint])
      end).(parameters)

    {Mlx.to_number(loss), slopes}
  end

  defp as_written(array, type) do
    if Mlx.Device.default() == :cpu, do: array |> Mlx.as_type(type) |> Mlx.as_type(:f32), else: Mlx.as_type(array, type)
  end

  defp in_type(parameters, type), do: Map.new(parameters, fn {path, array} -> {path, Mlx.as_type(array, type)} end)

  defp train(parameters, loss, steps, %{options: options} = context) do
    optimizer = Optimizers.Adam.new(options[:learning_rate], bias_correction: true)
    tell = options[:report] || fn _step, _loss -> :ok end
    context.report.({:steps, 0, steps})

    {parameters, _state} =
      context.batches
      |> Stream.cycle()
      |> Stream.take(steps)
      |> Stream.with_index(1)
      |> Enum.reduce({parameters, Optimizers.init(optimizer, parameters)}, fn {ids, step}, {parameters, state} ->
        {value, slopes} = loss.(parameters, ids)

        if not is_number(value),
          do: raise(Mlx.Error, "the divergence after #{step - 1} steps is #{value}; try a lower :learning_rate")

        tell.(step, value)
        changed = Mlx.eval(Optimizers.update(optimizer, slopes, parameters, state))
        context.report.({:steps, step, steps})
        changed
      end)

    parameters
  end
end
