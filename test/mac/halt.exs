# A virtual machine that ends while 8 of its processes evaluate: at once, with its own status, and without a word.
Code.require_file("scenario.exs", __DIR__)
Code.ensure_loaded?(Mlx.ChildVM) || Code.require_file("../support/child_vm.ex", __DIR__)
alias Mac.Scenario

Scenario.run("halt", fn ->
  times =
    for {name, stop, limit} <- [{:halt, quote(do: System.halt(5)), 3_000}, {:stop, quote(do: System.stop(5)), 10_000}],
        _ <- 1..3 do
      code =
        quote do
          busy = fn busy ->
            x = Mlx.Random.normal({512, 512}, key: Mlx.Random.key(1))
            Enum.reduce(1..50, x, fn _, y -> Mlx.tanh(Mlx.matmul(x, y)) end) |> Mlx.eval()
            Mlx.async_eval(Mlx.matmul(x, x))
            busy.(busy)
          end

          for _ <- 1..8, do: spawn(fn -> busy.(busy) end)
          Process.sleep(1_000)
          IO.puts(System.os_time(:millisecond))
          unquote(stop)
          Process.sleep(:infinity)
        end

      outcome = Mlx.ChildVM.run(code, timeout: 30_000)
      ended = System.os_time(:millisecond)

      with {:exit, 5, output} <- outcome, {asked, "\n"} <- Integer.parse(output) do
        Scenario.demand(ended - asked < limit, "#{name}: the end took #{ended - asked} ms")
        ended - asked
      else
        _other -> raise "#{name}: #{inspect(outcome)}"
      end
    end

  "ends took #{Enum.join(times, ", ")} ms on #{Scenario.device()}"
end)
