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

  @pictures "_build/losses"
  # Sides in curves and lines.
  @sides [elixir: "here", python: "in Python"]

  def main(arguments) do
    {options, folders} = OptionParser.parse!(arguments, strict: [svg: :string])
    pictures = Keyword.get(options, :svg, @pictures)
    File.mkdir_p!(pictures)
    Random.seed(0)
    images = folders |> List.first(FashionMNISTData.folder()) |> images()

    differences =
      for {name, batches} <- [{"cnn", images}, {"cnn without biases", images}, {"letters", letters()}] do
        %{losses: losses, gradients: gradients} = compare(name, batches)
        difference = furthest(losses.elixir, losses.python)
        IO.puts("#{name}: from #{hd(losses.elixir)} to #{List.last(losses.elixir)}; at most #{difference} apart")

        for {side, words} <- @sides do
          IO.puts("  the losses #{words} are at most #{furthest(losses[side], losses.exact)} from those in :f64")
        end

        show(gradients)
        picture = Path.join(pictures, String.replace(name, " ", "_") <> ".svg")
        File.write!(picture, picture(losses))
        IO.puts("  #{picture}")
        difference
      end

    IO.puts("losses difference: #{Enum.max(differences)}")
  end

  defp furthest(a, b), do: a |> Enum.zip_with(b, &abs(&1 - &2)) |> Enum.max()

  # Of each array of the first gradients that differs.
  defp show(gradients) do
    for {path, exact} <- gradients.exact,
        gradients.elixir[path] |> Mlx.array_equal(gradients.python[path]) |> differs?() do
      [here, there] = for {side, _words} <- @sides, do: distance(gradients[side][path], exact)
      IO.puts("  first gradient of #{path}: #{here} here and #{there} in Python from that in :f64, over its norm")
    end
  end

  defp differs?(equal), do: not Mlx.to_number(equal)

  defp distance(array, exact) do
    difference = array |> Mlx.as_type(:f64) |> Mlx.subtract(exact)
    [of_difference, of_exact] = for array <- [difference, exact], do: array |> Mlx.square() |> Mlx.sum() |> Mlx.sqrt()
    of_difference |> Mlx.divide(of_exact) |> Mlx.to_number() |> :erlang.float_to_binary(scientific: 2)
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

  # The losses of both sides and those in :f64, and the gradients of the first batch.
  defp compare(name, batches) do
    folder = Path.join(System.tmp_dir!(), "mlx_losses_#{System.pid()}")
    File.mkdir_p!(folder)
    {model, optimizer, _batch} = Networks.new(name)
    save(model, folder, "weights")
    save(Map.new(Enum.with_index(batches, &{"#{&2}", &1})), folder, "batches")

    try do
      theirs = theirs(name, folder)
      gradients = folder |> file("gradients") |> Mlx.IO.load() |> Mlx.eval()
      {exact, exact_batches} = {exact(model), Enum.map(batches, &exact/1)}
      exact_losses = ours(exact, optimizer, exact_batches)

      %{
        losses: %{elixir: ours(model, optimizer, batches), python: theirs, exact: exact_losses},
        gradients: %{elixir: first(model, batches), python: gradients, exact: first(exact, exact_batches)}
      }
    after
      File.rm_rf!(folder)
    end
  end

  defp save(container, folder, name) do
    Mlx.IO.save(file(folder, name), container |> Tree.flatten() |> Map.new())
  end

  defp file(folder, name), do: Path.join(folder, "#{name}.safetensors")

  defp exact(container) do
    Tree.map(container, &if(&1.type == :f32, do: Mlx.as_type(&1, :f64), else: &1))
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

  defp first(model, [batch | _]) do
    {_loss, gradients, _model} = Mlx.NN.value_and_grad(&Networks.loss/2).(model, batch)
    gradients |> Mlx.eval() |> Tree.flatten() |> Map.new()
  end

  defp theirs(name, folder) do
    [{_ours, losses}] = Rounds.alternate("losses.py", [name, folder], 1, fn -> nil end)
    losses
  end

  defp picture(losses) do
    curves = for side <- [:elixir, :python, :exact], do: {side, Enum.with_index(losses[side], &{&2 + 1, &1})}
    Curve.to_svg(curves)
  end
end

Bench.Losses.main(System.argv())
