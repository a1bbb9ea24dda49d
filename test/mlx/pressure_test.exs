defmodule Mlx.PressureTest do
  # Active memory and the configuration are those of the whole VM.
  use ExUnit.Case, async: false

  @megabytes 8

  setup do
    on_exit(fn -> Application.delete_env(:mlx, :gc_threshold) end)
  end

  # A process whose heap is large enough to hold many dead arrays, which it never collects of itself.
  defp greatest_growth(threshold, count) do
    Application.put_env(:mlx, :gc_threshold, threshold)

    task = fn ->
      start = Mlx.Memory.active()

      Enum.reduce(1..count, 0, fn _, greatest ->
        Mlx.eval(Mlx.zeros({@megabytes * 1024 * 1024}, type: :u8))
        max(greatest, Mlx.Memory.active() - start)
      end)
    end

    parent = self()
    :erlang.spawn_opt(fn -> send(parent, {:growth, task.()}) end, min_heap_size: 1_000_000)
    assert_receive {:growth, bytes}, 60_000
    bytes
  end

  test "dead arrays are collected once they hold the threshold" do
    # Three thresholds, since MLX frees in the background.
    assert greatest_growth(64 * 1024 * 1024, 60) < 3 * 64 * 1024 * 1024
  end

  test "nothing is collected when the threshold is infinite" do
    assert greatest_growth(:infinity, 20) >= 20 * @megabytes * 1024 * 1024
  end
end
