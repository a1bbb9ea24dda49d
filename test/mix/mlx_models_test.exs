defmodule Mix.Tasks.Mlx.ModelsTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureIO

  alias Mix.Tasks.Mlx.Models
  alias Mlx.HubServer

  @moduletag :tmp_dir

  @files %{"config.json" => "{}", "model.safetensors" => {:lfs, :binary.copy("w", 1_499_998)}}

  setup %{tmp_dir: folder} do
    hub = HubServer.start(@files)
    Mlx.Hub.download("org/name", endpoint: hub.url, cache: folder, token: false, progress: false)
    File.mkdir_p!(Path.join(folder, "models--a-longer--name/refs"))
    %{hub: hub}
  end

  defp refusal(arguments) do
    capture_io(:stderr, fn -> assert catch_exit(Models.run(arguments)) == {:shutdown, 1} end)
  end

  defp output(arguments), do: capture_io(fn -> Models.run(arguments) end)

  test "lists the models", %{tmp_dir: folder} do
    day = Date.to_iso8601(Date.utc_today())

    assert [first, second, "2 models, 1.5 MB", ""] = ["--cache", folder] |> output() |> String.split("\n")
    assert first == "a-longer/name  -              0.0 kB  0 files  -"
    assert second =~ ~r/^org\/name       main 01234567  1\.5 MB  2 files  \d{4}-\d\d-\d\d$/
    assert abs(Date.diff(Date.from_iso8601!(String.slice(second, -10..-1)), Date.from_iso8601!(day))) <= 1

    assert output(["--cache", Path.join(folder, "nowhere")]) == "There are no models in the cache.\n"
  end

  test "lists them as JSON", %{tmp_dir: folder} do
    assert [%{"name" => "a-longer/name", "revisions" => [], "size" => 0, "last_used" => nil}, model] =
             ["--json", "--cache", folder] |> output() |> JSON.decode!()

    assert %{"name" => "org/name", "size" => 1_500_000, "revisions" => [revision]} = model
    assert revision["commit"] == HubServer.commit()
    assert revision["names"] == ["main"]
    assert {:ok, _date, 0} = DateTime.from_iso8601(revision["modified"])
    assert output(["--json", "--cache", Path.join(folder, "nowhere")]) == "[]\n"
  end

  test "deletes models and revisions", %{tmp_dir: folder, hub: hub} do
    arguments = ["--cache", folder, "--delete", "org/name@main"]
    assert output(arguments) == "Deleted org/name@main: 1.5 MB\n"
    refute File.exists?(Path.join(folder, "models--org--name"))
    assert refusal(arguments) =~ "Mlx.Hub.delete: org/name@main is not in the cache #{folder}"

    Mlx.Hub.download("org/name", endpoint: hub.url, cache: folder, token: false, progress: false)
    json = output(["--cache", folder, "--delete", "org/name", "--delete", "a-longer/name", "--json"])
    assert [%{"name" => "org/name", "freed" => freed}, %{"freed" => 0}] = JSON.decode!(json)
    assert freed >= 1_500_000
    assert Mlx.Hub.models(cache: folder) == []
  end

  test "shows how it is used" do
    assert output(["-h"]) =~ ~r/^Usage: mix mlx.models .*--delete NAME +delete a model.*--cache FOLDER .*--json /s
    assert refusal(["more"]) =~ ~r/unexpected argument: more\n\nUsage/
    assert refusal(["--nonsense"]) =~ "unknown option or missing value: --nonsense"
    assert refusal(["--json=maybe"]) =~ ~s(--json does not take the value "maybe")
    assert refusal(["--cache"]) =~ "unknown option or missing value: --cache"
    assert refusal(["--delete"]) =~ "unknown option or missing value: --delete"
    assert refusal(["--delete", "../.."]) =~ "Mlx.Hub.delete: expected the name of a repository"
  end
end
