defmodule Mlx.DistributedTest do
  use ExUnit.Case, async: true

  alias Mlx.{ChildVM, Distributed, Ring}
  alias Mlx.Distributed.Ports

  doctest Mlx.Distributed, import: false

  @moduletag timeout: 300_000
  @moduletag :tmp_dir

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
          show.(Distributed.sum_scatter(x, group: group))
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

      outputs = Ring.run(3, folder, code)

      for {output, rank} <- Enum.with_index(outputs) do
        assert is_binary(output), inspect(output)

        assert String.split(output, "\n", trim: true) == [
                 "[[33, 36], [39, 42], [45, 48]]",
                 "[[21, 22], [23, 24], [25, 26]]",
                 "[[1, 3, 5], [2, 4, 6]]",
                 "[0.0, 1.0, 2.0]",
                 "[[6, 5], [4, 3], [2, 1], [16, 15], [14, 13], [12, 11], [26, 25], [24, 23], [22, 21]]",
                 inspect(Enum.at([[[33, 36]], [[39, 42]], [[45, 48]]], rank), charlists: :as_lists),
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

      assert Ring.run(2, folder, code) == ["[3]\n", "[3]\n"]
    end

    test "refuses what it cannot do, and goes on", %{tmp_dir: folder} do
      code =
        quote do
          for call <- [
                fn -> Distributed.sum_scatter(Mlx.ones({3})) end,
                fn -> Distributed.sum_scatter(Mlx.array(1)) end,
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

      for output <- Ring.run(2, folder, code) do
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

      assert [output, _] = Ring.run(2, folder, code)
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

      assert [output, _] = Ring.run(2, folder, code)
      assert is_binary(output), inspect(output)

      assert String.split(output, "\n", trim: true) == [
               "Mlx.Distributed.recv: the other processes did not answer in time",
               "1000"
             ]
    end
  end

  describe "in gradients and compiled functions" do
    # What each expression gives, in a ring of two in which rank 0 has x = [1, 2] and rank 1 has x = [2, 4].
    @expressions [
      {"the gradient of all_sum",
       quote(do: Mlx.value_and_grad(fn x -> Mlx.sum(Mlx.square(Distributed.all_sum(x))) end).(x)),
       [[[45.0], [6.0, 12.0]], [[45.0], [6.0, 12.0]]]},
      {"the gradient of all_max", quote(do: Mlx.grad(fn x -> Mlx.sum(Mlx.square(Distributed.all_max(x))) end).(x)),
       [[4.0, 8.0], [4.0, 8.0]]},
      {"the gradient of all_gather",
       quote(do: Mlx.grad(fn x -> Mlx.sum(Mlx.multiply(Distributed.all_gather(x), Mlx.arange(4))) end).(x)),
       [[0.0, 1.0], [2.0, 3.0]]},
      {"the gradient of all_gather for a number",
       quote(do: Mlx.grad(fn x -> Mlx.sum(Mlx.square(Distributed.all_gather(x))) end).(x[1])), [[4.0], [8.0]]},
      {"the gradient of sum_scatter",
       quote(do: Mlx.grad(fn x -> Mlx.sum(Mlx.multiply(Distributed.sum_scatter(x), group.rank + 5)) end).(x)),
       [[5.0, 6.0], [5.0, 6.0]]},
      {"the tangent of all_sum",
       quote(do: Mlx.jvp(fn x -> Mlx.square(Distributed.all_sum(x)) end, [x], [Mlx.ones({2})])),
       [[[9.0, 36.0], [12.0, 24.0]], [[9.0, 36.0], [12.0, 24.0]]]},
      {"the product of all_sum and a cotangent",
       quote(do: Mlx.vjp(fn x -> Mlx.square(Distributed.all_sum(x)) end, [x], Mlx.array([1.0, 0.0]))),
       [[[9.0, 36.0], [[6.0, 0.0]]], [[9.0, 36.0], [[6.0, 0.0]]]]},
      {"the summed gradient",
       quote(do: Mlx.grad(fn x -> Mlx.sum(Mlx.multiply(Distributed.Collective.sum_cotangents(x, group), x0)) end).(x)),
       [[3.0, 3.0], [3.0, 3.0]]},
      {"the tangent beside a summed gradient",
       quote(do: Mlx.jvp(&Distributed.Collective.sum_cotangents(&1, group), [x], [x])),
       [[[1.0, 2.0], [1.0, 2.0]], [[2.0, 4.0], [2.0, 4.0]]]},
      {"a gradient with exchanges one after another",
       quote(
         do: Mlx.grad(fn x -> x |> Distributed.all_sum() |> Mlx.sin() |> Distributed.all_sum() |> Mlx.sum() end).(x)
       ), [[-0.98999, 0.96017], [-0.98999, 0.96017]]},
      {"a gradient of a gradient",
       quote(
         do:
           Mlx.grad(fn x ->
             Mlx.sum(Mlx.grad(fn x -> Mlx.sum(Mlx.pow(Distributed.all_sum(x), 3)) end).(x))
           end).(x)
       ), [[18.0, 36.0], [18.0, 36.0]]},
      {"a checkpoint", quote(do: Mlx.grad(Mlx.checkpoint(fn x -> Mlx.sum(Mlx.square(Distributed.all_sum(x))) end)).(x)),
       [[6.0, 12.0], [6.0, 12.0]]},
      {"a compiled function",
       quote do
         compiled = Mlx.compile(fn x -> Mlx.add(Distributed.all_sum(Mlx.multiply(Mlx.add(x, 1), 2)), 1) end)
         [compiled.(x), compiled.(x)]
       end, [[[11.0, 17.0], [11.0, 17.0]], [[11.0, 17.0], [11.0, 17.0]]]},
      {"a compiled gradient",
       quote(do: Mlx.compile(Mlx.grad(fn x -> Mlx.sum(Mlx.square(Distributed.all_sum(x))) end)).(x)),
       [[6.0, 12.0], [6.0, 12.0]]},
      {"a compiled function inside of a gradient",
       quote(do: Mlx.grad(Mlx.compile(fn x -> Mlx.sum(Mlx.square(Distributed.all_sum(x))) end)).(x)),
       [[6.0, 12.0], [6.0, 12.0]]}
    ]

    test "they exchange arrays when these run", %{tmp_dir: folder} do
      shown =
        for {_name, expression, _expected} <- @expressions do
          quote do
            unquote(expression)
            |> Mlx.Tree.map(fn array -> for x <- Mlx.to_list(Mlx.reshape(array, -1)), do: Float.round(x, 5) end)
            |> then(fn result -> if is_tuple(result), do: Tuple.to_list(result), else: result end)
            |> inspect(charlists: :as_lists)
            |> IO.puts()
          end
        end

      code =
        quote do
          x0 = Mlx.array(group.rank + 1.0)
          _ = x0
          x = Mlx.multiply(Mlx.array([1.0, 2.0]), group.rank + 1)
          unquote_splicing(shown)
        end

      for {output, rank} <- Enum.with_index(Ring.run(2, folder, code)) do
        assert is_binary(output), inspect(output)
        results = output |> String.split("\n", trim: true) |> Enum.map(&(&1 |> Code.eval_string() |> elem(0)))
        expected = for {name, _expression, expected} <- @expressions, do: {name, Enum.at(expected, rank)}
        assert Enum.zip(Enum.map(expected, &elem(&1, 0)), results) == expected
      end
    end

    test "they say what cannot be done, and go on", %{tmp_dir: folder} do
      code =
        quote do
          x = Mlx.ones({3})

          for call <- [
                fn -> Mlx.vmap(&Distributed.all_sum/1).(x) end,
                fn -> Mlx.compile(&Distributed.all_sum/1, shapeless: true).(x) end,
                fn -> Mlx.grad(fn x -> Mlx.to_number(Mlx.sum(Distributed.all_sum(x))) end).(x) end,
                fn -> Mlx.grad(fn x -> Mlx.sum(Distributed.sum_scatter(x)) end).(x) end,
                # Only one of the two takes part.
                fn ->
                  if group.rank == 0,
                    do: Mlx.grad(&Mlx.sum(Distributed.all_sum(&1, timeout: 100))).(x),
                    else: raise("not")
                end
              ] do
            try do
              call.()
              IO.puts("no error")
            rescue
              error -> IO.puts(Exception.message(error))
            end
          end

          if group.rank == 1 do
            Process.sleep(1_000)
            Distributed.all_sum(x)
          end

          IO.puts(Mlx.to_number(Distributed.all_sum(1)))
        end

      assert [output, _] = Ring.run(2, folder, code)
      assert is_binary(output), inspect(output)
      assert [mapped, shapeless, read, uncut, late, "2"] = String.split(output, "\n", trim: true)
      assert mapped =~ "Mlx.vmap: a function that exchanges arrays with other processes cannot be mapped over axes"
      assert shapeless =~ "Mlx.compile: with shapeless: true, expected a function that exchanges no arrays"
      assert read =~ "no value to read"
      assert uncut =~ "first axis can be cut into 2 equal parts"
      assert late == "Mlx.grad: all_sum: the other processes did not answer in time"
    end
  end

  describe "nodes of an Erlang cluster" do
    test "are a group, in their order", _context do
      code =
        quote do
          group = Distributed.init(nodes: nodes)
          same = Distributed.init(nodes: nodes)

          IO.puts(
            "#{inspect(group)} #{inspect(same)} #{inspect(Distributed.init())} #{Enum.at(nodes, group.rank) == node()}"
          )

          IO.puts(Mlx.to_number(Distributed.all_sum(group.rank + 1)))

          try do
            Distributed.init(nodes: Enum.reverse(nodes))
          rescue
            error in Mlx.Error -> IO.puts(Exception.message(error))
          end

          # Nobody goes before the others have the sum.
          Distributed.all_sum(1)
          Process.sleep(300)
        end

      for {output, rank} <- Enum.with_index(Ring.run_nodes(3, code)) do
        assert is_binary(output), inspect(output)
        # The nodes end one after the other, which Erlang may warn of.
        lines = output |> String.split("\n", trim: true) |> Enum.reject(&(&1 =~ "[warning]"))
        assert [groups, "6", again] = lines
        group = "#Mlx.Distributed.Group<rank #{rank} of 3>"
        assert groups == "#{group} #{group} #{group} true"
        assert again =~ "Mlx.Distributed.init: this node is in a ring of [:\"mlx_"
      end
    end

    test "are told who is missing, who does not call, and who calls with another list" do
      code =
        quote do
          [first, second, third] = nodes
          Enum.find(Stream.repeatedly(fn -> Process.sleep(20) && Enum.all?(nodes, &Node.connect/1) end), & &1)

          attempt = fn nodes, timeout ->
            try do
              Distributed.init(nodes: nodes, timeout: timeout)
              IO.puts("no error")
            rescue
              error in Mlx.Error -> IO.puts(Exception.message(error))
            end
          end

          if node() == third, do: attempt.([third, second, first], 60_000)

          if node() == first do
            attempt.([first, :"mlx_absent@127.0.0.1"], 500)
            attempt.([first, second], 500)
            attempt.([first, third], 60_000)
          else
            Node.monitor(first, true)
            receive(do: ({:nodedown, ^first} -> :ok))
          end
        end

      assert [output, "", other] = Ring.run_nodes(3, code)
      assert is_binary(output) and is_binary(other), inspect({output, other})
      assert [absent, silent, conflict] = String.split(output, "\n", trim: true)
      assert absent =~ ~r/init: the node :"mlx_absent@127.0.0.1" cannot be reached; start it, with the same cookie$/
      assert silent =~ ~r/init: the node :"mlx_.*_1@127.0.0.1" did not call it with the same list in time$/
      assert conflict =~ ~r/init: the node :"mlx_.*_2@127.0.0.1" called it with another list: \[.*_2@.*_1@.*_0@.*\]$/
      assert other =~ ~r/init: the node :"mlx_.*_0@127.0.0.1" called it with another list: \[.*_0@.*_2@.*\]$/
    end

    test "give up an exchange with one that Erlang cannot reach" do
      code =
        quote do
          group = Distributed.init(nodes: nodes)

          if group.rank == 0 do
            try do
              Mlx.grad(&Mlx.sum(Distributed.all_sum(&1))).(Mlx.ones({3}))
            rescue
              error in Mlx.Error -> IO.puts(Exception.message(error))
            end
          else
            Process.sleep(500)
            Node.disconnect(hd(nodes))
            # It lives on, and says nothing.
            Process.sleep(6_000)
          end

          System.halt(0)
        end

      assert [output, ""] = Ring.run_nodes(2, code)
      assert output =~ ~r/^Mlx.grad: all_sum: the node :"mlx_.*_1@127.0.0.1" has ended, or cannot be reached any more$/
    end

    test "learn within seconds that one of them was killed, whatever they exchange" do
      code =
        quote do
          group = Distributed.init(nodes: nodes)

          # Large enough for MLX to miss the end of the other one.
          large = Mlx.ones({1_000, 1_000})
          IO.puts(Mlx.to_number(Mlx.sum(Distributed.all_sum(large))))
          started = System.monotonic_time(:millisecond)

          if group.rank == 1 do
            Process.sleep(500)
            System.cmd("kill", ["-KILL", System.pid()])
          end

          try do
            Enum.each(1..1_000_000, fn _ -> Distributed.all_sum(large) end)
          rescue
            error in Mlx.Error -> IO.puts(Exception.message(error))
          end

          IO.puts(System.monotonic_time(:millisecond) - started < 10_000)

          try do
            Distributed.all_sum(1)
          rescue
            error in Mlx.Error -> IO.puts(Exception.message(error))
          end

          IO.puts(Mlx.to_number(Mlx.add(1, 2)))
          System.halt(0)
        end

      assert [output, {:exit, 137, _}] = Ring.run_nodes(2, code)
      assert is_binary(output), inspect(output)
      assert ["2.0e6", error, "true", later, "3"] = String.split(output, "\n", trim: true)
      assert error =~ ~r/^Mlx.Distributed.all_sum: (\[ring\] connection to a peer was lost|the node .* has ended)/
      assert later =~ "all processes have to be started again"
    end

    test "train data-parallel to the weights of one virtual machine" do
      whole = Mlx.DataParallel.train(Distributed.init())

      for size <- [2, 4] do
        code =
          quote do
            group = Distributed.init(nodes: nodes)
            group |> Mlx.DataParallel.train() |> Mlx.DataParallel.print(group)
            Distributed.all_sum(1)
            Process.sleep(300)
          end

        assert [output | _] = Ring.run_nodes(size, code)
        assert is_binary(output), inspect(output)
        for {a, b} <- Enum.zip(Mlx.DataParallel.parse(output), whole), do: assert_in_delta(a, b, 1.0e-5)
      end
    end

    for {name, options, message} <- [
          {"one node", [nodes: [:nonode@nohost]], "expected :nodes to be a list of at least 2 nodes"},
          {"no list", [nodes: :a@b], "expected :nodes to be a list of at least 2 nodes"},
          {"other nodes", [nodes: [:a@b, :c@d]], "expected :nodes to hold this node, :nonode@nohost"},
          {"no address", [nodes: [:nonode@nohost, :a@b], address: "localhost"], "expected :address to be an address"},
          {"another backend", [nodes: [:nonode@nohost, :a@b], backend: :mpi], "expected the backend :ring"},
          {"an address without nodes", [address: "10.0.0.1"], "expected :nodes to be a list"}
        ] do
      test "raise for #{name}" do
        assert_raise ArgumentError, ~r/#{Regex.escape("Mlx.Distributed.init: #{unquote(message)}")}/, fn ->
          Distributed.init(unquote(options))
        end
      end
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
      [a, b] = Ports.free(2, "test")
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
