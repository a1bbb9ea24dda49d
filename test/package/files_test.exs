defmodule Mlx.Package.FilesTest do
  # What the package on Hex holds. That it builds and is installed: fresh_project_test.exs.
  use ExUnit.Case, async: true

  @root Path.expand("../..", __DIR__)
  @listed Mix.Project.config()[:package][:files]

  defp listed?(path), do: Enum.any?(@listed, &(path == &1 or String.starts_with?(path, &1 <> "/")))

  defp read(path), do: File.read!(Path.join(@root, path))

  test "what is listed is there, but for the checksums, which a release makes" do
    assert for(path <- @listed, not File.exists?(Path.join(@root, path)), do: path) -- ["archives.txt"] == []
  end

  test "the documentation is made of files of the package" do
    docs = Mix.Project.config()[:docs].()
    assert for(extra <- docs[:extras], not listed?(extra), do: extra) == []
    assert Enum.any?(docs[:extras], &String.ends_with?(&1, ".livemd"))
  end

  test "what is read while the library is compiled is in the package" do
    read =
      for path <- Path.wildcard(Path.join(@root, "{lib,mix}/**/*.{ex,exs}")),
          [name] <-
            Regex.scan(~r{"((?:setup|guides|conformance|test|bench|c_src)/[a-z_./]+)"}, File.read!(path),
              capture: :all_but_first
            ),
          do: name

    assert "setup/sources.txt" in read
    assert for(name <- read, not listed?(name), do: name) == []
  end

  test "the scripts of the package call scripts of the package" do
    for path <- ~w(bin/setup bin/build_nif),
        [name] <- Regex.scan(~r{\$root/([a-z][a-z_/.]*[a-z])}, read(path), capture: :all_but_first) do
      assert listed?(name), "#{path} calls #{name}, which is not in the package"
    end
  end
end
