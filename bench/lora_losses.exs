Code.require_file("lora_sides.exs", __DIR__)

defmodule Bench.LoRALosses do
  @moduledoc false

  alias Bench.LoRASides
  alias Mlx.LM.{Decoder, FineTuning, TrainingData}
  alias Mlx.Training.Curve

  @turn 10
  @max_length 64
  @validated 8
  @answers 3
  @tokens 16

  def main(arguments) do
    {options, numbers} = OptionParser.parse!(arguments, strict: [svg: :string])
    [steps, size] = numbers |> Enum.map(&String.to_integer/1) |> Kernel.++(Enum.drop([100, 1], length(numbers)))
    settings = [steps: steps, turn: @turn, batch_size: size, max_length: @max_length, validate: @validated]
    pictures = Keyword.get(options, :svg, "_build/losses")
    File.mkdir_p!(pictures)

    LoRASides.in_folder(fn folder ->
      {turns, tuned} = LoRASides.run(folder, settings)
      [ours, theirs] = for place <- [0, 1], do: curves(Enum.map(turns, &elem(&1, place)))
      [losses, validations] = for name <- [:losses, :validations], do: furthest(ours[name], theirs[name])
      show(ours[:losses], theirs[:losses], losses, "losses")
      show(ours[:validations], theirs[:validations], validations, "validations")
      picture = Path.join(pictures, "lora.svg")
      File.write!(picture, Curve.to_svg(for {side, own} <- [Mlx: ours, "mlx-lm": theirs], do: {side, own[:losses]}))
      IO.puts(picture)
      models(folder, tuned, settings)
      IO.puts("losses difference: #{Float.round(max(losses, validations), 8)}")
    end)
  end

  # A point for each step, and for each validation.
  defp curves(turns) do
    losses =
      for {turn, number} <- Enum.with_index(turns),
          {loss, step} <- Enum.with_index(turn.losses, 1),
          do: {number * @turn + step, loss}

    [
      losses: losses,
      validations: for({turn, number} <- Enum.with_index(turns, 1), do: {number * @turn, turn.validation})
    ]
  end

  defp furthest(ours, theirs),
    do: Enum.zip_with(ours, theirs, fn {step, a}, {step, b} -> abs(a - b) / b end) |> Enum.max()

  defp show(ours, theirs, difference, name) do
    [{_first, from}, {_last, to}] = [hd(ours), List.last(ours)]
    {_last, other} = List.last(theirs)
    IO.puts("#{length(ours)} #{name} from #{from} to #{to}, mlx-lm's to #{other}; at most #{difference} apart")
  end

  defp models(folder, tuned, settings) do
    [model, adapter, fused] = for name <- ["model", "adapter", "fused"], do: Path.join(folder, name)
    FineTuning.save(tuned, adapter)
    FineTuning.fuse(model, adapter, fused)
    valid = LoRASides.data(tuned, "valid", settings)
    [batch] = valid |> TrainingData.batches(4, limit: 1) |> Enum.to_list()
    logits = tuned.decoder |> Mlx.NN.eval() |> Decoder.training_logits(batch.ids) |> Mlx.eval()
    Mlx.IO.save(Path.join(folder, "ids.safetensors"), %{"ids" => batch.ids})
    theirs(folder)
    result = Mlx.IO.load(Path.join(folder, "logits.safetensors"))

    for name <- ["adapter", "fused", "start"] do
      IO.puts("mlx-lm's logits of #{what(name)} are at most #{distance(result[name], logits)} of the largest away")
    end

    answers(valid, model, adapter, fused)
  end

  defp what("adapter"), do: "the adapted model"
  defp what("fused"), do: "the fused model"
  defp what("start"), do: "the model before its training"

  defp distance(array, expected) do
    [difference, most] =
      for one <- [Mlx.subtract(array, expected), expected], do: one |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()

    difference / most
  end

  defp theirs(folder) do
    environment = [{"LD_PRELOAD", System.fetch_env!("BENCH_MLX")}]
    arguments = [Path.join(__DIR__, "lora_logits.py"), folder]
    python = System.fetch_env!("MLX_ORACLE_PYTHON")
    {output, status} = System.cmd(python, arguments, env: environment, stderr_to_stdout: true)
    if status != 0, do: raise("Python ended with exit status #{status}: #{output}")
  end

  defp answers(valid, model, adapter, fused) do
    prompts = for number <- 0..(@answers - 1), {ids, from} = TrainingData.fetch(valid, number), do: Enum.take(ids, from)

    [adapted, own] =
      for {folder, options} <- [{model, [adapter: adapter]}, {fused, []}] do
        lm = Mlx.LM.load(folder, options)
        for prompt <- prompts, do: Mlx.LM.generate(lm, prompt, max_tokens: @tokens).text
      end

    same = Enum.zip_with(adapted, own, &(&1 == &2)) |> Enum.count(& &1)

    IO.puts(
      "#{same} of #{@answers} answers of the fused model are those of the adapted one, such as #{inspect(hd(own))}"
    )
  end
end

Bench.LoRALosses.main(System.argv())
