defmodule Mix.Tasks.Mlx.Embed do
  @shortdoc "Writes the embeddings of texts"

  @moduledoc """
  Writes the embeddings of texts, one a line, as numbers with spaces between them.

      mix mlx.embed --model path/to/all-MiniLM-L6-v2 "The cat sits outside" "I like pasta"
      mix mlx.embed --model path/to/all-MiniLM-L6-v2 --json < texts.txt

  Without texts among the arguments, each line of the standard input is one. Lines are read and written in parts, so that
  there may be any number of them.

    * `--model`, `-m` - a folder, or a name on the Hugging Face Hub, see `Mlx.LM.Embedder.load/2`
    * `--json` - write an object of JSON for each text, with `text` and `embedding`
    * `--prompt`, `-p` - what is put in front of each text, or `--prompt-name` - the name of one of the model's prompts
    * `--pooling` - `cls`, `last`, `mean`, `max`, `mean_sqrt_len` or `weighted_mean`; by default the model's
    * `--normalize`, `--no-normalize` - whether embeddings have the length 1; by default the model's choice
    * `--max-length` - the most tokens of a text
    * `--batch-size` - the most texts that are read at once, default 32
    * `--type` - `f32` (default), `f16` or `bf16`
    * `--help`, `-h` - list the options

  Wrong options, and a model that can't be loaded, end it with exit status 1.
  """

  use Mix.Task

  alias Mix.Mlx.{CommandLine, Locale, Switches}
  alias Mlx.LM.Embedder

  @head "mix mlx.embed --model MODEL [OPTIONS] [TEXT ...]"

  @poolings [:cls, :last, :mean, :max, :mean_sqrt_len, :weighted_mean]

  @rows [
    model: {:string, "MODEL", "a folder, or a name on the Hugging Face Hub"},
    prompt: {:string, "TEXT", "what is put in front of each text"},
    prompt_name: {:string, "NAME", "one of the model's prompts, instead of --prompt"},
    pooling: {{:one_of, @poolings}, "POOLING", "#{Enum.join(@poolings, ", ")}; by default the model's"},
    normalize: {:yes_or_no, nil, "whether embeddings have the length 1; by default the model's choice"},
    max_length: {:integer, "N", "the most tokens of a text"},
    batch_size: {:integer, "N", "the most texts that are read at once, default 32"},
    type: {{:one_of, [:f32, :f16, :bf16]}, "TYPE", "of floating-point numbers: f32 (default), f16 or bf16"}
  ]

  # Lines that are read before any is written.
  @part 1024

  @requirements ["app.start"]

  @impl true
  def run(arguments) do
    with {options, texts} <- Switches.parse(arguments, @head, @rows ++ Switches.group(:json)),
         do: embed(Map.new(options), texts)
  end

  defp embed(%{prompt: _text, prompt_name: _name}, _texts),
    do: Switches.refuse("there are a --prompt and a --prompt-name; give one of them", @head)

  defp embed(%{model: model} = options, texts) do
    CommandLine.or_exit(fn ->
      embedder = Embedder.load(model, options |> Map.take([:type]) |> Map.to_list())
      others = options |> Map.take([:pooling, :normalize, :max_length, :batch_size]) |> Map.to_list()
      settings = [prompt: prompt!(options, embedder)] ++ others
      texts = if texts == [], do: lines(), else: texts

      texts
      |> Stream.chunk_every(@part)
      |> Enum.each(fn texts -> write(texts, Embedder.embed(embedder, texts, settings), options[:json] == true) end)
    end)
  end

  defp embed(_options, _texts), do: Switches.refuse("there is no --model", @head)

  # The names of prompts come from a file, and make no atoms.
  defp prompt!(%{prompt: text}, _embedder), do: text
  defp prompt!(%{prompt_name: name}, %Embedder{prompts: prompts}) when is_map_key(prompts, name), do: prompts[name]

  defp prompt!(%{prompt_name: name}, %Embedder{prompts: prompts}) do
    has = if prompts == %{}, do: "none", else: list(prompts)
    raise ArgumentError, "the model has no prompt of the name #{inspect(name)}; it has #{has}"
  end

  defp prompt!(_options, _embedder), do: :default

  defp list(names), do: names |> Map.keys() |> Enum.sort() |> Enum.join(", ")

  defp lines, do: Stream.map(IO.stream(), &(&1 |> Locale.input() |> String.trim_trailing("\n")))

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
end
