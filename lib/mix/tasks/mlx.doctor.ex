defmodule Mix.Tasks.Mlx.Doctor do
  @shortdoc "Looks for what is wrong with MLX on this machine"

  @moduledoc """
  Looks for what is wrong with MLX on this machine.

      mix mlx.doctor

  It shows the platform, the versions of everything that takes part, and the device, and tries the NIF, an operation,
  linear algebra, a compiled function, and Nx. Beside what is wrong it says what to do; the exit status is 1 then.

    * `--json` - write a list of JSON: an object for each finding, with `name`, `ok`, `text`, and the `advice` for what is
      wrong
    * `--help`, `-h` - list the options
  """

  use Mix.Task

  alias Mix.Mlx.{Examination, Switches}

  @head "mix mlx.doctor [--json]"

  @requirements ["app.config"]

  @impl true
  def run(arguments) do
    with options when is_list(options) <- Switches.options(arguments, @head, Switches.group(:json)),
         do: examine(options[:json])
  end

  defp examine(json?) do
    findings = Examination.findings(Examination.checks())

    if json?,
      do: IO.puts(JSON.encode!(Enum.map(findings, &Examination.values/1))),
      else: Enum.each(findings, &IO.puts(Examination.line(&1)))

    if not Examination.healthy?(findings), do: exit({:shutdown, 1})
  end
end
