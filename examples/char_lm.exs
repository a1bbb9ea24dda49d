# A small transformer that learns to write, letter by letter, from the Elixir sources of this library or from another text. It
# shows its progress, its loss on the last tenth of the text, its curve, and a sample of what it writes.
#
#   mix run examples/char_lm.exs [TEXT] [--epochs 10] [--svg curve.svg]
#
# An epoch is 100 steps, and takes about a minute on two cores. More epochs make the sample more like the text.
defmodule Examples.CharLM do
  @moduledoc false

  alias Mlx.{NN, Optimizers, Random, Training}
  alias Mlx.NN.{Embedding, Linear, Losses, TransformerEncoder}
  alias Mlx.Training.Curve

  defmodule Model do
    @moduledoc false
    # Letters and their places as vectors, blocks of attention to what came before, and a score for each letter.

    @derive NN.Layer
    defstruct [:letters, :places, :encoder, :output]

    def new(letters, length, options) do
      width = options[:width]

      %__MODULE__{
        letters: Embedding.new(letters, width),
        places: Embedding.new(length, width),
        encoder: TransformerEncoder.new(options[:layers], width, options[:heads]),
        output: Linear.new(width, letters)
      }
    end

    def call(%__MODULE__{} = model, %Mlx.Array{shape: {_batch, length}} = letters) do
      places = NN.forward(Mlx.arange(length), model.places)

      letters
      |> NN.forward(model.letters)
      |> Mlx.add(places)
      |> then(&TransformerEncoder.call(model.encoder, &1, mask: :causal))
      |> NN.forward(model.output)
    end
  end

  @sources "../lib/**/*.ex"
  @length 64
  @batch 32
  @steps 100
  @rate 0.002
  @temperature 0.7
  @written 600

  def main(arguments) do
    {options, files} = OptionParser.parse!(arguments, strict: [epochs: :integer, svg: :string])
    Random.seed(0)
    text = text(files)
    alphabet = text |> :binary.bin_to_list() |> Enum.uniq() |> Enum.sort() |> List.to_tuple()
    {train, test} = text |> numbers(alphabet) |> split()
    model = Model.new(tuple_size(alphabet), @length, width: 128, layers: 3, heads: 4)
    training = train(model, train, test, Keyword.get(options, :epochs, 10))

    IO.puts(Curve.to_text(Training.curve(training)))
    [{_step, %{loss: loss}} | _] = training.validations
    IO.puts("loss on #{div(Mlx.size(test), 1000)} thousand letters of the test: #{Float.round(loss, 3)}\n")
    IO.puts(sample(NN.eval(training.model), train[0..(@length - 1)], alphabet))
    if path = options[:svg], do: File.write!(path, training |> Training.curve() |> Curve.to_svg())
  end

  defp text([]), do: @sources |> Path.expand(__DIR__) |> Path.wildcard() |> Enum.map_join("\n", &File.read!/1)
  defp text(files), do: Enum.map_join(files, "\n", &File.read!/1)

  # The letters, which are the bytes of the text, as their places in the alphabet.
  defp numbers(text, alphabet) do
    places = alphabet |> Tuple.to_list() |> Enum.with_index() |> Map.new()
    numbers = for <<letter <- text>>, into: <<>>, do: <<Map.fetch!(places, letter)>>
    Mlx.from_binary(numbers, {byte_size(numbers)}, :u8)
  end

  defp split(%Mlx.Array{shape: {size}} = letters) do
    last = div(size * 9, 10)
    {letters[0..(last - 1)], letters[last..-1//1]}
  end

  defp train(model, train, test, epochs) do
    Training.run(
      model,
      &loss/2,
      Optimizers.AdamW.new(Optimizers.Schedules.cosine_decay(@rate, epochs * @steps)),
      fn _epoch -> random_batches(train) end,
      epochs: epochs,
      seed: 1,
      clip_norm: 1.0,
      validation: batches(test)
    )
  end

  # Lines of letters from random places of the text, one letter longer than the model reads.
  defp random_batches(%Mlx.Array{shape: {size}} = letters) do
    Stream.repeatedly(fn ->
      starts = Random.randint(0, size - @length, shape: {@batch, 1})
      Mlx.take(letters, Mlx.add(starts, Mlx.arange(@length + 1)))
    end)
    |> Stream.take(@steps)
  end

  # The text in lines one after another.
  defp batches(%Mlx.Array{shape: {size}} = letters) do
    rows = div(size, @length + 1)
    letters[0..(rows * (@length + 1) - 1)] |> Mlx.reshape({rows, @length + 1}) |> Training.batches(4 * @batch)
  end

  defp loss(model, lines) do
    lines[[.., 0..-2//1]] |> NN.forward(model) |> Losses.cross_entropy(lines[[.., 1..-1//1]], reduction: :mean)
  end

  # Writes letter after letter; the model reads the last ones.
  defp sample(model, letters, alphabet) do
    next = Mlx.compile(&next(model, &1, &2))

    written =
      1..@written
      |> Enum.scan(letters, fn _letter, letters -> next.(letters, Random.bits({2})) end)
      |> Enum.map(& &1[-1])
      |> Mlx.stack()
      |> Mlx.to_list()

    for number <- written, into: "", do: <<elem(alphabet, number)>>
  end

  defp next(model, letters, key) do
    scores = letters |> Mlx.new_axis(0) |> NN.forward(model)
    letter = Random.categorical(Mlx.divide(scores[[0, -1]], @temperature), key: key)
    Mlx.concatenate([letters[1..-1//1], letter |> Mlx.as_type(:u8) |> Mlx.new_axis(0)])
  end
end

Examples.CharLM.main(System.argv())
