defmodule Mlx.Stress.Saves do
  @moduledoc false
  # Many processes evaluate graphs, save arrays and load them again, while some are killed.

  alias Mlx.Stress.{Crowd, Graphs, Report}

  @kill_every 20
  @formats ~w(npy safetensors gguf)
  # What may stay in use after all: a process that was killed while it evaluated is done with that later.
  @bytes_left 32_000_000
  @descriptors_left 32

  @spec run(%{seconds: pos_integer(), processes: pos_integer()}) :: [Report.outcome()]
  def run(%{seconds: seconds, processes: processes}) do
    folder = Path.join(System.tmp_dir!(), "mlx_stress_#{System.pid()}")
    File.mkdir_p!(folder)
    errors = :ets.new(:errors, [:public])
    wrong = :ets.new(:wrong, [:public])
    counters = :counters.new(3, [])
    # What MLX and the virtual machine load once.
    for format <- @formats, do: save_and_load(format, Path.join(folder, "first"), wrong)
    {active, descriptors} = {Report.settle_memory(0, 5), descriptors()}

    result =
      Crowd.run(processes, seconds * 1000, errors, &step(&1, folder, counters, wrong),
        kill_every: @kill_every,
        progress: fn -> :counters.get(counters, 1) end,
        say: fn -> "#{count(counters)}; #{Report.memory()}" end
      )

    left = Report.settle_memory(active + @bytes_left) - active
    File.rm_rf!(folder)
    Report.figure("#{count(counters)}, #{result.killed} kills; #{Report.memory()}")
    {error_count, error_text} = Report.errors(errors)
    {wrong_count, wrong_text} = Report.errors(wrong)
    {evaluated, saved} = {:counters.get(counters, 1), :counters.get(counters, 2)}

    [
      Report.check("something was done", evaluated > 100 and saved > 30 and result.killed > 10, count(counters)),
      Report.check("wrong values", wrong_count == 0, wrong_text),
      Report.check("errors", error_count == 0, error_text),
      Report.check("processes that never end", result.stuck == 0 and not result.stalled, "#{result.stuck}"),
      Report.check("memory in use at the end", left <= @bytes_left, "#{Report.megabytes(left)} more than at the start"),
      descriptors_check(descriptors, descriptors())
    ]
  end

  defp count(counters) do
    [evaluated, saved, bytes] = for index <- 1..3, do: :counters.get(counters, index)
    "#{evaluated} evaluations, #{saved} saves of #{Report.megabytes(bytes)}"
  end

  defp step(number, folder, counters, wrong) do
    on_some_device(fn ->
      for _ <- 1..Enum.random(1..4) do
        verify("evaluated", Graphs.random(), wrong)
        :counters.add(counters, 1, 1)
      end

      bytes = save_and_load(Enum.random(@formats), Path.join(folder, "#{number}"), wrong)
      :counters.add(counters, 2, 1)
      :counters.add(counters, 3, bytes)
    end)
  end

  # Also on the CPU where there is a GPU.
  defp on_some_device(fun), do: if(:rand.uniform(6) == 1, do: Mlx.with_device(:cpu, fun), else: fun.())

  # Some of what is saved is evaluated before and some is not, and so it is with what is loaded.
  defp save_and_load("npy", path, wrong) do
    path = path <> ".npy"
    {array, values} = maybe_evaluated()
    Mlx.IO.save(path, array)
    finish(path, [{Mlx.IO.load(path), Tuple.to_list(array.shape), values}], wrong)
  end

  defp save_and_load(format, path, wrong) do
    path = path <> "." <> format
    content = for index <- 1..Enum.random(1..4), into: %{}, do: {"array.#{index}", maybe_evaluated()}
    Mlx.IO.save(path, Map.new(content, fn {name, {array, _values}} -> {name, at_least_one_axis(array)} end))
    loaded = Mlx.IO.load(path)
    if Enum.sort(Map.keys(loaded)) != Enum.sort(Map.keys(content)), do: wrong(wrong, "the names in a #{format} file")

    entries =
      for {name, {array, values}} <- content, do: {loaded[name], Tuple.to_list(at_least_one_axis(array).shape), values}

    finish(path, entries, wrong)
  end

  defp finish(path, entries, wrong) do
    for {array, shape, values} <- entries do
      if Tuple.to_list(array.shape) != shape, do: wrong(wrong, "the shape in a #{Path.extname(path)} file")
      verify("loaded from a #{Path.extname(path)} file", {array, values}, wrong)
      # Together with something computed.
      verify("computed of a #{Path.extname(path)} file", {Mlx.add(array, 1), Enum.map(values, &(&1 + 1))}, wrong)
    end

    %{size: size} = File.stat!(path)
    File.rm!(path)
    size
  end

  defp maybe_evaluated do
    {array, values} = Graphs.random()

    case :rand.uniform(3) do
      1 -> {Mlx.eval(array), values}
      2 -> {Mlx.async_eval(array), values}
      3 -> {array, values}
    end
  end

  # GGUF has no arrays without axes.
  defp at_least_one_axis(%{shape: {}} = array), do: Mlx.reshape(array, {1})
  defp at_least_one_axis(array), do: array

  defp verify(what, {array, values}, wrong) do
    if not Graphs.right?(array, values), do: wrong(wrong, "#{what}, shape #{inspect(array.shape)}")
  end

  defp wrong(table, what), do: Report.count_error(table, what)

  defp descriptors_check(nil, _), do: Report.skip("open files at the end", "this system has no /proc")

  defp descriptors_check(before, now) do
    Report.check("open files at the end", now <= before + @descriptors_left, "#{now}, #{before} at the start")
  end

  defp descriptors do
    case File.ls("/proc/#{System.pid()}/fd") do
      {:ok, names} -> length(names)
      {:error, _} -> nil
    end
  end
end
