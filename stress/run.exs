# elixir -pa EBIN stress/run.exs PART [OPTIONS]: one part, in a virtual machine of its own. See bin/stress.
core = ~w(latencies graphs chains crowd saves kernels functions memory)
soak = ~w(latencies crowd soak/log soak/figures soak/health soak/killer soak/clients soak)

# What runs a part, the files that it needs, also of the tests, and how long and with how many processes it runs.
parts = %{
  "saves" => {Mlx.Stress.Saves, core, [], 120, 48},
  "kernels" => {Mlx.Stress.Kernels, core, [], 120, 48},
  "functions" => {Mlx.Stress.Functions, core, [], 120, 48},
  "memory" => {Mlx.Stress.Memory, core, [], 120, 48},
  "soak" => {Mlx.Stress.Soak, soak, ~w(tiny_llama http_client), 600, 64}
}

numbers = [seconds: :integer, minutes: :integer, processes: :integer]
{options, [part], []} = OptionParser.parse(System.argv(), strict: numbers ++ [model: :string])
{module, files, of_tests, seconds, processes} = Map.fetch!(parts, part)
for file <- of_tests, do: Code.require_file("../test/support/#{file}.ex", __DIR__)
for file <- ["report" | files], do: Code.require_file("#{file}.exs", __DIR__)
options = if options[:minutes], do: Keyword.put(options, :seconds, 60 * options[:minutes]), else: options
options = Map.merge(%{seconds: seconds, processes: processes}, Map.new(options))
{:ok, _applications} = Application.ensure_all_started(:mlx)
device = Mlx.Device.default()
info = Mlx.Device.info(device)

IO.puts(
  "#{part}: #{options.seconds} s, #{options.processes} processes, on #{info["device_name"] || device}, " <>
    "#{System.schedulers_online()} schedulers"
)

outcomes = module.run(options)
System.halt(if Enum.any?(outcomes, &(&1 == :fail)), do: 1, else: 0)
