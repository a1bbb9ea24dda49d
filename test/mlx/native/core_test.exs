defmodule Mlx.Native.CoreTest do
  # The core without the virtual machine: what fails, waits and is freed on many threads at once.
  use ExUnit.Case, async: true

  alias Mlx.NativeBuild

  @moduletag timeout: 900_000

  @rounds "20"

  test "the scenarios of the stress program give the right values" do
    build = Path.join(Mix.Project.app_path(), "native")
    options = [env: Enum.to_list(NativeBuild.toolchain()), stderr_to_stdout: true]
    assert {_output, 0} = System.cmd("bash", ["bin/build_nif", "stress", build], options)

    assert {output, 0} = System.cmd(Path.join(build, "stress"), [@rounds], stderr_to_stdout: true)
    assert output =~ ~r/^\d+ scenarios, \d+ operations$/m
  end
end
