defmodule Mlx.LM.Tokenizer.TableTest do
  # The memory is that of the whole virtual machine.
  use ExUnit.Case, async: false

  alias Mlx.ChildVM
  alias Mlx.LM.Tokenizer.Table

  test "has the values of a map, of every kind" do
    map =
      Map.new(1..5000, fn index ->
        {Enum.random([index, "token #{index}", {index, 1.5}]),
         Enum.random([[index], String.duplicate("é", index), %{}])}
      end)

    table = Table.new(map)
    assert table.size == map_size(map)
    for {key, value} <- map, do: assert(Table.get(table, key) === value)
    for key <- [0, 5001, nil, "", {1, 1.0}, [], self()], do: assert(Table.get(table, key) == nil)
    assert Table.get(Table.new(%{}), 1) == nil
  end

  test "tells integers and floats apart, as a map" do
    assert Table.get(Table.new(%{1 => :integer}), 1.0) == nil
  end

  test "is a reference to each process that has it, and outlives the one that made it" do
    map = Map.new(1..100_000, &{&1, Integer.to_string(&1)})
    table = Task.await(Task.async(fn -> Table.new(map) end))
    assert :erts_debug.flat_size(table) < 50

    tasks = for _ <- 1..8, do: Task.async(fn -> Enum.all?(1..100_000, &(Table.get(table, &1) == map[&1])) end)
    assert tasks |> Task.await_many(60_000) |> Enum.all?()
  end

  # In a virtual machine where nothing else takes memory meanwhile.
  @tag skip: not File.exists?("/proc/self/statm") && "the resident set is read from /proc"
  test "is given back with its last reference" do
    code =
      quote do
        make = fn ->
          map = Map.new(1..20_000, &{&1, &1})
          for _ <- 1..200, do: Mlx.LM.Tokenizer.Table.get(Mlx.LM.Tokenizer.Table.new(map), 20_000)
        end

        resident = fn -> "/proc/self/statm" |> File.read!() |> String.split() |> Enum.at(1) |> String.to_integer() end
        make.()
        :erlang.garbage_collect()
        before = resident.()

        for _ <- 1..8 do
          [20_000] = Enum.uniq(make.())
          :erlang.garbage_collect()
        end

        IO.puts((resident.() - before) * 4096)
      end

    assert {:exit, 0, grown} = ChildVM.run(code)
    # 1,600 tables of 20,000 pairs are a GB. Those of a round, up to 150 MB, come and go with the collections.
    assert grown |> String.trim() |> String.to_integer() < 400_000_000
  end

  test "is made of a map" do
    assert_raise ArgumentError, ~r/expected a map, got: \[1\]/, fn -> Mlx.Native.table_new([1]) end
    assert_raise ArgumentError, ~r/expected a table, got: /, fn -> Mlx.Native.table_find(make_ref(), 1) end
  end
end
