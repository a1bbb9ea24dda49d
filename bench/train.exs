# What a row needs, and the table.
modules =
  for file <- ["rounds.exs", "networks.exs", "train_row.exs", "table.exs"],
      module <- Code.require_file(file, __DIR__),
      do: module

defmodule Bench.Train do
  @moduledoc false
  # Each row has a virtual machine to itself, and a Python, in which nothing is left of another row.

  alias Bench.Table

  @networks ["cnn", "resnet18", "letters", "mlp of 300 arrays"]
  # Its steps are so short that 2,000 of them take seconds.
  @steady "perceptron"

  @doc "Prints the rows of networks, which these modules measure."
  def run(modules, names) do
    names = if names == [], do: @networks, else: names

    Table.header("ms of a compiled step", "Mlx")

    times =
      for cores <- cores(), name <- names do
        print("#{name}, #{cores}", measure(modules, cores, [name, :time]))
      end

    Table.header("MB at most in steps", "Mlx")

    peaks =
      for name <- names, kind <- [:compiled, :built] do
        print("#{name}, #{words(kind)}", measure(modules, :all_cores, [name, {:peak, kind}]))
      end

    # The memory after 2,000 steps beside that after the first ones.
    Table.header("MB in 2,000 steps", "in the end", "at first")

    steady =
      for kind <- [:compiled, :built] do
        print("#{@steady}, #{words(kind)}", measure(modules, :all_cores, [@steady, {:steady, kind}]))
      end

    IO.puts("train ratio: #{[times, peaks, steady] |> List.flatten() |> Enum.max() |> Table.format()}")
  end

  # macOS has no taskset.
  defp cores, do: if(System.find_executable("taskset"), do: [:one_core, :all_cores], else: [:all_cores])

  defp words(:compiled), do: "compiled"
  defp words(:built), do: "not compiled"

  defp print(name, {ours, theirs}) do
    Table.print([String.replace(name, "_", " ")], [ours], [theirs])
    ours / theirs
  end

  defp measure(modules, cores, arguments) do
    paths = Enum.flat_map(:code.get_path(), &[~c"-pa", &1])
    options = Map.merge(%{connection: :standard_io, args: paths}, program(cores))
    {:ok, peer, _node} = :peer.start_link(options)

    for {module, code} <- modules,
        do: {:module, _module} = :peer.call(peer, :code, :load_binary, [module, ~c"bench", code])

    measured = :peer.call(peer, Bench.TrainRow, :measure, arguments, :infinity)
    :peer.stop(peer)
    measured
  end

  # Python is started by the machine of the row, and has the same core.
  defp program(:all_cores), do: %{}

  defp program(:one_core) do
    %{exec: {String.to_charlist(System.find_executable("taskset")), [~c"-c", ~c"0", erlang()]}}
  end

  defp erlang, do: String.to_charlist(System.find_executable("erl"))
end

Bench.Train.run(modules, System.argv())
