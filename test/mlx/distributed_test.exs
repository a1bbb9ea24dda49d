defmodule Mlx.DistributedTest do
  use ExUnit.Case, async: true

  alias Mlx.{ChildVM, Distributed}

  doctest Mlx.Distributed, import: false

  @moduletag timeout: 300_000
  @moduletag :tmp_dir

  # Virtual machines on this one machine, joined to a ring: `code` runs in each, with `rank` and `group`. Returns what
  # each printed, or how it ended when that was not with status 0.
  defp in_ring(size, folder, code) do
    hosts = for port <- free_ports(size), do: ~s(["127.0.0.1:#{port}"])
    file = Path.join(folder, "hosts.json")
    File.write!(file, "[#{Enum.join(hosts, ", ")}]")

    code =
      quote do
        var!(group) = Distributed.init(backend: :ring, strict: true, timeout: 60_000)
        _ = var!(group)
        unquote(code)
      end
      |> Macro.prewalk(fn
        {:__aliases__, meta, [:Distributed | rest]} -> {:__aliases__, meta, [:Mlx, :Distributed | rest]}
        other -> other
      end)

    0..(size - 1)
    |> Enum.map(fn rank ->
      env = [{"MLX_HOSTFILE", file}, {"MLX_RANK", to_string(rank)}]
      Task.async(fn -> ChildVM.run(code, env: env, timeout: 120_000) end)
    end)
    |> Task.await_many(150_000)
    |> Enum.map(fn
      {:exit, 0, output} -> without_log(output)
      ended -> ended
    end)
  end

  # MLX itself tells about connections on the standard error.
  defp without_log(output),
    do: output |> String.split("\n") |> Enum.reject(&String.starts_with?(&1, "[ring]")) |> Enum.join("\n")

  # Below those that systems give to connections, so that none of these takes one meanwhile.
  defp free_ports(count) do
    fn -> Enum.random(20_000..31_999) end
    |> Stream.repeatedly()
    |> Stream.uniq()
    |> Stream.filter(&free?/1)
    |> Enum.take(count)
  end

  defp free?(port) do
    with {:ok, socket} <- :gen_tcp.listen(port, []), do: :gen_tcp.close(socket) == :ok, else: (_ -> false)
  end

  describe "a ring of several virtual machines" do
    test "combines, gathers, sends and receives", %{tmp_dir: folder} do
      code =
        quote do
          %{rank: rank, size: size} = group
          show = &IO.puts(inspect(Mlx.to_list(&1), charlists: :as_lists))
          x = Mlx.add(Mlx.array([[1, 2], [3, 4], [5, 6]]), Mlx.multiply(rank, 10))

          show.(Distributed.all_sum(x))
          show.(Distributed.all_max(x, group: group))
          show.(Distributed.all_min(Mlx.transpose(x), group: group))
          show.(Distributed.all_gather(Mlx.as_type(rank, :bf16), group: group))
          show.(Distributed.all_gather(Mlx.reverse(x), group: group))
          show.(Distributed.all_sum(Mlx.array([rank > 0]), group: group))
          IO.inspect(Distributed.all_sum(Mlx.zeros({0, 3}), group: group).shape)

          # Large enough for several pieces in both directions.
          large = Mlx.multiply(Mlx.ones({300, 1_000, 3}), rank + 1)
          IO.puts(Mlx.to_number(Mlx.all(Mlx.equal(Distributed.all_sum(large, group: group), 6))))

          # Round the ring.
          next = rem(rank + 1, size)
          previous = rem(rank + size - 1, size)
          token = Mlx.array([7.5, 1.0])

          if rank == 0 do
            Distributed.send(token, next, group: group)
            show.(Distributed.recv_like(token, previous, group: group))
          else
            token = Distributed.recv({2}, :f32, previous, group: group)
            Distributed.send(Mlx.add(token, 1), next, group: group)
            show.(token)
          end
        end

      outputs = in_ring(3, folder, code)

      for {output, rank} <- Enum.with_index(outputs) do
        assert is_binary(output), inspect(output)

        assert String.split(output, "\n", trim: true) == [
                 "[[33, 36], [39, 42], [45, 48]]",
                 "[[21, 22], [23, 24], [25, 26]]",
                 "[[1, 3, 5], [2, 4, 6]]",
                 "[0.0, 1.0, 2.0]",
                 "[[6, 5], [4, 3], [2, 1], [16, 15], [14, 13], [12, 11], [26, 25], [24, 23], [22, 21]]",
                 "[true]",
                 "{0, 3}",
                 "true",
                 inspect(Enum.at([[9.5, 3.0], [7.5, 1.0], [8.5, 2.0]], rank))
               ]
      end
    end

    test "takes turns when several processes of a virtual machine use it", %{tmp_dir: folder} do
      code =
        quote do
          sums =
            1..40
            |> Task.async_stream(fn _ -> Mlx.to_number(Distributed.all_sum(group.rank + 1, group: group)) end,
              max_concurrency: 40,
              timeout: 60_000
            )
            |> Enum.map(&elem(&1, 1))

          IO.puts(inspect(Enum.uniq(sums)))
        end

      assert in_ring(2, folder, code) == ["[3]\n", "[3]\n"]
    end

    test "refuses what it cannot do, and goes on", %{tmp_dir: folder} do
      code =
        quote do
          for call <- [
                fn -> Distributed.sum_scatter(Mlx.ones({4})) end,
                fn -> Distributed.sum_scatter(Mlx.ones({3})) end,
                fn -> Distributed.split(group, 0) end,
                fn -> Distributed.send(Mlx.ones({2}), 2) end,
                fn -> Distributed.send(Mlx.ones({2}), -1) end,
                fn -> Distributed.recv({2}, :f32, group.rank) end,
                fn -> Distributed.recv({-2}, :f32, 1 - group.rank) end,
                fn -> Distributed.recv({1_000_000, 1_000_000}, :f32, 1 - group.rank) end,
                fn -> Distributed.all_gather(Mlx.broadcast(1, {2_000_000_000})) end
              ] do
            try do
              call.()
              IO.puts("no error")
            rescue
              error -> IO.puts(Exception.message(error))
            end
          end

          IO.puts(Mlx.to_number(Distributed.all_sum(1)))
        end

      for output <- in_ring(2, folder, code) do
        assert is_binary(output), inspect(output)
        lines = String.split(output, "\n", trim: true)
        assert length(lines) == 10, output
        assert List.last(lines) == "2"
        for line <- Enum.drop(lines, -1), do: assert(line =~ ~r/^Mlx\.Distributed\.\w+: ./)
      end
    end

    test "survives the end of another process", %{tmp_dir: folder} do
      code =
        quote do
          if group.rank == 1 do
            Distributed.all_sum(1, group: group)
            System.halt(0)
          end

          IO.puts(Mlx.to_number(Distributed.all_sum(1, group: group)))

          for _ <- 1..3 do
            try do
              Distributed.all_sum(Mlx.ones({1_000}), group: group)
              IO.puts("no error")
            rescue
              error in Mlx.Error -> IO.puts(Exception.message(error))
            end
          end

          # Everything else goes on, and the end is not held up.
          IO.puts(Mlx.to_number(Mlx.sum(Mlx.ones({10}))))
          System.halt(0)
        end

      assert [output, _] = in_ring(2, folder, code)
      assert is_binary(output), inspect(output)
      assert ["2", first, second, third, "10.0"] = String.split(output, "\n", trim: true)
      assert first == "Mlx.Distributed.all_sum: [ring] connection to a peer was lost"
      assert second =~ "Mlx.Distributed.all_sum: the connection to another process was lost before"
      assert third == second
    end

    test "waits no longer than it is told, keeps nothing else waiting, and does not hold up the end", %{tmp_dir: folder} do
      done = Path.join(folder, "done")

      code =
        quote do
          if group.rank == 1 do
            # Alive and silent for longer than the other one lives.
            Enum.find(Stream.repeatedly(fn -> Process.sleep(100) && File.exists?(unquote(done)) end), & &1)
            Process.sleep(1_000)
            System.halt(0)
          end

          try do
            Distributed.recv({4}, :f32, 1, group: group, timeout: 300)
          rescue
            error in Mlx.Error -> IO.puts(Exception.message(error))
          end

          # A process that is killed while it waits does not keep its scheduler.
          waiting = for _ <- 1..3, do: spawn(fn -> Distributed.all_sum(1, group: group) end)
          Process.sleep(200)
          Enum.each(waiting, &Process.exit(&1, :kill))

          # More than MLX queues without waiting.
          IO.puts(Mlx.to_number(Enum.reduce(1..1_000, Mlx.array(0), fn _, sum -> Mlx.add(sum, 1) end)))
          spawn(fn -> Distributed.all_sum(1, group: group) end)
          Process.sleep(100)
          File.touch!(unquote(done))
          System.halt(0)
        end

      assert [output, _] = in_ring(2, folder, code)
      assert is_binary(output), inspect(output)

      assert String.split(output, "\n", trim: true) == [
               "Mlx.Distributed.recv: the other processes did not answer in time",
               "1000"
             ]
    end
  end

  describe "an environment that MLX does not check" do
    for {name, hosts, rank, message} <- [
          {"no hosts", "[]", "0", "has 0"},
          {"null", "null", "0", "has 0"},
          {"one host", ~s([["127.0.0.1:1"]]), "0", "has 1"},
          {"a rank too high", ~s([["127.0.0.1:1"], ["a,b]", "127.0.0.1:2"]]), "2", "from 0 to 1"},
          {"a negative rank", ~s([["127.0.0.1:1"], ["127.0.0.1:2"]]), "-1", "from 0 to 1"},
          {"no JSON", "[[}, {", "0", "parse"},
          {"no addresses", "[[1], [2]]", "0", "type"}
        ] do
      test "gives an error: #{name}", %{tmp_dir: folder} do
        file = Path.join(folder, "hosts.json")
        File.write!(file, unquote(hosts))

        code =
          quote do
            try do
              Mlx.Distributed.init()
              IO.puts("no error")
            rescue
              error in Mlx.Error -> IO.puts(Exception.message(error))
            end
          end

        assert {:exit, 0, output} = ChildVM.run(code, env: [{"MLX_HOSTFILE", file}, {"MLX_RANK", unquote(rank)}])
        assert output =~ "Mlx.Distributed.init: "
        assert output =~ unquote(message)
      end
    end

    test "gives an error: no file", %{tmp_dir: folder} do
      code = quote do: Mlx.Distributed.init()
      env = [{"MLX_HOSTFILE", Path.join(folder, "none.json")}, {"MLX_RANK", "0"}]
      assert {:exit, 1, output} = ChildVM.run(code, env: env)
      assert output =~ "cannot read the file that MLX_HOSTFILE names"
    end

    test "other processes that never come do not keep the virtual machine", %{tmp_dir: folder} do
      file = Path.join(folder, "hosts.json")
      [a, b] = free_ports(2)
      File.write!(file, ~s([["127.0.0.1:#{a}"], ["127.0.0.1:#{b}"]]))

      code =
        quote do
          for _ <- 1..2 do
            try do
              Mlx.Distributed.init(timeout: 200)
            rescue
              error in Mlx.Error -> IO.puts(Exception.message(error))
            end
          end

          IO.puts(Mlx.to_number(Mlx.add(1, 2)))
          System.halt(0)
        end

      message = "Mlx.Distributed.init: the other processes did not answer in time\n"
      assert {:exit, 0, output} = ChildVM.run(code, env: [{"MLX_HOSTFILE", file}, {"MLX_RANK", "0"}])
      assert output == message <> message <> "3\n"
    end
  end

  describe "a group of one process" do
    test "gives arrays back" do
      group = Distributed.init(backend: :ring)
      assert {group.rank, group.size} == {0, 1}

      for function <- [:all_sum, :all_max, :all_min, :all_gather, :sum_scatter] do
        assert Mlx.to_list(apply(Distributed, function, [Mlx.array([1, 2, 3]), [group: group]])) == [1, 2, 3]
        native = apply(Mlx.Native, :"distributed_#{function}", [Mlx.add(Mlx.array([1, 2]), 1), group.ref, nil])
        assert Mlx.to_list(native) == [2, 3]
      end
    end

    test "is refused where several were asked for" do
      assert_raise Mlx.Error, ~r/Mlx.Distributed.init: this process was not started as one of several/, fn ->
        Distributed.init(strict: true)
      end
    end
  end

  describe "wrong arguments" do
    test "raise" do
      assert_raise ArgumentError, ~r/Mlx.Distributed.init: expected a backend/, fn ->
        Distributed.init(backend: :carrier_pigeon)
      end

      assert_raise ArgumentError, ~r/Mlx.Distributed.available\?: expected a backend/, fn ->
        Distributed.available?(:pigeon)
      end

      assert_raise ArgumentError, ~r/unknown option :stream, expected one of :group, :timeout/, fn ->
        Distributed.all_sum(1, stream: :cpu)
      end

      assert_raise ArgumentError, ~r/expected :timeout/, fn -> Distributed.all_sum(1, timeout: -1) end
      assert_raise ArgumentError, ~r/expected :group/, fn -> Distributed.all_sum(1, group: 1) end
    end
  end
end
