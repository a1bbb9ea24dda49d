defmodule Mlx.Native.CoreTest do
  # The core without the virtual machine: what fails, waits and is freed on many threads at once.
  use ExUnit.Case, async: true

  @moduletag timeout: 900_000

  @rounds "20"

  test "the scenarios of the stress program give the right values" do
    build = Path.join(Mix.Project.app_path(), "native")

    assert {_output, 0} =
             System.cmd("cmake", ["--build", build, "--parallel", "--target", "stress"], stderr_to_stdout: true)

    assert {output, 0} = System.cmd(Path.join(build, "stress"), [@rounds], stderr_to_stdout: true)
    assert output =~ ~r/^\d+ scenarios, \d+ operations$/m
  end
end
