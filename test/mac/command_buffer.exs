# A command buffer that fails on Metal, because a kernel runs longer than the system lets it: some seconds. The process that
# asked gets the message, others get right values, or the message where theirs were in the same command buffer or behind
# it, and later evaluations are right.
Code.require_file("scenario.exs", __DIR__)
alias Mac.Scenario

Scenario.run("command_buffer", fn ->
  if Mlx.Metal.available?() do
    # A chain of dependent operations that no compiler shortens: about a minute at most.
    body = """
    float value = x[0];
    for (uint round = 0; round < 8; round++) {
      for (uint step = 0; step < 2000000000u; step++) value = metal::fma(value, 1.0000001f, 0.5f);
    }
    y[0] = value;
    """

    kernel = Mlx.Unsafe.metal_kernel("too_long", ["x"], ["y"], body)
    failures = :counters.new(1, [])

    endless = fn ->
      try do
        [y] = Mlx.Unsafe.run(kernel, [Mlx.array([1.0])], outputs: [{{1}, :f32}], grid: {1, 1, 1})
        Mlx.eval(y)
        {:skipped, "the system let a kernel run to its end"}
      rescue
        error in Mlx.Error -> error.message
      end
    end

    {rounds, {milliseconds, said}} =
      Scenario.beside(15, &Scenario.exact_or_failed(&1, failures), fn -> Scenario.time(endless) end)

    for number <- 1..20, do: Scenario.exact(number)

    with message when is_binary(message) <- said do
      Scenario.demand(message =~ ~r/command buffer/i, "another error: #{message}")

      "#{message} after #{milliseconds} ms, beside #{rounds} evaluations of others, of which " <>
        "#{:counters.get(failures, 1)} failed with it, on #{Scenario.device()}"
    end
  else
    {:skipped, "MLX was built without Metal"}
  end
end)
