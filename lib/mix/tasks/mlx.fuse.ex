defmodule Mix.Tasks.Mlx.Fuse do
  @shortdoc "Makes an adapter a part of a language model"

  @moduledoc """
  Makes an adapter a part of a language model, in a new folder that `Mlx.LM.load/2` and Python's `mlx_lm` load.

      mix mlx.fuse --model SmolLM2 --adapter owl --output SmolLM2-owl
      mix mlx.fuse -m SmolLM2-4bit --adapter owl -o SmolLM2-owl --dequantize

    * `--model`, `-m` - a folder, or a name on the Hugging Face Hub
    * `--adapter` - the folder of an adapter of mlx-lm or PEFT
    * `--output`, `-o` - the new folder
    * `--dequantize` - unpack what is quantized; by default, matrices that change are quantized anew
    * `--json` - write an object of JSON with the folder
    * `--help`, `-h` - list the options

  See `Mlx.LM.FineTuning.fuse/4`. Wrong options, and what cannot be read, end it with exit status 1.

  Python: `mlx_lm.fuse`.
  """

  use Mix.Task

  alias Mix.Mlx.{CommandLine, Switches}

  @head "mix mlx.fuse --model MODEL --adapter FOLDER --output FOLDER [OPTIONS]"

  @rows [
    model: {:string, "MODEL", "a folder, or a name on the Hugging Face Hub"},
    adapter: {:string, "FOLDER", "of an adapter of mlx-lm or PEFT"},
    output: {:string, "FOLDER", "the new folder"},
    dequantize: {:boolean, nil, "unpack what is quantized"}
  ]

  @requirements ["app.start"]

  @impl true
  def run(arguments) do
    case Switches.parse(arguments, @head, @rows ++ Switches.group(:json)) do
      :help -> :ok
      {options, []} -> fuse(options)
      {_options, [other | _]} -> Switches.refuse("unexpected argument: #{other}", @head)
    end
  end

  defp fuse(options) do
    [model, adapter, folder] =
      for name <- [:model, :adapter, :output],
          do: options[name] || Switches.refuse("there is no #{Switches.flag(name)}", @head)

    CommandLine.or_exit(fn ->
      settings = [progress: CommandLine.progress("Writing")] ++ Keyword.take(options, [:dequantize])
      Mlx.LM.FineTuning.fuse(model, adapter, folder, settings)
      IO.puts(if options[:json], do: JSON.encode!(%{folder: folder}), else: "#{folder}: #{model} with #{adapter}")
    end)
  end
end
