# A small transformer that learns to write, letter by letter, from the Elixir sources of this library or from another text. It
# shows its progress, its loss on the last tenth of the text, its curve, and a sample of what it writes.
#
#   mix run examples/char_lm.exs [TEXT] [--epochs 10] [--steps 100] [--batch 32] [--length 64] [--width 128] [--layers 3]
#     [--heads 4] [--rate 0.002] [--svg curve.svg] [--checkpoint letters.safetensors]
#
# An epoch is so many steps; 100 take about a minute on two cores. More epochs make the sample more like the text.
# options.exs says how options are given. With a checkpoint a run that was ended goes on.
Code.require_file("options.exs", __DIR__)

defmodule Examples.CharLM do
  @moduledoc false

  alias Examples.Options
  alias Mlx.{NN, Optimizers, Random, Training}
  alias Mlx.NN.{Embedding, Linear, Losses, TransformerEncoder}

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
  @options [
    epochs: 10,
    steps: 100,
    batch: 32,
    length: 64,
    width: 128,
    layers: 3,
    heads: 4,
    rate: 0.002,
    svg: nil,
    checkpoint: nil
  ]
  @temperature 0.7
  @written 600

  def main(arguments) do
    {options, files} = Options.parse!(arguments, @options)
    Random.seed(0)
    text = text(files)
    alphabet = text |> :binary.bin_to_list() |> Enum.uniq() |> Enum.sort() |> List.to_tuple()
    {train, test} = text |> numbers(alphabet) |> split()
    model = Model.new(tuple_size(alphabet), options.length, Map.take(options, [:width, :layers, :heads]))
    training = train(model, train, test, options)

    Options.show_curve(training, options)
    written = sample(NN.eval(training.model), train[0..(options.length - 1)], alphabet)
    # A letter of several bytes may have been cut short.
    IO.puts(String.replace_invalid(written))
    [{_step, %{loss: loss}} | _] = training.validations
    IO.puts("\nloss on the letters of the test: #{Float.round(loss, 3)}")
    Options.show_accuracy(training, Mlx.size(test), "letters of the test")
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

  defp train(model, train, test, options) do
    Training.run(
      model,
      &loss/2,
      Optimizers.AdamW.new(Optimizers.Schedules.cosine_decay(options.rate, options.epochs * options.steps)),
      fn _epoch -> train |> random_batches(options) |> Stream.take(options.steps) end,
      epochs: options.epochs,
      seed: 1,
      clip_norm: 1.0,
      validation: batches(test, options),
      metrics: [accuracy: &accuracy/2],
      checkpoint: options.checkpoint,
      resume: options.checkpoint != nil
    )
  end

  # Lines of letters from random places of the text, one letter longer than the model reads.
  defp random_batches(%Mlx.Array{shape: {size}} = letters, %{length: length, batch: batch}) do
    Stream.repeatedly(fn ->
      starts = Random.randint(0, size - length, shape: {batch, 1})
      Mlx.take(letters, Mlx.add(starts, Mlx.arange(length + 1)))
    end)
  end

  # The text in lines one after another.
  defp batches(%Mlx.Array{shape: {size}} = letters, %{length: length, batch: batch}) do
    rows = div(size, length + 1)
    letters[0..(rows * (length + 1) - 1)] |> Mlx.reshape({rows, length + 1}) |> Training.batches(4 * batch)
  end

  # The next letter that gets the highest score is the one of the text.
  defp accuracy(model, lines) do
    best = lines[[.., 0..-2//1]] |> NN.forward(model) |> Mlx.argmax(axis: -1)
    best |> Mlx.equal(lines[[.., 1..-1//1]]) |> Mlx.mean()
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
