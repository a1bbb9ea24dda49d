# elixir -pa EBIN stress/run.exs PART [OPTIONS]: one part, in a virtual machine of its own. See bin/stress.
core = ~w(latencies graphs chains crowd saves kernels functions memory)
soak = ~w(latencies crowd soak/log soak/figures soak/health soak/killer soak/clients soak)
of_core = [seconds: 120, processes: 48]

# What runs a part, the files that it needs, also of the tests, and its options.
parts = %{
  "saves" => {Mlx.Stress.Saves, core, [], of_core},
  "kernels" => {Mlx.Stress.Kernels, core, [], of_core},
  "functions" => {Mlx.Stress.Functions, core, [], of_core},
  "memory" => {Mlx.Stress.Memory, core, [], of_core},
  "soak" => {Mlx.Stress.Soak, soak, ~w(tiny_llama http_client), [seconds: 600, processes: 64]},
  "answers" => {Mlx.Stress.Answers, ~w(answers), ~w(tiny_llama served_models), [count: 200]},
  "schemas" => {Mlx.Stress.Schemas, ~w(schemas), ~w(random_schema grammar_texts), [count: 600]}
}

{given, [part], []} =
  OptionParser.parse(System.argv(),
    strict: [seconds: :integer, minutes: :integer, processes: :integer, count: :integer, model: :string]
  )

{module, files, of_tests, defaults} = Map.fetch!(parts, part)
for file <- of_tests, do: Code.require_file("../test/support/#{file}.ex", __DIR__)
for file <- ["report" | files], do: Code.require_file("#{file}.exs", __DIR__)
given = if given[:minutes], do: [seconds: 60 * given[:minutes]] ++ Keyword.delete(given, :minutes), else: given
options = Keyword.merge(defaults, given)
{:ok, _applications} = Application.ensure_all_started(:mlx)
device = Mlx.Device.default()
info = Mlx.Device.info(device)
told = Enum.map_join(options, ", ", fn {name, value} -> "#{value} #{name}" end)
IO.puts("#{part}: #{told}, on #{info["device_name"] || device}, #{System.schedulers_online()} schedulers")
outcomes = module.run(Map.new(options))
System.halt(if Enum.any?(outcomes, &(&1 == :fail)), do: 1, else: 0)
