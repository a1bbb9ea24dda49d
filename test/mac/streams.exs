# Each stream of a GPU is a command queue, of which Metal allows some hundreds: more have to be a clear error, before Metal
# fails, and the streams that there are have to go on. A stream of a CPU is a thread.
Code.require_file("scenario.exs", __DIR__)
alias Mac.Scenario

Scenario.run("streams", fn ->
  device = Mlx.Device.default()
  most = 600
  use_one = fn stream -> Mlx.add(20, 3, stream: stream) |> Mlx.to_number() end

  {streams, error} =
    Enum.reduce_while(1..most, {[], nil}, fn _, {streams, nil} ->
      try do
        stream = Mlx.Stream.new(device)
        Scenario.demand(use_one.(stream) == 23, "a value is wrong on stream #{length(streams) + 1}")
        {:cont, {[stream | streams], nil}}
      rescue
        error in Mlx.Error -> {:halt, {streams, error}}
      end
    end)

  for stream <- streams,
      do: Scenario.demand(use_one.(stream) == 23, "a value is wrong after #{length(streams)} streams")

  Scenario.exact(1)

  if error do
    Scenario.demand(error.message =~ "stream", "the error does not speak of streams: #{error.message}")
    Scenario.demand(not (error.message =~ ~r/command (queue|buffer)/i), "the error is Metal's: #{error.message}")
  end

  Scenario.demand(
    not Mlx.Metal.available?() or error != nil,
    "#{most} streams were made without an error"
  )

  "#{length(streams)} streams on #{Scenario.device()}, and then #{if error, do: error.message, else: "no error"}"
end)
