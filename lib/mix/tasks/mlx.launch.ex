defmodule Mix.Tasks.Mlx.Launch do
  @shortdoc "Starts a program in several virtual machines that exchange arrays"

  @moduledoc """
  Starts a program in several virtual machines that exchange arrays, see `Mlx.Distributed`.

      mix mlx.launch -n 2 program.exs
      mix mlx.launch -n 4 program.exs --epochs 3
      mix mlx.launch --hosts 10.0.0.1,10.0.0.2 program.exs
      mix mlx.launch -n 2 mix mlx.lora --model SmolLM2 --data data

  Each runs `mix run` with the program and whatever follows it, or the task of Mix that follows `mix`, and is one process of
  the ring that `Mlx.Distributed.init/1` gives it. Each line of its output, and of its errors, comes with the rank in front:

      [0] epoch 1: loss 0.31
      [1] epoch 1: loss 0.31

    * `-n` - how many virtual machines to start on this machine
    * `--hosts` - addresses, separated by commas: one virtual machine is started on each by `ssh`, in a folder of the same
      name as this one, where the project and its compiled form have to be. With `-n` it is so many on each
    * `--starting-port` - with `--hosts`: the first of the ports that the virtual machines listen on, default 32323. On
      this machine they are free ones
    * `--verbose` - tell of the connections
    * `--help`, `-h` - list the options

  When one of them fails, it is named, the others have 5 seconds to end by themselves, and the exit status is that of the
  one that failed. When this command ends, all of them do.

  Python: `mlx.launch`.
  """

  use Mix.Task

  alias Mix.Mlx.{Ranks, Switches}
  alias Mlx.Distributed.Ports

  @head "mix mlx.launch -n N | --hosts HOST,HOST [OPTIONS] PROGRAM | mix TASK [ARGUMENT ...]"

  @rows [
    n: {:integer, "N", "how many virtual machines to start, with --hosts on each of them"},
    hosts: {:string, "HOST,HOST", "the addresses of machines that are reached by ssh; by default this machine"},
    starting_port: {:integer, "PORT", "with --hosts: the first port that is listened on, default 32323"},
    verbose: {:boolean, nil, "tell of the connections"}
  ]

  @requirements ["compile"]
  @here "127.0.0.1"

  # How long other ranks have to end by themselves, and to say what they have seen.
  @patience 5_000

  @impl true
  def run(arguments) do
    # What follows the program is for the program.
    with {options, program} <- Switches.parse(arguments, @head, @rows, :front) do
      if problem = problem(options, program), do: Switches.refuse(problem, @head)

      launch(
        options,
        if(task?(program), do: program, else: ["mix", "run", "--no-compile", "--no-deps-check" | program])
      )
    end
  end

  # In place of a program, for which a file stands.
  defp task?(["mix", _task | _arguments]), do: not File.regular?("mix")
  defp task?(_program), do: false

  defp launch(options, program) do
    places = places(options)
    file = Path.join(System.tmp_dir!(), "mlx-launch-#{System.pid()}.json")
    hosts = JSON.encode!(for {host, port} <- places, do: ["#{host}:#{port}"])
    File.write!(file, hosts)

    try do
      places
      |> Enum.with_index(fn {host, _port}, rank ->
        env = env(length(places), rank, options)
        if options[:hosts], do: remote(host, hosts, env, program), else: {program, [{"MLX_HOSTFILE", file} | env]}
      end)
      |> Ranks.run(fn rank, line -> IO.puts("[#{rank}] #{line}") end, @patience)
      |> finish()
    after
      File.rm(file)
    end
  end

  defp problem(options, program) do
    [hosts, n, port] = for name <- [:hosts, :n, :starting_port], do: options[name]

    cond do
      program == [] ->
        "there is no program"

      not task?(program) and not File.regular?(hd(program)) ->
        "#{hd(program)}: no such file"

      n == nil and hosts == nil ->
        "expected -n, or --hosts"

      n != nil and n < 1 ->
        "expected -n to be at least 1, got: #{n}"

      hosts != nil and addresses(hosts) == [] ->
        "expected --hosts to be addresses, separated by commas, got: #{inspect(hosts)}"

      port != nil and hosts == nil ->
        "expected --starting-port with --hosts: on this machine ports are free ones"

      port != nil and port not in 1..65_535 ->
        "expected --starting-port to be a port from 1 to 65535, got: #{port}"

      true ->
        nil
    end
  end

  defp addresses(hosts), do: String.split(hosts, ",", trim: true)

  # The host and the port of each rank.
  defp places(options) do
    case options[:hosts] do
      nil -> for port <- Ports.free(options[:n], "mix mlx.launch"), do: {@here, port}
      hosts -> hosts |> addresses() |> on_hosts(options[:n] || 1, options[:starting_port] || 32_323)
    end
  end

  defp on_hosts(hosts, count, starting_port) do
    for host <- hosts, number <- 0..(count - 1), do: {host, starting_port + number}
  end

  # All was compiled, so that nobody has to wait for the folder of what is compiled. One process needs no ring.
  defp env(size, rank, options) do
    [{"MIX_OS_CONCURRENCY_LOCK", "0"}] ++
      if(size > 1, do: [{"MLX_RANK", to_string(rank)}], else: []) ++
      if(options[:verbose], do: [{"MLX_RING_VERBOSE", "1"}], else: [])
  end

  # The ring's file is written there. Without a terminal the program would outlive the connection.
  defp remote(host, hosts, env, program) do
    variables = for {name, value} <- env, do: "#{name}=#{value}"

    script = """
    cd #{quoted(File.cwd!())} && file=$(mktemp) && printf %s #{quoted(hosts)} >"$file" && \
    MIX_ENV=#{Mix.env()} MLX_HOSTFILE="$file" #{Enum.join(variables, " ")} #{Enum.map_join(program, " ", &quoted/1)}
    status=$?; rm -f "$file"; exit $status\
    """

    {["ssh", "-tt", "-o", "BatchMode=yes", host, script], []}
  end

  defp quoted(text), do: "'" <> String.replace(text, "'", ~S('\'')) <> "'"

  defp finish(:ok), do: :ok

  defp finish({:error, {rank, status}}) do
    Mix.shell().error("mix mlx.launch: rank #{rank} ended with status #{status}#{signal(status)}")
    exit({:shutdown, status})
  end

  # As shells tell of signals.
  defp signal(status) when status > 128, do: ", killed by signal #{status - 128}"
  defp signal(_status), do: ""
end
