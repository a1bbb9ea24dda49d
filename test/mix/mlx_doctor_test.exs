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

  test "writes JSON" do
    findings = JSON.decode!(capture_io(fn -> Doctor.run(["--json"]) end))
    assert Enum.map(findings, & &1["name"]) == for({name, _check, _advice} <- Examination.checks(), do: name)
    assert Enum.all?(findings, &match?(%{"ok" => true, "text" => _text}, &1))
    finding = {"two", {:error, "bring it back"}, "gone"}
    assert Examination.values(finding) == %{name: "two", ok: false, text: "gone", advice: "bring it back"}
  end

  for {arguments, problem} <- [
        {["x"], "unexpected argument: x"},
        {["--jason"], "unknown option or missing value: --jason; did you mean --json?"},
        {["--json=3"], ~s(--json does not take the value "3")}
      ] do
    test "refuses #{Enum.join(arguments, " ")}" do
      said = capture_io(:stderr, fn -> assert catch_exit(Doctor.run(unquote(arguments))) == {:shutdown, 1} end)
      assert said =~ unquote(problem) <> "\n\nUsage: mix mlx.doctor [--json]\n--help lists the options."
    end
  end

  test "lists its options" do
    assert capture_io(fn -> Doctor.run(["-h"]) end) =~ ~r/^Usage: mix mlx.doctor .*--json +write JSON\n/s
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

  describe "ends with exit status 1" do
    @describetag :tmp_dir

    defp examine(environment) do
      code =
        quote do
          Mix.start()
          Mix.Tasks.Mlx.Doctor.run([])
        end

      assert {:exit, 1, output} = ChildVM.run(code, env: environment, timeout: 120_000)

      assert [_all, problem] =
               Regex.run(
                 ~r/^wrong +compiled function +operations are not fused, so that compiled functions are slow: (.*)\n +-> .*g\+\+.*compiler: Mlx/m,
                 output
               )

      problem
    end

    test "where there is no C++ compiler", %{tmp_dir: path} do
      for name <- ~w(sh erl elixir basename dirname readlink sed uname env which),
          executable = System.find_executable(name),
          do: File.ln_s!(executable, Path.join(path, name))

      assert examine([{"PATH", path}]) == "MLX finds no C++ compiler"
    end

    test "where the compiler fails", %{tmp_dir: path} do
      File.write!(Path.join(path, "g++"), "#!/bin/sh\ntest \"$1\" = --version && exit 0\necho broken\nexit 3\n")
      File.chmod!(Path.join(path, "g++"), 0o755)
      environment = [{"PATH", path <> ":" <> System.fetch_env!("PATH")}]
      assert examine(environment) == "g++ ended with exit status 3: broken"
    end

    test "where there is no folder for kernels", %{tmp_dir: folder} do
      missing = Path.join(folder, "missing")
      assert examine([{"TMPDIR", missing}]) == "the folder for temporary files is missing (TMPDIR is #{missing})"
      File.write!(Path.join(folder, "mlx"), "a file")
      assert examine([{"TMPDIR", folder}]) =~ ~r"^no kernels can be written into #{folder}/mlx/.*/cpu: not a directory$"
    end
  end
end
