# elixir -pa EBIN stress/run.exs PART [--seconds N] [--processes N]: one part, in a virtual machine of its own. See bin/stress.
for file <- ~w(report latencies graphs chains crowd saves kernels functions memory),
    do: Code.require_file("#{file}.exs", __DIR__)

{:ok, _applications} = Application.ensure_all_started(:mlx)

parts = %{
  "saves" => Mlx.Stress.Saves,
  "kernels" => Mlx.Stress.Kernels,
  "functions" => Mlx.Stress.Functions,
  "memory" => Mlx.Stress.Memory
}

{options, [part], []} = OptionParser.parse(System.argv(), strict: [seconds: :integer, processes: :integer])
options = Map.merge(%{seconds: 120, processes: 48}, Map.new(options))
device = Mlx.Device.default()
info = Mlx.Device.info(device)

IO.puts(
  "#{part}: #{options.seconds} s, #{options.processes} processes, on #{info["device_name"] || device}, " <>
    "#{System.schedulers_online()} schedulers"
)

outcomes = Map.fetch!(parts, part).run(options)
System.halt(if Enum.any?(outcomes, &(&1 == :fail)), do: 1, else: 0)
