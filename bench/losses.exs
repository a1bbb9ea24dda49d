for file <- ["rounds.exs", "networks.exs", "../examples/fashion_mnist_data.exs"], do: Code.require_file(file, __DIR__)

defmodule Bench.Losses do
  @moduledoc false

  alias Bench.{Networks, Rounds}
  alias Examples.FashionMNISTData
  alias Mlx.{Optimizers, Random, Tree}
  alias Mlx.Training.Curve

  @steps 100
  @images 32
  @lines 8
  @text "../lib/**/*.ex"

  def main(arguments) do
    {options, folders} = OptionParser.parse!(arguments, strict: [svg: :string])
    Random.seed(0)
    data = List.first(folders, FashionMNISTData.folder())

    differences =
      for {name, batches} <- [{"cnn", images(data)}, {"letters", letters()}] do
        {ours, theirs} = losses(name, batches)
        difference = ours |> Enum.zip_with(theirs, &abs(&1 - &2)) |> Enum.max()

        IO.puts(
          "#{name}: from #{hd(ours)} to #{List.last(ours)}, in Python to #{List.last(theirs)}; at most #{difference} apart"
        )

        if folder = options[:svg], do: draw(folder, name, ours, theirs)
        difference
      end

    IO.puts("losses difference: #{Enum.max(differences)}")
  end

  defp images(folder) do
    {%{x: x, y: y}, _test} = FashionMNISTData.load(folder)

    for batch <- 0..(@steps - 1) do
      rows = (batch * @images)..((batch + 1) * @images - 1)
      {x[rows], y[rows]}
    end
  end

  # Lines of the sources, one letter further each. Letters above 127 are no ASCII, and become zeros.
  defp letters do
    text = @text |> Path.expand(__DIR__) |> Path.wildcard() |> Enum.map_join(&File.read!/1)
    text = for <<letter <- text>>, into: <<>>, do: <<if(letter < 128, do: letter, else: 0)>>
    letters = Mlx.from_binary(text, {byte_size(text)}, :u8)

    for batch <- 0..(@steps - 1) do
      start = batch * @lines * (Networks.length() + 1)
      lines = letters[start..(start + @lines * (Networks.length() + 1) - 1)]
      lines = Mlx.reshape(lines, {@lines, Networks.length() + 1})
      {lines[[.., 0..-2//1]], lines[[.., 1..-1//1]]}
    end
  end

  defp losses(name, batches) do
    folder = Path.join(System.tmp_dir!(), "mlx_losses_#{System.pid()}")
    File.mkdir_p!(folder)
    {model, optimizer, _batch} = Networks.new(name)
    save(model, folder, "weights")
    save(Map.new(Enum.with_index(batches, &{"#{&2}", &1})), folder, "batches")

    try do
      {ours(model, optimizer, batches), theirs(name, folder)}
    after
      File.rm_rf!(folder)
    end
  end

  defp save(container, folder, name) do
    Mlx.IO.save(Path.join(folder, "#{name}.safetensors"), container |> Tree.flatten() |> Map.new())
  end

  defp ours(model, optimizer, batches) do
    step = Networks.compiled(optimizer)
    start = {Tree.map(model, &Mlx.copy/1), Optimizers.init(optimizer, model)}

    {losses, _trained} =
      Enum.map_reduce(batches, start, fn batch, {model, state} ->
        {loss, model, state} = Mlx.eval(step.(model, state, batch))
        {Mlx.to_number(loss), {model, state}}
      end)

    losses
  end

  defp theirs(name, folder) do
    [{_ours, losses}] = Rounds.alternate("losses.py", [name, folder], 1, fn -> nil end)
    losses
  end

  defp draw(folder, name, ours, theirs) do
    curves = for {side, losses} <- [elixir: ours, python: theirs], do: {side, Enum.with_index(losses, &{&2 + 1, &1})}
    File.write!(Path.join(folder, "#{name}.svg"), Curve.to_svg(curves))
  end
end

Bench.Losses.main(System.argv())
