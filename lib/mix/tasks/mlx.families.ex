defmodule Mix.Tasks.Mlx.Families do
  @shortdoc "Lists the types of language models that can be loaded"

  @moduledoc """
  Lists the types of language models that can be loaded, one a line: what `model_type` of a `config.json` may be
  (`Mlx.LM.Families`).

      mix mlx.families
      mix mlx.families --json

    * `--json` - write a list of JSON
    * `--help`, `-h` - list the options
  """

  use Mix.Task

  alias Mix.Mlx.Switches

  @head "mix mlx.families [--json]"

  @requirements ["app.config"]

  @impl true
  def run(arguments) do
    with options when is_list(options) <- Switches.options(arguments, @head, Switches.group(:json)),
         do: list(Mlx.LM.Families.types(), options[:json])
  end

  defp list(types, true), do: IO.puts(JSON.encode!(types))
  defp list(types, _lines), do: Enum.each(types, &IO.puts/1)
end
