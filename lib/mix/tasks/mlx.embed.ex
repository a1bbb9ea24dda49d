defmodule Mix.Tasks.Mlx.Embed do
  @shortdoc "Writes the embeddings of texts"

  @moduledoc """
  Writes the embeddings of texts, one a line, as numbers with spaces between them.

      mix mlx.embed --model path/to/all-MiniLM-L6-v2 "The cat sits outside" "I like pasta"
      mix mlx.embed --model path/to/all-MiniLM-L6-v2 --json < texts.txt

  Without texts among the arguments, each line of the standard input is one. Lines are read and written in parts, so that
  there may be any number of them.

    * `--model`, `-m` - the folder of a model, see `Mlx.LM.Embedder.load/2`
    * `--json` - write an object of JSON for each text, with `text` and `embedding`
    * `--prompt`, `-p` - what is put in front of each text, or `--prompt-name` - the name of one of the model's prompts
    * `--pooling` - `cls`, `last`, `mean`, `max`, `mean_sqrt_len` or `weighted_mean`; by default the model's
    * `--normalize`, `--no-normalize` - whether embeddings have the length 1; by default the model's choice
    * `--max-length` - the most tokens of a text
    * `--batch-size` - the most texts that are read at once, default 32
    * `--type` - `f32` (default), `f16` or `bf16`
    * `--help`, `-h` - write this in short

  Wrong options, and a model that can't be loaded, end it with exit status 1.
  """

  use Mix.Task

  alias Mix.Mlx.CommandLine
  alias Mlx.LM.Embedder

  @usage """
  Usage: mix mlx.embed --model FOLDER [--json] [--prompt TEXT | --prompt-name NAME] [--pooling MODE] [--[no-]normalize]
         [--max-length N] [--batch-size N] [--type f32|f16|bf16] [TEXT ...]
         Without a TEXT, each line of the standard input is one.\
  """

  @switches [
    model: :string,
    json: :boolean,
    prompt: :string,
    prompt_name: :string,
    pooling: :string,
    normalize: :boolean,
    max_length: :integer,
    batch_size: :integer,
    type: :string,
    help: :boolean
  ]

  @poolings Map.new(~w(cls last mean max mean_sqrt_len weighted_mean)a, &{Atom.to_string(&1), &1})
  @types Map.new(~w(f32 f16 bf16)a, &{Atom.to_string(&1), &1})

  # Lines that are read before any is written.
  @part 1024

  @requirements ["app.start"]

  @impl true
  def run(arguments) do
    case OptionParser.parse(arguments, strict: @switches, aliases: [m: :model, p: :prompt, h: :help]) do
      {options, texts, []} -> if options[:help], do: Mix.shell().info(@usage), else: embed(Map.new(options), texts)
      {_options, _texts, [{name, nil} | _]} -> refuse("unknown option or missing value: #{name}")
      {_options, _texts, [{name, value} | _]} -> refuse("#{name} does not take the value #{inspect(value)}")
    end
  end

  defp embed(%{model: model} = options, texts) do
    type = named!(options, :type, @types, :f32)
    pooling = named!(options, :pooling, @poolings, nil)

    if options[:prompt] && options[:prompt_name],
      do: refuse("there are a --prompt and a --prompt-name; give one of them")

    CommandLine.or_exit(fn ->
      embedder = Embedder.load(model, type: type)
      settings = [pooling: pooling, prompt: prompt!(options, embedder)] ++ others(options)
      texts = if texts == [], do: lines(), else: texts

      texts
      |> Stream.chunk_every(@part)
      |> Enum.each(fn texts -> write(texts, Embedder.embed(embedder, texts, settings), options[:json] == true) end)
    end)
  end

  defp embed(_options, _texts), do: refuse("there is no --model")

  defp others(options), do: options |> Map.take([:normalize, :max_length, :batch_size]) |> Map.to_list()

  defp named!(options, option, names, default) do
    case options do
      %{^option => name} when is_map_key(names, name) -> names[name]
      %{^option => name} -> refuse("--#{option} does not take the value #{inspect(name)}, but #{list(names)}")
      _not_given -> default
    end
  end

  # The names of prompts come from a file, and make no atoms.
  defp prompt!(%{prompt: text}, _embedder), do: text
  defp prompt!(%{prompt_name: name}, %Embedder{prompts: prompts}) when is_map_key(prompts, name), do: prompts[name]

  defp prompt!(%{prompt_name: name}, %Embedder{prompts: prompts}) do
    has = if prompts == %{}, do: "none", else: list(prompts)
    raise ArgumentError, "the model has no prompt of the name #{inspect(name)}; it has #{has}"
  end

  defp prompt!(_options, _embedder), do: :default

  defp list(names), do: names |> Map.keys() |> Enum.sort() |> Enum.join(", ")

  defp lines, do: Stream.map(IO.stream(), &String.trim_trailing(&1, "\n"))

  defp write(texts, vectors, json?) do
    for {text, vector} <- Enum.zip(texts, Mlx.to_list(vectors)),
        do: vector |> Enum.map(&short/1) |> write_line(text, json?)
  end

  defp write_line(vector, text, true), do: IO.puts(JSON.encode!(%{text: text, embedding: vector}))
  defp write_line(vector, _text, false), do: vector |> Enum.join(" ") |> IO.puts()

  # Nine digits are all that a number of the type f32 has.
  defp short(number) when is_float(number) do
    number |> :erlang.float_to_binary(scientific: 8) |> String.to_float()
  end

  defp short(other), do: other

  @spec refuse(String.t()) :: no_return()
  defp refuse(problem), do: CommandLine.exit_with("#{problem}\n\n#{@usage}")
end
