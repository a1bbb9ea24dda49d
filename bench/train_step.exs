for file <- ["rounds.exs", "table.exs", "models.exs"], do: Code.require_file(file, __DIR__)

defmodule Bench.TrainStep do
  @moduledoc false

  alias Bench.{Models, Rounds, Table, Training}

  @rounds 10
  # The steps of a round: compiled ones, and ones that are traced and built but not evaluated.
  @counts %{"tiny" => {500, 100}, "mlp" => {200, 100}, "transformer" => {3, 10}}

  def run(models) do
    Table.header("us, best of #{@rounds} rounds", "Mlx")
    Enum.each(models, &compare/1)
  end

  defp compare(model) do
    {compiled, built} = Map.fetch!(@counts, model)
    {parameters, loss, inputs} = Models.new(model)
    Mlx.eval([parameters, inputs])
    step = Training.step(loss)
    fast = Training.compiled(loss)
    arguments = [model, Float.to_string(Training.rate()), Integer.to_string(compiled), Integer.to_string(built)]

    {ours, theirs} =
      Rounds.compare("train_step.py", arguments, @rounds, fn ->
        :erlang.garbage_collect()

        [
          Training.time_of_step(fast, parameters, inputs, compiled),
          Rounds.time_of_one(built, fn -> apply(step, [parameters | inputs]) end)
        ]
      end)

    names = ["#{model}: compiled step", "#{model}: tracing and building"]
    Table.print(names, ours, theirs)
  end
end

Bench.TrainStep.run(System.argv())
