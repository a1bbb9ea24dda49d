defmodule Mix.Tasks.Mlx.LaunchTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureIO

  alias Mix.Tasks.Mlx.Launch
  alias Mlx.DataParallel

  @moduletag :tmp_dir
  @moduletag timeout: 300_000

  # The output, with its lines by rank, and the exit status.
  defp launch(arguments, options \\ []) do
    {output, status} = System.cmd("mix", ["mlx.launch" | arguments], [stderr_to_stdout: true] ++ options)

    lines =
      for line <- String.split(output, "\n"), [_, rank, text] <- [Regex.run(~r/^\[(\d)\] (.*)/, line)], do: {rank, text}

    {output, Enum.group_by(lines, &elem(&1, 0), &elem(&1, 1)), status}
  end

  defp program(folder, code) do
    path = Path.join(folder, "program.exs")
    File.write!(path, Macro.to_string(code))
    path
  end

  test "trains data-parallel to the weights of one virtual machine", %{tmp_dir: folder} do
    program =
      program(
        folder,
        quote do
          group = Mlx.Distributed.init()
          IO.puts("#{inspect(group)} #{inspect(System.argv())}")
          group |> Mlx.DataParallel.train() |> Mlx.DataParallel.print(group)
        end
      )

    whole = DataParallel.train(Mlx.Distributed.init())

    for size <- [2, 4] do
      {output, lines, status} = launch(["-n", "#{size}", program, "--epochs", "3"])
      assert {output, status} == {output, 0}
      assert Enum.sort(Map.keys(lines)) == for(rank <- 0..(size - 1), do: "#{rank}")

      for {rank, [first | _]} <- lines do
        assert first == "#Mlx.Distributed.Group<rank #{rank} of #{size}> [\"--epochs\", \"3\"]"
      end

      numbers = DataParallel.parse(output)
      assert length(numbers) == length(whole)
      for {a, b} <- Enum.zip(numbers, whole), do: assert_in_delta(a, b, 1.0e-5)
    end
  end

  test "a rank that is killed gives the others an error, and names it", %{tmp_dir: folder} do
    program =
      program(
        folder,
        quote do
          group = Mlx.Distributed.init()
          Mlx.Distributed.all_sum(1)
          if group.rank == 1, do: System.cmd("kill", ["-KILL", System.pid()])
          Enum.each(1..1_000_000, fn _ -> Mlx.Distributed.all_sum(1) end)
        end
      )

    {output, lines, status} = launch(["-n", "2", program])
    assert {output, status} == {output, 137}
    assert output =~ "mix mlx.launch: rank 1 ended with status 137, killed by signal 9"
    assert Enum.any?(lines["0"], &(&1 =~ "Mlx.Distributed.all_sum: [ring] connection to a peer was lost"))
  end

  test "others that do not end by themselves are killed, and all of them with the command", %{tmp_dir: folder} do
    program =
      program(
        folder,
        quote do
          File.write!(Path.join(unquote(folder), "pid#{System.get_env("MLX_RANK")}"), System.pid())
          if System.argv() == ["fail"] and System.get_env("MLX_RANK") == "0", do: System.halt(3)
          Process.sleep(:infinity)
        end
      )

    {output, _lines, status} = launch(["-n", "2", program, "fail"])
    assert {output, status} == {output, 3}
    assert output =~ "mix mlx.launch: rank 0 ended with status 3"
    assert ends?(Path.join(folder, "pid1"))

    for rank <- 0..1, do: File.rm(Path.join(folder, "pid#{rank}"))
    port = Port.open({:spawn_executable, System.find_executable("mix")}, args: ["mlx.launch", "-n", "2", program])
    for rank <- 0..1, do: wait_until(fn -> File.exists?(Path.join(folder, "pid#{rank}")) end)
    {:os_pid, pid} = Port.info(port, :os_pid)
    System.cmd("kill", ["-KILL", "#{pid}"])
    for rank <- 0..1, do: assert(ends?(Path.join(folder, "pid#{rank}")))
  end

  test "starts them on other hosts by ssh", %{tmp_dir: folder} do
    # Runs what it is given on this machine.
    ssh = Path.join(folder, "ssh")
    File.write!(ssh, "#!/bin/sh\n[ \"$4\" = 127.0.0.1 ] && exec sh -c \"$5\"\n")
    File.chmod!(ssh, 0o755)
    program = program(folder, quote(do: IO.puts(Mlx.to_number(Mlx.Distributed.all_sum(1)))))
    [port] = Mlx.Distributed.Ports.free(1, "test")
    arguments = ["--hosts", "127.0.0.1", "-n", "2", "--starting-port", "#{port}", program]
    {output, lines, status} = launch(arguments, env: [{"PATH", "#{folder}:#{System.get_env("PATH")}"}])
    assert {output, status} == {output, 0}
    assert lines == %{"0" => ["2"], "1" => ["2"]}
  end

  for {name, arguments, problem} <- [
        {"no program", ["-n", "2"], "there is no program"},
        {"a program that is not there", ["-n", "2", "nowhere.exs"], "nowhere.exs: no such file"},
        {"no number", ["mix.exs"], "expected -n, or --hosts"},
        {"a number that is none", ["-n", "two", "mix.exs"], "-n does not take the value \"two\""},
        {"no virtual machine", ["-n", "0", "mix.exs"], "expected -n to be at least 1, got: 0"},
        {"no addresses", ["--hosts", ",", "mix.exs"], "expected --hosts to be addresses"},
        {"a port without hosts", ["-n", "2", "--starting-port", "1", "mix.exs"],
         "expected --starting-port with --hosts"},
        {"a port that is none", ["--hosts", "a", "--starting-port", "99999", "mix.exs"], "from 1 to 65535, got: 99999"},
        {"a missing value", ["mix.exs", "-n"], "expected -n, or --hosts"},
        {"a missing number", ["-n"], "unknown option or missing value: -n"},
        {"an unknown option", ["--nodes", "2", "mix.exs"], "unknown option or missing value: --nodes"}
      ] do
    test "refuses #{name}" do
      said =
        capture_io(:stderr, fn -> assert catch_exit(Launch.run(unquote(arguments))) == {:shutdown, 1} end)

      assert said =~ unquote(problem)
      assert said =~ "Usage: mix mlx.launch -n N"
    end
  end

  test "lists its options" do
    help = capture_io(fn -> Launch.run(["--help"]) end)
    assert help =~ "Usage: mix mlx.launch -n N"
    assert help =~ ~r/^  -n N +how many virtual machines/m
    assert help =~ ~r/^  --starting-port PORT +with --hosts/m
  end

  defp ends?(file) do
    pid = File.read!(file)
    wait_until(fn -> not alive?(pid) end)
  end

  # One that has ended may still be waited for.
  defp alive?(pid) do
    case System.cmd("ps", ["-o", "stat=", "-p", pid]) do
      {"Z" <> _, _status} -> false
      {output, _status} -> String.trim(output) != ""
    end
  end

  defp wait_until(fun) do
    Enum.find_value(1..200, fn _ -> fun.() || (Process.sleep(100) && nil) end)
  end
end
