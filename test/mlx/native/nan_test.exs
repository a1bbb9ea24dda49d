defmodule Mlx.Native.NaNTest do
  # NaN has one place: it is the last when elements are sorted, and the winner of each choice between elements.
  use ExUnit.Case, async: true

  @values [3.0, :nan, :neg_infinity, 1.0, :infinity, :nan, -2.0, 0.0]
  @sorted [:neg_infinity, -2.0, 0.0, 1.0, 3.0, :infinity, :nan, :nan]

  @devices for device <- [:cpu, :gpu], Mlx.Device.available?(device), do: device
  @cases for device <- @devices, type <- [:f16, :bf16, :f32, :f64], {device, type} != {:gpu, :f64}, do: {device, type}

  for {device, type} <- @cases do
    describe "#{type} on #{device}" do
      @describetag device: device, type: type

      setup %{device: device, type: type} do
        Mlx.Device.set_default(device)
        x = Mlx.array(@values, type: type)
        # The same numbers along the first axis of two, which other kernels work on.
        %{x: x, columns: Mlx.transpose(Mlx.stack([x, x, x]))}
      end

      test "is the last when elements are sorted", %{x: x, columns: columns} do
        assert Mlx.to_list(Mlx.sort(x)) == @sorted
        assert x |> Mlx.take(Mlx.argsort(x)) |> Mlx.to_list() == @sorted
        assert columns |> Mlx.sort(axis: 0) |> Mlx.transpose() |> Mlx.to_list() == List.duplicate(@sorted, 3)
        part = x |> Mlx.partition(6) |> Mlx.to_list()
        assert Enum.drop(part, 6) == [:nan, :nan]
        assert x |> Mlx.take(Mlx.argpartition(x, 6)) |> Mlx.to_list() |> Enum.drop(6) == [:nan, :nan]
        assert x |> Mlx.top_k(3) |> Mlx.to_list() |> Enum.sort() == [:infinity, :nan, :nan]
      end

      test "is the greatest and the least element, and the middle of all", %{x: x, columns: columns} do
        for reduce <- [&Mlx.reduce_max/2, &Mlx.reduce_min/2, &Mlx.median/2] do
          assert x |> reduce.([]) |> Mlx.to_number() == :nan
          assert columns |> reduce.(axes: 0) |> Mlx.to_list() == [:nan, :nan, :nan]
          assert columns |> reduce.(axes: 1) |> Mlx.to_list() |> Enum.at(3) == 1.0
        end

        for place <- [&Mlx.argmax/2, &Mlx.argmin/2] do
          assert x |> place.([]) |> Mlx.to_number() == 1
          assert columns |> place.(axis: 0) |> Mlx.to_list() == [1, 1, 1]
        end
      end

      test "stays the greatest and the least of all up to an element", %{x: x} do
        for {cumulate, before} <- [{&Mlx.cumulative_max/2, 3.0}, {&Mlx.cumulative_min/2, 3.0}] do
          assert x |> cumulate.([]) |> Mlx.to_list() == [before | List.duplicate(:nan, 7)]
          assert x |> cumulate.(reverse: true) |> Mlx.to_list() |> Enum.take(6) == List.duplicate(:nan, 6)
        end
      end

      test "is the greater and the lesser of two", %{x: x} do
        for choose <- [&Mlx.max/2, &Mlx.min/2] do
          for result <- [choose.(x, 1.0), choose.(Mlx.array(1.0, type: x.type), x)] do
            assert [_, :nan, _, _, _, :nan, _, _] = Mlx.to_list(result)
          end
        end

        assert x |> Mlx.clip(0, 1) |> Mlx.to_list() == [1.0, :nan, 0.0, 1.0, 1.0, :nan, 0.0, 0.0]
      end
    end
  end

  test "complex numbers with NaN in a part" do
    x = Mlx.array([{1, 2}, {:nan, 1}, {1, :nan}, {0, 0}, {-1, 5}], type: :c64)
    nan? = fn array -> array |> Mlx.is_nan() |> Mlx.to_flat_list() end

    for device <- @devices do
      Mlx.with_device(device, fn ->
        assert nan?.(Mlx.sort(x)) == [false, false, false, true, true]
        assert nan?.(Mlx.reduce_max(x)) == [true]
        assert nan?.(Mlx.reduce_min(x)) == [true]
        assert nan?.(Mlx.reduce_min(Mlx.stack([x, x]), axes: [0, 1], keep_axes: true)) == [true]
        assert nan?.(Mlx.cumulative_max(x)) == [false, true, true, true, true]
        assert nan?.(Mlx.cumulative_min(x)) == [false, true, true, true, true]
      end)
    end
  end
end
