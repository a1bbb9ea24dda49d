defmodule Mix.Tasks.Mlx.Doctor do
  @shortdoc "Looks for what is wrong with MLX on this machine"

  @moduledoc """
  Looks for what is wrong with MLX on this machine.

      mix mlx.doctor

  It shows the platform, the versions of everything that takes part, and the device, and tries the NIF, an operation,
  linear algebra, a compiled function, and Nx. Beside what is wrong it says what to do; the exit status is 1 then.
  """

  use Mix.Task

  alias Mix.Mlx.Examination

  @requirements ["app.config"]

  @impl true
  def run([]) do
    findings = Examination.findings(Examination.checks())
    for finding <- findings, do: Mix.shell().info(Examination.line(finding))
    if not Examination.healthy?(findings), do: exit({:shutdown, 1})
  end

  def run(arguments),
    do: Mix.Mlx.CommandLine.exit_with("mix mlx.doctor takes no arguments, got: #{Enum.join(arguments, " ")}")
end
