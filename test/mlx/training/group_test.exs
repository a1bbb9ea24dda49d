defmodule Mlx.Training.GroupTest do
  use ExUnit.Case, async: true

  alias Mlx.{Distributed, GroupTraining, Ring, Training}

  @moduletag :tmp_dir
  @moduletag timeout: 300_000

  # The lines that each virtual machine printed.
  defp lines(outputs) do
    for output <- outputs do
      assert is_binary(output), inspect(output)
      String.split(output, "\n", trim: true)
    end
  end

  test "two virtual machines train to the weights and values of one with the whole batches", %{tmp_dir: folder} do
    variants = [[], [accumulate: 2, clip_norm: 0.5], [accumulate: 3, type: :bf16]]

    code =
      quote do
        for options <- unquote(variants) do
          training = Mlx.GroupTraining.perceptron(group, options)

          IO.puts(
            "#{Mlx.GroupTraining.digest(training)} #{inspect(Mlx.GroupTraining.numbers(training), limit: :infinity, width: :infinity)}"
          )
        end
      end

    assert [first, first] = folder |> then(&Ring.run(2, &1, code)) |> lines()
    assert length(first) == length(variants)

    for {line, options} <- Enum.zip(first, variants) do
      [_digest, numbers] = String.split(line, " ", parts: 2)
      whole = GroupTraining.numbers(GroupTraining.perceptron(Distributed.init(), options))
      numbers = numbers |> Code.eval_string() |> elem(0)
      assert length(numbers) == length(whole)
      delta = if options[:type], do: 0.02, else: 1.0e-5
      for {a, b} <- Enum.zip(numbers, whole), do: assert_in_delta(a, b, delta)
    end
  end

  test "a training that one process stops goes on from the file of the first one", %{tmp_dir: folder} do
    path = Path.join(folder, "group.safetensors")
    other = Path.join(folder, "whole.safetensors")

    code =
      quote do
        digest = &IO.puts("#{&1.step} #{Mlx.GroupTraining.digest(&1)}")
        # The file of the other process would be another one.
        own = &if(group.rank == 0, do: &1, else: Path.join(Path.dirname(&1), "none.safetensors"))
        stop = fn _event, training -> if group.rank == 1 and training.step == 7, do: :halt end
        options = [report_every: 1, checkpoint_every: 2, resume: true]
        digest.(Mlx.GroupTraining.noisy(group, [checkpoint: own.(unquote(other))] ++ options))
        digest.(Mlx.GroupTraining.noisy(group, [checkpoint: own.(unquote(path)), callbacks: [stop]] ++ options))
        digest.(Mlx.GroupTraining.noisy(group, [checkpoint: own.(unquote(path))] ++ options))
      end

    assert [lines, lines] = folder |> then(&Ring.run(2, &1, code)) |> lines()
    assert ["10 " <> whole, "7 " <> stopped, "10 " <> resumed] = lines
    assert resumed == whole and stopped != whole
    assert File.read!(path) == File.read!(other)
    assert Enum.sort(File.ls!(folder)) == ["group.safetensors", "hosts.json", "whole.safetensors"]
    # Each process has a dropout and statistics of its own rows, so that it is not the training of one.
    alone = GroupTraining.noisy(Distributed.init(), [])
    assert Integer.to_string(GroupTraining.digest(alone)) != whole
  end

  test "an error that concerns all is raised in all", %{tmp_dir: folder} do
    code =
      quote do
        loss = fn model, batch -> batch |> Mlx.NN.forward(model) |> Mlx.square() |> Mlx.mean() end
        folder = unquote(folder)
        File.write!(Path.join(folder, "other.safetensors"), "none")

        run = fn rows, columns, options ->
          options = [group: group, progress: nil, seed: 1] ++ options
          batches = [Mlx.ones({rows, columns})]
          Mlx.Training.run(Mlx.NN.Linear.new(columns, 1), loss, Mlx.Optimizers.SGD.new(0.1), batches, options)
        end

        for call <- [
              fn -> run.(4, 2 + group.rank, []) end,
              fn -> run.(4, 2, epochs: 2 + group.rank) end,
              fn -> run.(1, 2, []) end,
              fn -> run.(4, 2, checkpoint: Path.join([folder, "none", "a.safetensors"])) end,
              fn -> run.(4, 2, checkpoint: Path.join(folder, "other.safetensors"), resume: true) end
            ] do
          try do
            call.()
            IO.puts("no error")
          rescue
            error -> IO.puts(error |> Exception.message() |> String.replace("\n", " "))
          end
        end

        IO.puts(run.(4, 2, []).step)
      end

    assert [lines, lines] = folder |> then(&Ring.run(2, &1, code)) |> lines()
    assert [arrays, options, rows, full, other, "1"] = lines
    assert arrays =~ ~r/^Mlx.Training.run: expected the arrays of the model .* to be the same in all processes/
    assert options =~ ~r/^Mlx.Training.run: expected the options .* to be the same in all processes/

    assert rows =~
             "Mlx.Training.run: expected batches of at least 2 rows, which the processes of :group share, got one of 1"

    assert full =~ "none/a.safetensors"
    assert other =~ "other.safetensors"
  end

  test "a group of one process, and what is none" do
    group = Distributed.init()
    alone = GroupTraining.noisy(group, [])
    assert GroupTraining.digest(alone) == GroupTraining.digest(GroupTraining.noisy(group, group: nil))

    assert_raise ArgumentError,
                 ~r/^Mlx.Training.run: expected :group to be a Mlx.Distributed.Group, or nil, got: 2/,
                 fn ->
                   Training.run(Mlx.ones({2}), &Mlx.subtract/2, Mlx.Optimizers.SGD.new(0.1), [Mlx.ones({2})], group: 2)
                 end
  end
end
