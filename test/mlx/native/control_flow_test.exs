defmodule Mlx.Native.ControlFlowTest do
  use ExUnit.Case, async: true

  alias Mlx.Native

  defp program(kinds, fun) do
    {tape, placeholders} = Native.begin_tape_without_values("a test", kinds)
    {program, []} = Native.finish_tape(tape, placeholders |> fun.() |> List.wrap())
    program
  end

  defp kinds(count), do: List.duplicate({{}, :s32}, count)

  # Adds the second of the state to the first until that is not less than the limit.
  defp count_up(limit) do
    condition = program(kinds(2), fn [sum, _step] -> Mlx.less(sum, limit) end)
    body = program(kinds(2), fn [sum, step] -> [Mlx.add(sum, step), step] end)
    Native.program_loop(condition, body, 2)
  end

  defp recorded(count, fun), do: Native.program_call(program(kinds(count), fun))

  defp execute(instruction, numbers, functions \\ %{}) do
    tag = make_ref()
    execution = Native.execute(instruction, Enum.map(numbers, &Mlx.array/1), tag)
    answer(execution, tag, functions)
  end

  defp answer(execution, tag, functions) do
    receive do
      {^tag, :ok, results} ->
        Enum.map(results, &Mlx.to_number/1)

      {^tag, :error, message} ->
        {:error, message}

      {^tag, :call, function, arrays} ->
        Native.resume(execution, functions[function].(arrays))
        answer(execution, tag, functions)
    end
  end

  test "a loop runs until its condition is false" do
    assert execute(count_up(10), [0, 3]) == [12, 3]
    assert execute(count_up(10), [11, 3]) == [11, 3]
  end

  test "a branch runs one of two programs" do
    branch =
      Native.program_branch(
        program(kinds(1), fn [x] -> Mlx.add(x, 1) end),
        program(kinds(1), fn [y] -> Mlx.negate(y) end),
        false
      )

    for {condition, expected} <- [{true, 6}, {false, -7}] do
      chosen = recorded(2, fn [x, y] -> Native.apply_instruction(branch, [Mlx.less(x, 5) | [x, y]]) end)
      assert execute(chosen, [if(condition, do: 4, else: 5), 7]) == [if(condition, do: 5, else: expected)]
    end
  end

  test "of two programs that are small and cheap both may run, and nothing waits" do
    [increment, negate] =
      for fun <- [&Mlx.add(&1, 1), &Mlx.negate/1], do: program(kinds(1), fn [x] -> fun.(x) end)

    inverse = program([{{2, 2}, :f32}], fn [x] -> Mlx.Linalg.invert(x) end)
    long = program(kinds(1), fn [x] -> Enum.reduce(1..50, x, fn _, sum -> Mlx.add(sum, x) end) end)
    looped = program(kinds(2), fn state -> state |> then(&Native.apply_instruction(count_up(10), &1)) |> hd() end)

    choose = fn {if_true, if_false, small}, kinds ->
      program([{{}, :bool} | kinds], &Native.apply_instruction(Native.program_branch(if_true, if_false, small), &1))
    end

    both = choose.({increment, negate, true}, kinds(2))
    refute Native.program_is_dynamic(both)
    compiled = Native.compile(both, false, [])

    for {condition, expected} <- [{true, 6}, {false, -7}] do
      assert [result] = Native.call_compiled(compiled, [Mlx.array(condition), Mlx.array(5), Mlx.array(7)])
      assert Mlx.to_number(result) == expected
    end

    for {branches, kinds} <- [
          {{increment, negate, false}, kinds(2)},
          {{increment, long, true}, kinds(2)},
          {{increment, looped, true}, kinds(3)},
          {{inverse, inverse, true}, List.duplicate({{2, 2}, :f32}, 2)}
        ] do
      assert branches |> choose.(kinds) |> Native.program_is_dynamic()
    end
  end

  test "what is between loops and calls is compiled" do
    program =
      program(kinds(2), fn [a, b] ->
        sum = a |> Mlx.multiply(2) |> Mlx.add(b)
        [called] = 7 |> Native.host_call([{{}, :s32}]) |> Native.apply_instruction([sum])
        step = called |> Mlx.subtract(sum) |> Mlx.add(a)
        [counted, _step] = Native.apply_instruction(count_up(10), [sum, step])
        [counted |> Mlx.multiply(b) |> Mlx.add(called), sum, b]
      end)

    # The sum is 7, the step 3, and 10 is counted to.
    for calls_before <- 0..2 do
      prepared = Native.program_prepare(program, calls_before)
      for _call <- 1..4, do: assert(execute(prepared, [2, 3], %{7 => fn [sum] -> [Mlx.add(sum, 1)] end}) == [38, 7, 3])
    end
  end

  test "loops are nested, in the body of a loop" do
    inner = count_up(6)

    body =
      program(kinds(2), fn [total, round] ->
        zero = Mlx.multiply(round, 0)
        [sum, _step] = Native.apply_instruction(inner, [zero, Mlx.add(zero, 2)])
        [Mlx.add(total, sum), Mlx.add(round, 1)]
      end)

    condition = program(kinds(2), fn [_total, round] -> Mlx.less(round, 4) end)
    assert execute(Native.program_loop(condition, body, 2), [0, 0]) == [24, 4]
  end

  test "functions of Elixir are called while it runs" do
    body =
      program(kinds(2), fn [sum, step] ->
        [called] = 7 |> Native.host_call([{{}, :s32}]) |> Native.apply_instruction([sum, step])
        [called, step]
      end)

    condition = program(kinds(2), fn [sum, _step] -> Mlx.less(sum, 10) end)
    caller = self()

    add = fn [sum, step] ->
      send(caller, {:sum, Mlx.to_number(sum)})
      [Mlx.add(sum, step)]
    end

    assert execute(Native.program_loop(condition, body, 2), [0, 4], %{7 => add}) == [12, 4]
    for sum <- [0, 4, 8], do: assert_received({:sum, ^sum})

    wrong = fn [_sum, _step] -> [Mlx.array(1.5)] end
    assert {:error, message} = execute(Native.program_loop(condition, body, 2), [0, 4], %{7 => wrong})
    assert message =~ "other shapes or types"
  end

  test "what fails while it runs is an error" do
    inverse = program([{{2, 2}, :f32}], fn [x] -> Mlx.Linalg.invert(x) end)
    Native.execute(Native.program_call(inverse), [Mlx.zeros({2, 2})], :tag)
    assert_receive {:tag, :error, message}, 5000
    assert message =~ "factorization failed"
  end

  test "it ends with the process that waits for it" do
    endless =
      Native.program_loop(
        program(kinds(1), fn [x] -> Mlx.greater_equal(x, 0) end),
        program(kinds(1), &Function.identity/1),
        1
      )

    for _ <- 1..5 do
      {pid, monitor} = spawn_monitor(fn -> execute(endless, [1]) end)
      Process.sleep(20)
      Process.exit(pid, :kill)
      assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
    end

    # The threads are gone, or they would take turns with this.
    assert execute(count_up(100), [0, 1]) == [100, 1]
  end

  test "it cannot be transformed, compiled as a whole or run on the spot" do
    loop = recorded(2, &Native.apply_instruction(count_up(10), &1))

    assert {:execute, _name} = Native.apply_instruction(loop, [Mlx.array(0), Mlx.array(1)])

    program = program(kinds(2), &Native.apply_instruction(count_up(10), &1))
    assert Native.program_is_dynamic(program)
    assert_raise ArgumentError, ~r/cannot be compiled as a whole/, fn -> Native.compile(program, false, []) end
    assert_raise ArgumentError, ~r/cannot be transformed/, fn -> Native.program_vjp(program, 1) end
  end
end
