# New versions of the NIF, loaded while 8 processes evaluate: arrays and streams go on, and old versions can be purged.
Code.require_file("scenario.exs", __DIR__)
alias Mac.Scenario

Scenario.run("upgrade", fn ->
  stream = Mlx.Stream.new(Mlx.Device.default())
  kept = Mlx.eval(Mlx.array([1, 2, 3]))
  lazy = Mlx.add(kept, 1, stream: stream)
  versions = 10

  # Not while a process is inside of it.
  purge = fn purge ->
    Process.sleep(20)
    :code.soft_purge(Mlx.Native) || purge.(purge)
  end

  {rounds, :ok} =
    Scenario.beside(8, &Scenario.exact/1, fn ->
      for _ <- 1..versions do
        {:module, Mlx.Native} = :code.load_file(Mlx.Native)
        purge.(purge)
        total = kept |> Mlx.add(lazy, stream: stream) |> Mlx.sum() |> Mlx.to_number()
        Scenario.demand(total == 15, "a sum is #{total} and not 15")
      end

      :ok
    end)

  "#{versions} versions beside #{rounds} evaluations on #{Scenario.device()}"
end)
