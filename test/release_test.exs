defmodule ReleaseTest do
  # bin/release in a repository of its own, with a `mix` that notes what it was asked for.
  use ExUnit.Case, async: true

  alias Mlx.FileTree

  @root Path.expand("..", __DIR__)
  @moduletag :tmp_dir

  @changelog """
  # Changelog

  ## [Unreleased]

  ### Added

  - A thing.
  """

  @mix ~S"""
  #!/bin/sh
  echo "$@" >>"$WORLD/calls"
  case $1 in mlx.precompile) cp "$WORLD/list" archives.txt ;; esac
  """

  setup %{tmp_dir: world} do
    project = Path.join(world, "project")
    mix = "defmodule M do\n  @version \"0.7.0-dev\"\n\n  @source_url \"https://example.com/a/mlx\"\nend\n"

    FileTree.write!(project, %{
      "mix.exs" => mix,
      "CHANGELOG.md" => @changelog,
      ".gitignore" => "/archives/\n/archives.txt\n",
      "setup/sources.txt" => "mlx-c 0.7.0 any crate:mlx-sys 0\n",
      "bin/precompile" => "#!/bin/sh\nprintf '%s\\n' one-linux two-mac\n",
      "bin/release" => File.read!(Path.join(@root, "bin/release"))
    })

    FileTree.write!(world, %{"bin/mix" => @mix})

    for file <- ["bin/mix", "project/bin/release", "project/bin/precompile"],
        do: File.chmod!(Path.join(world, file), 0o755)

    git(project, ~w(init -q -b main))
    git(project, ~w(config user.name Tester))
    git(project, ~w(config user.email tester@example.com))
    git(project, ~w(remote add origin git@example.com:a/mlx.git))
    git(project, ~w(add -A))
    git(project, ~w(commit -q -m First))
    %{project: project}
  end

  defp git(project, arguments) do
    {output, 0} = System.cmd("git", arguments, cd: project, stderr_to_stdout: true)
    String.trim(output)
  end

  defp release(world, arguments) do
    environment = [{"WORLD", world}, {"PATH", "#{world}/bin:#{System.get_env("PATH")}"}]
    bash = System.get_env("MLX_TEST_BASH", "bash")
    options = [cd: Path.join(world, "project"), env: environment, stderr_to_stdout: true]
    System.cmd(bash, [Path.join(world, "project/bin/release") | arguments], options)
  end

  defp list(names), do: for(name <- names, do: "mlx-0.7.0-nif-2.17-#{name}.tar.gz 100 #{String.duplicate("a", 64)}\n")

  test "the steps, in their order", %{tmp_dir: world, project: project} do
    assert {output, 0} = release(world, ["prepare", "0.7.0"])
    assert output =~ "git push origin HEAD v0.7.0"
    assert File.read!(Path.join(project, "mix.exs")) =~ ~s(  @version "0.7.0"\n)
    changelog = File.read!(Path.join(project, "CHANGELOG.md"))
    assert changelog =~ ~r/## \[Unreleased\]\n\n## \[0\.7\.0\] - \d{4}-\d\d-\d\d\n\n### Added\n\n- A thing\.\n\z/
    assert git(project, ~w(log -1 --format=%s)) == "Release 0.7.0"
    assert git(project, ~w(rev-parse v0.7.0^{commit})) == git(project, ~w(rev-parse HEAD))

    assert {output, 1} = release(world, ["publish"])
    assert output =~ "there is no archives.txt; bin/release checksums writes it"
    File.mkdir!(Path.join(project, "archives"))
    File.write!(Path.join(world, "list"), list(~w(one-linux two-mac)))
    assert {_output, 0} = release(world, ["checksums"])
    assert {_output, 0} = release(world, ["publish"])
    assert File.read!(Path.join(world, "calls")) == "mlx.precompile --checksums --output archives\nhex.publish\n"

    assert {_output, 0} = release(world, ["next", "0.7.1-dev"])
    assert File.read!(Path.join(project, "mix.exs")) =~ ~s(@version "0.7.1-dev")
    assert {output, 1} = release(world, ["publish"])
    assert output =~ "a version is like 0.7.0"
  end

  test "what is not ready is said before anything is changed", %{tmp_dir: world, project: project} do
    for {arguments, change, words} <- [
          {["prepare", "0.8.0"], fn -> :ok end,
           "the minor version is that of mlx-c, which is 0.7.0: 0.8.0 is not 0.7.x"},
          {["prepare", "seven"], fn -> :ok end, "a version is like 0.7.0 or 0.7.0-rc.1, and not seven"},
          {["prepare", "0.7.0"], fn -> File.write!(Path.join(project, "new"), "") end,
           "changes that are not committed"},
          {["checksums"], fn -> :ok end, "0.7.0-dev is no version that is released"},
          {["next", "0.7.1"], fn -> :ok end, "the next version ends with -dev, and 0.7.1 does not"},
          {["publish"], fn -> :ok end, "a version is like 0.7.0 or 0.7.0-rc.1, and not 0.7.0-dev"},
          {["prepare", "0.7.0"], fn -> git(project, ~w(tag v0.7.0)) end, "there is a tag v0.7.0 already"},
          {["prepare", "0.7.1"], fn -> git(project, ~w(remote set-url origin https://example.com/b)) end,
           "origin is https://example.com/b"},
          {["other"], fn -> :ok end, "bin/release prepare VERSION"}
        ] do
      change.()
      head = git(project, ~w(rev-parse HEAD))
      assert {output, 1} = release(world, arguments)
      assert output =~ words
      assert git(project, ~w(rev-parse HEAD)) == head
      assert File.read!(Path.join(project, "mix.exs")) =~ "0.7.0-dev"
      File.rm(Path.join(project, "new"))
    end
  end

  test "a changelog without a change is no release", %{tmp_dir: world, project: project} do
    File.write!(
      Path.join(project, "CHANGELOG.md"),
      "# Changelog\n\n## [Unreleased]\n\n## [0.6.0] - 2026-01-01\n\n- Old.\n"
    )

    git(project, ~w(commit -q -a -m Empty))
    assert {output, 1} = release(world, ["prepare", "0.7.0"])
    assert output =~ "CHANGELOG.md has nothing below [Unreleased]"
  end

  test "each target has one archive, of this version, and no other is trusted", %{tmp_dir: world, project: project} do
    assert {_output, 0} = release(world, ["prepare", "0.7.0"])
    File.mkdir!(Path.join(project, "archives"))
    [one, two] = list(~w(one-linux two-mac))

    for wrong <- [
          [one],
          [one, two, two],
          [one, String.replace(two, "0.7.0", "0.7.1")],
          [one, String.replace(two, " 100 ", " 0 ")],
          list(~w(one-linux two-mac three))
        ] do
      File.write!(Path.join(world, "list"), wrong)
      assert {output, 1} = release(world, ["checksums"])
      assert output =~ "archives.txt has "
      assert {_output, 1} = release(world, ["publish"])
    end
  end
end
