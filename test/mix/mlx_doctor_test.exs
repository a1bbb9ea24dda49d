defmodule Mix.Tasks.MlxDoctorTest do
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  alias Mix.Mlx.Examination
  alias Mix.Tasks.Mlx.Doctor
  alias Mlx.ChildVM

  test "finds nothing wrong where the tests run" do
    output = capture_io(fn -> Doctor.run([]) end)
    for {name, _check, _advice} <- Examination.checks(), do: assert(output =~ ~r/^ok +#{Regex.escape(name)} /m)
    assert output =~ ~r/MLX +0\.32\.4/
  end

  test "says that compiling is switched off" do
    Mlx.disable_compile()
    output = capture_io(fn -> Doctor.run([]) end)
    assert output =~ ~r/^ok +compiled function +switched off by `Mlx.disable_compile\/0`$/m
  after
    Mlx.enable_compile()
  end

  test "takes no arguments" do
    assert capture_io(:stderr, fn -> assert catch_exit(Doctor.run(["x"])) == {:shutdown, 1} end) =~ "no arguments"
  end

  test "says what to do about what is wrong" do
    findings = Examination.findings([{"one", fn -> "1" end, "never"}, {"two", fn -> raise "gone" end, "bring it back"}])

    assert Enum.map(findings, &Examination.line/1) == [
             "ok     one                1",
             "wrong  two                gone\n       -> bring it back"
           ]

    refute Examination.healthy?(findings)
    assert Examination.healthy?(Enum.take(findings, 1))
  end

  test "ends with exit status 1 where kernels cannot be compiled" do
    code =
      quote do
        Mix.start()
        Mix.Tasks.Mlx.Doctor.run([])
      end

    # The C++ compiler is not to be found, and the shell and the VM are.
    path = Path.join(System.tmp_dir!(), "mlx_doctor_#{System.unique_integer([:positive])}")
    File.mkdir_p!(path)
    on_exit(fn -> File.rm_rf!(path) end)

    for name <- ~w(sh erl elixir basename dirname readlink sed uname env which),
        executable = System.find_executable(name),
        do: File.ln_s!(executable, Path.join(path, name))

    assert {:exit, 1, output} = ChildVM.run(code, env: [{"PATH", path}])
    assert output =~ ~r/^wrong +compiled function +operations are not fused.*\n +-> .*g\+\+.*compiler: Mlx/m
  end
end
