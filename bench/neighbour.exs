for file <- ["rounds.exs", "table.exs", "models.exs"], do: Code.require_file(file, __DIR__)

defmodule Bench.Neighbour do
  @moduledoc false

  alias Bench.{Models, Rounds, Table, Training}

  @model "mlp"
  @rounds 9
  @steps 50

  def run do
    {parameters, loss, inputs} = Models.new(@model)
    Mlx.eval([parameters, inputs])
    step = Training.compiled(loss)
    # Python builds a step, too, which is not looked at here.
    arguments = [@model, Float.to_string(Training.rate()), Integer.to_string(@steps), "1"]

    {[us], [py, _built]} =
      Rounds.compare(
        "train_step.py",
        arguments,
        @rounds,
        fn ->
          :erlang.garbage_collect()
          [Training.time_of_step(step, parameters, inputs, @steps)]
        end,
        &Rounds.median/1
      )

    Table.header("us, median of #{@rounds} rounds", "Mlx")
    Table.print(["#{@model}: compiled step"], [us], [py])
    IO.puts("neighbour ratio: #{Table.format(us / py)}")
  end
end

Bench.Neighbour.run()
