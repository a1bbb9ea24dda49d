# Memory that is not there: the process that asks for it gets the error, while 47 others go on. One array that is too large
# is refused anywhere. On Metal one operation then reads and writes more than the GPU's memory at once, of which up to 60 % of
# the machine's is really used.
Code.require_file("scenario.exs", __DIR__)
alias Mac.Scenario

defmodule Mac.Allocation do
  alias Mac.Scenario

  @row 1_048_576

  def rows(bytes), do: {div(bytes, @row), @row}

  def too_large(bytes) do
    Mlx.eval(Mlx.ones(rows(bytes + 2 * @row), type: :u8))
    raise "an array of #{bytes} bytes could be made"
  rescue
    error in Mlx.Error -> "refused: #{error.message}"
  end

  def all_at_once(bytes) do
    [a, b] = for value <- [1, 2], do: Mlx.eval(Mlx.full(rows(bytes), value, type: :u8))

    try do
      sum = Mlx.eval(Mlx.add(a, b))
      Scenario.demand(Mlx.to_number(Mlx.reduce_min(sum)) == 3, "a sum is wrong where memory was short")
      "3 x #{bytes} bytes: there was room"
    rescue
      error in Mlx.Error -> "3 x #{bytes} bytes: #{error.message}"
    end
  end
end

Scenario.run("allocation", fn ->
  info = Mlx.Device.info()
  limit = Mlx.Memory.array_limit()
  failures = :counters.new(1, [])

  {rounds, said} =
    Scenario.beside(47, &Scenario.exact_or_failed(&1, failures), fn ->
      Process.sleep(1_000)
      one = Mac.Allocation.too_large(limit)
      Process.sleep(1_000)

      if Mlx.Metal.available?() do
        buffer = info["max_buffer_length"]
        of_metal = if buffer < limit, do: Mac.Allocation.too_large(buffer), else: "a buffer may be larger than an array"
        room = trunc(0.4 * info["max_recommended_working_set_size"])
        [one, of_metal, Mac.Allocation.all_at_once(Enum.min([room, buffer, limit]))]
      else
        [one]
      end
    end)

  Scenario.exact(1)
  Enum.each(said, &IO.puts/1)
  shared = :counters.get(failures, 1)

  "the asker was told, #{rounds} evaluations of 47 others were right, #{shared} shared a command buffer that failed, " <>
    "on #{Scenario.device()}"
end)
