# Gradients of 2 x 4,000 operations: MLX walks them recursively, on a stack that has to be large enough. A stack that is too
# small ends the process.
Code.require_file("scenario.exs", __DIR__)
alias Mac.Scenario

Scenario.run("deep", fn ->
  rounds = 4_000
  factor = 1.0001

  chain = fn x ->
    Enum.reduce(1..rounds, x, fn _, y -> y |> Mlx.multiply(factor) |> Mlx.add(0.0001) end) |> Mlx.sum()
  end

  expected = factor ** rounds
  x = Mlx.array([1.0, 2.0])

  times =
    for {what, gradient} <- [
          grad: Mlx.grad(chain),
          "vmap of grad": Mlx.vmap(Mlx.grad(chain)),
          compile: Mlx.compile(Mlx.grad(chain))
        ] do
      {milliseconds, values} = Scenario.time(fn -> x |> gradient.() |> Mlx.to_list() end)

      for value <- values do
        Scenario.demand(abs(value / expected - 1) < 1.0e-3, "#{what}: #{value} and not #{expected}")
      end

      "#{what} #{milliseconds} ms"
    end

  Enum.join(times, ", ") <> " on #{Scenario.device()}"
end)
