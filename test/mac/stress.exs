# 64 processes that evaluate, save and load, while others are killed at random. What is saved is evaluated by the process
# that saves it, beside the evaluations of the others: every value that comes back has to be the right one.
Code.require_file("scenario.exs", __DIR__)
alias Mac.Scenario

defmodule Mac.Stress do
  alias Mac.Scenario

  @modulus 1009
  @size 4_096

  def work(folder, counters, parent) do
    seed = :rand.uniform(1_000)
    {lazy, expected} = computation(seed)
    path = Path.join(folder, "#{:erlang.unique_integer([:positive])}")

    case :rand.uniform(5) do
      1 -> check(lazy, expected, counters, parent, 1)
      2 -> saved(path <> ".npy", lazy, & &1, expected, counters, parent)
      3 -> saved(path <> ".safetensors", %{"x" => lazy}, & &1["x"], expected, counters, parent)
      4 -> saved(path <> ".gguf", %{"x" => lazy}, & &1["x"], expected, counters, parent)
      5 -> Mlx.async_eval(lazy)
    end

    work(folder, counters, parent)
  end

  # Integers that f32 holds exactly, of a reversed array, so that a file needs a copy in the order of rows.
  defp computation(seed) do
    x = Mlx.arange(@size, type: :f32)
    lazy = x |> Mlx.multiply(3) |> Mlx.add(seed) |> Mlx.remainder(@modulus) |> Mlx.reverse()
    {lazy, fn -> for(i <- (@size - 1)..0//-1, do: rem(3 * i + seed, @modulus) * 1.0) end}
  end

  defp saved(path, arrays, array, expected, counters, parent) do
    Mlx.IO.save(path, arrays)
    check(array.(Mlx.IO.load(path)), expected, counters, parent, 2)
    File.rm(path)
  end

  defp check(array, expected, counters, parent, counter) do
    if Mlx.to_list(array) == expected.(), do: :counters.add(counters, counter, 1), else: send(parent, {:wrong, self()})
  end

  def kill(workers, start, deadline, killed) do
    if System.monotonic_time(:millisecond) > deadline do
      Enum.each(workers, &Process.exit(&1, :kill))
      killed
    else
      Process.sleep(20)
      {victims, survivors} = workers |> Enum.shuffle() |> Enum.split(2)
      for pid <- survivors, do: Scenario.demand(Process.alive?(pid), "a process ended that nobody killed")
      Enum.each(victims, &Process.exit(&1, :kill))
      kill(Enum.map(victims, fn _ -> start.() end) ++ survivors, start, deadline, killed + 2)
    end
  end
end

Scenario.run("stress", fn ->
  seconds = "SECONDS_OF_STRESS" |> System.get_env("120") |> String.to_integer()
  folder = Path.join(System.tmp_dir!(), "mlx_stress_#{System.pid()}")
  File.mkdir_p!(folder)
  counters = :counters.new(2, [])
  parent = self()
  start = fn -> spawn(fn -> Mac.Stress.work(folder, counters, parent) end) end
  workers = for _ <- 1..64, do: start.()
  killed = Mac.Stress.kill(workers, start, System.monotonic_time(:millisecond) + seconds * 1_000, 0)
  # What was running when its process was killed.
  Mlx.Stream.synchronize()
  File.rm_rf(folder)

  receive do
    {:wrong, pid} -> raise "a value of #{inspect(pid)} is wrong"
  after
    0 -> :ok
  end

  [read, saved] = for counter <- 1..2, do: :counters.get(counters, counter)
  Scenario.demand(read > 0 and saved > 0, "#{read} values were read and #{saved} saved")
  "#{read} values read, #{saved} saved and loaded, #{killed} processes killed in #{seconds} s, on #{Scenario.device()}"
end)
