defmodule Mix.Tasks.Mlx.Quantize do
  @shortdoc "Quantizes a language model with the help of a text"

  @moduledoc """
  Quantizes a language model with the help of a text, in a new folder that `Mlx.LM.load/2` and Python's `mlx_lm` load.

      mix mlx.quantize --model SmolLM2 --output SmolLM2-gptq --method gptq --bits 4 text.txt
      mix mlx.quantize -m SmolLM2 -o SmolLM2-dwq --method dwq --bits 3 --learning-rate 1.0e-4 text.txt
      mix mlx.quantize -m SmolLM2 -o SmolLM2-5bit --method dynamic --bits 4 --bits-per-weight 5.0 one.txt two.txt

  The files are texts like those that the model will read. Without any, the text comes from the standard input; the method
  `round` reads none.

    * `--model`, `-m` - a folder, a GGUF file, or a name on the Hugging Face Hub
    * `--output`, `-o` - the new folder
    * `--method` - `gptq` (default), `awq`, `dwq`, `dynamic` or `round`
    * `--bits`, `--group-size`, `--recipe` - as for `mix mlx.convert`
    * `--embedding-bits` - the bits of the embeddings and the output
    * `--window`, `--windows`, `--batch-size` - how many tokens are read as one text, default 512; the most of these, default
      32; and how many at once, default 4
    * `--high-bits`, `--bits-per-weight` - of `dynamic`: the bits of the layers that matter most, and how many there are in
      the end, default 5.0
    * `--start`, `--steps`, `--learning-rate`, `--temperature` - of `dwq`: `round` (default), `gptq` or `awq`; how many steps
      are made, by default one for each batch; default 1.0e-5; and default 2.0
    * `--seed` - of `dwq`: shuffles the windows of the text, default 0
    * `--gradient-checkpoint` - of `dwq` and `dynamic`: less memory for more time
    * `--grid`, `--[no-]clip` - of `awq`: how many scales are tried, default 20; and whether numbers are bounded, default yes
    * `--dequantize` - unpack what is quantized, to quantize it anew
    * `--type` - the floating-point type: `f32`, `f16` or `bf16`
    * `--json` - write an object of JSON with the figures
    * `--help`, `-h` - list the options

  See `Mlx.LM.quantize/3`. Wrong options, and a model or a text that can't be read, end it with exit status 1.

  Python: `mlx_lm.gptq`, `mlx_lm.awq`, `mlx_lm.dwq`, `mlx_lm.dynamic_quant`.
  """

  use Mix.Task

  alias Mix.Mlx.{CommandLine, Switches}
  alias Mlx.LM.Quantization.{Methods, Recipe}

  @head "mix mlx.quantize --model MODEL --output FOLDER [OPTIONS] [FILE ...]"

  @rows [
    model: {:string, "MODEL", "a folder, a GGUF file, or a name on the Hugging Face Hub"},
    output: {:string, "FOLDER", "the new folder"},
    method: {{:one_of, Methods.names()}, "NAME", "#{Enum.join(Methods.names(), ", ")}; default gptq"},
    bits: {:integer, "N", "2, 3, 4, 5, 6 or 8"},
    group_size: {:integer, "N", "32, 64 or 128 numbers share a scale"},
    recipe: {{:one_of, Recipe.names()}, "NAME", "more bits for what matters most: #{Enum.join(Recipe.names(), ", ")}"},
    embedding_bits: {:integer, "N", "the bits of the embeddings and the output"},
    window: {:integer, "N", "the number of tokens that are read as one text, default 512"},
    windows: {:integer, "N", "the most windows to read, default 32"},
    batch_size: {:integer, "N", "how many windows are read at once, default 4"},
    high_bits: {:integer, "N", "dynamic: the bits of the layers that matter most, by default the next ones"},
    bits_per_weight: {:float, "X", "dynamic: how many there are in the end, default 5.0"},
    start: {{:one_of, [:round, :gptq, :awq]}, "NAME", "dwq: what is trained: round (default), gptq, awq"},
    steps: {:integer, "N", "dwq: how many steps are made, by default one for each batch"},
    learning_rate: {:float, "X", "dwq: default 1.0e-5"},
    temperature: {:float, "T", "dwq: by which logits are divided, default 2.0"},
    seed: {:integer, "N", "dwq: shuffles the windows of the text, default 0"},
    gradient_checkpoint: {:boolean, nil, "dwq, dynamic: less memory for more time"},
    grid: {:integer, "N", "awq: how many scales are tried, default 20"},
    clip: {:yes_or_no, nil, "awq: whether numbers are bounded, default yes"},
    dequantize: {:boolean, nil, "unpack what is quantized, to quantize it anew"},
    type: {{:one_of, [:f32, :f16, :bf16]}, "TYPE", "of floating-point numbers: f32, f16 or bf16"}
  ]

  @requirements ["app.start"]

  @impl true
  def run(arguments) do
    case Switches.parse(arguments, @head, @rows ++ Switches.group(:json)) do
      :help -> :ok
      {options, files} -> CommandLine.or_exit(fn -> quantize(options, files) end)
    end
  end

  defp quantize(options, files) do
    [source, folder] =
      for name <- [:model, :output], do: options[name] || Switches.refuse("there is no #{Switches.flag(name)}", @head)

    {losses, tell} = losses()
    method = options[:method] || :gptq
    given = Keyword.drop(options, [:model, :output, :method, :json])
    text = if method == :round and files == [], do: [], else: [calibration: texts(files)]
    report = if method == :dwq, do: [report: tell], else: []
    figures = Mlx.LM.quantize(source, folder, [method: method, progress: progress()] ++ text ++ report ++ given)
    show(options, Map.merge(figures, %{folder: folder, method: method}), losses.())
  end

  defp texts([]) do
    case IO.read(:eof) do
      text when is_binary(text) -> [text]
      _end_or_error -> [""]
    end
  end

  defp texts(files), do: Enum.map(files, &CommandLine.text/1)

  @titles %{blocks: "Blocks", batches: "Batches", steps: "Steps", tensors: "Writing"}

  defp progress do
    bars = Map.new(@titles, fn {what, title} -> {what, CommandLine.progress(title)} end)
    fn {what, _done, _total} = progress -> bars[what].(progress) end
  end

  # A function that gives what the other one was told.
  defp losses do
    task = self()
    tag = make_ref()
    {fn -> received(tag) end, fn step, loss -> send(task, {tag, step, loss}) end}
  end

  defp received(tag) do
    receive do
      {^tag, step, loss} -> [[step, loss] | received(tag)]
    after
      0 -> []
    end
  end

  defp show(options, figures, losses) do
    if options[:json] do
      IO.puts(JSON.encode!(if(losses == [], do: figures, else: Map.put(figures, :losses, losses))))
    else
      if losses != [], do: IO.puts(divergence(losses))

      IO.puts(
        "#{figures.folder}: #{figures.parameters} parameters, #{Float.round(figures.bytes / 1.0e6, 1)} MB, " <>
          "#{Float.round(figures.bits_per_weight, 3)} bits per weight, by #{figures.method}"
      )
    end
  end

  defp divergence(losses) do
    [[_one, first] | _rest] = losses
    [step, last] = List.last(losses)
    "Divergence from the model: #{Float.round(first, 5)} at the first step, #{Float.round(last, 5)} at the step #{step}"
  end
end
