defmodule Mix.Tasks.Mlx.Convert do
  @shortdoc "Converts a language model to another form"

  @moduledoc """
  Converts a language model to another form, in a new folder that `Mlx.LM.load/2` and Python's `mlx_lm` load.

      mix mlx.convert --model HuggingFaceTB/SmolLM2-135M-Instruct --output SmolLM2-4bit --bits 4
      mix mlx.convert -m model.Q4_K_M.gguf -o model --dequantize --type bf16
      mix mlx.convert -m Qwen3-8B -o Qwen3-8B-mixed --recipe mixed_3_6

    * `--model`, `-m` - a folder, a GGUF file, or a name on the Hugging Face Hub
    * `--output`, `-o` - the new folder
    * `--quantize`, `-q` - quantize, with 4 bits in groups of 64 if nothing else is said
    * `--bits`, `--group-size`, `--mode` - how; each of them means `--quantize`. Modes are affine, mxfp4, mxfp8 and nvfp4
    * `--recipe` - `mixed_2_6`, `mixed_3_4`, `mixed_3_6` or `mixed_4_6`: more bits for what matters most
    * `--dequantize` - unpack what is quantized; with `--quantize` to quantize it anew
    * `--type` - the floating-point type: `f32`, `f16` or `bf16`
    * `--json` - write an object of JSON with the figures
    * `--help`, `-h` - list the options

  See `Mlx.LM.convert/3`. Wrong options, and a model that cannot be converted, end it with exit status 1.

  Python: `mlx_lm.convert`.
  """

  use Mix.Task

  alias Mix.Mlx.{CommandLine, Switches}
  alias Mlx.LM.Quantization.Recipe

  @head "mix mlx.convert --model MODEL --output FOLDER [OPTIONS]"

  @rows [
    model: {:string, "MODEL", "a folder, a GGUF file, or a name on the Hugging Face Hub"},
    output: {:string, "FOLDER", "the new folder"},
    quantize: {:boolean, nil, "quantize, with 4 bits in groups of 64 if nothing else is said"},
    bits: {:integer, "N", "2, 3, 4, 5, 6 or 8"},
    group_size: {:integer, "N", "32, 64 or 128 numbers share a scale"},
    mode: {{:one_of, Recipe.modes()}, "MODE", Enum.join(Recipe.modes(), ", ")},
    recipe: {{:one_of, Recipe.names()}, "NAME", "more bits for what matters most: #{Enum.join(Recipe.names(), ", ")}"},
    dequantize: {:boolean, nil, "unpack what is quantized; with --quantize to quantize it anew"},
    type: {{:one_of, [:f32, :f16, :bf16]}, "TYPE", "of floating-point numbers: f32, f16 or bf16"}
  ]

  @requirements ["app.start"]

  @impl true
  def run(arguments) do
    with options when is_list(options) <- Switches.options(arguments, @head, @rows ++ Switches.group(:json)),
         do: convert(options)
  end

  defp convert(options) do
    [source, folder] =
      for name <- [:model, :output], do: options[name] || Switches.refuse("there is no #{Switches.flag(name)}", @head)

    settings = Keyword.take(options, [:bits, :group_size, :mode, :recipe])
    quantize = if settings == [], do: options[:quantize] || false, else: settings

    form =
      [quantize: quantize, progress: CommandLine.progress("Writing")] ++ Keyword.take(options, [:dequantize, :type])

    CommandLine.or_exit(fn ->
      figures = Mlx.LM.convert(source, folder, form)

      if options[:json],
        do: IO.puts(JSON.encode!(Map.put(figures, :folder, folder))),
        else: IO.puts(line(folder, figures))
    end)
  end

  defp line(folder, figures) do
    "#{folder}: #{figures.parameters} parameters, #{Float.round(figures.bytes / 1.0e6, 1)} MB, " <>
      "#{Float.round(figures.bits_per_weight, 3)} bits per weight"
  end
end
