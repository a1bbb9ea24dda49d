defmodule Mlx.HubTest do
  use ExUnit.Case, async: true

  alias Mlx.{Hub, HubServer}

  doctest Mlx.Hub

  @moduletag :tmp_dir

  @weights :binary.copy("weights!", 40_000)
  @files %{
    ".gitattributes" => "*.safetensors filter=lfs\n",
    "README.md" => "# A model",
    "config.json" => ~s({"model_type": "llama"}),
    "empty.txt" => "",
    "1_Pooling/config.json" => "{}",
    "model.safetensors" => {:lfs, @weights},
    "onnx/model.onnx" => {:lfs, "other weights"}
  }

  # Nothing of the machine's own settings, and no time to lose.
  defp options(hub, folder, more \\ []) do
    [endpoint: hub.url, cache: Path.join(folder, "hub"), token: false, progress: false, backoff: 1] ++ more
  end

  defp cache(folder), do: Path.join(folder, "hub/models--org--name")

  defp paths(hub), do: for(request <- HubServer.requests(hub), do: {request.server, request.method, request.path})

  describe "download" do
    test "places the files of a language model as Python does", %{tmp_dir: folder} do
      hub = HubServer.start(@files)
      snapshot = Hub.download("org/name", options(hub, folder))

      assert snapshot == Path.join([cache(folder), "snapshots", HubServer.commit()])
      assert File.ls!(snapshot) |> Enum.sort() == ~w(1_Pooling config.json empty.txt model.safetensors)
      assert File.read!(Path.join(snapshot, "model.safetensors")) == @weights
      assert File.read!(Path.join(snapshot, "config.json")) == @files["config.json"]
      assert File.read!(Path.join(snapshot, "empty.txt")) == ""
      assert File.read!(Path.join(cache(folder), "refs/main")) == HubServer.commit()

      sha256 = HubServer.hex(:sha256, @weights)
      assert File.read_link!(Path.join(snapshot, "model.safetensors")) == "../../blobs/#{sha256}"
      assert File.read_link!(Path.join(snapshot, "1_Pooling/config.json")) == "../../../blobs/#{HubServer.git("{}")}"
      blobs = [sha256 | for(text <- [@files["config.json"], "", "{}"], do: HubServer.git(text))]
      assert File.ls!(Path.join(cache(folder), "blobs")) |> Enum.sort() == Enum.sort(blobs)
      assert File.ls!(Path.join(folder, "hub/.locks/models--org--name")) == []
      assert File.read!(Path.join(folder, "hub/CACHEDIR.TAG")) =~ ~r/\ASignature: 8a477f597d28d172789f06886806bc55\n/
    end

    test "asks for nothing twice", %{tmp_dir: folder} do
      hub = HubServer.start(@files)
      snapshot = Hub.download("org/name", options(hub, folder))
      before = length(paths(hub))

      assert Hub.download("org/name", options(hub, folder)) == snapshot
      assert Enum.drop(paths(hub), before) == [{:hub, "GET", "/api/models/org/name/revision/main"}]
      assert Hub.download("org/name@#{HubServer.commit()}", options(hub, folder)) == snapshot
      assert length(paths(hub)) == before + 1
      assert Hub.download("org/name", options(hub, folder, offline: true)) == snapshot
      assert length(paths(hub)) == before + 1
    end

    test "takes the files of patterns", %{tmp_dir: folder} do
      hub = HubServer.start(@files)

      for {more, expected} <- [
            {[files: "README*"], ["README.md"]},
            {[files: ["*.json"], ignore: ["1_*"]], ["README.md", "config.json"]},
            {[files: ["onnx/"]], ["README.md", "config.json", "onnx/model.onnx"]},
            {[files: :all], Map.keys(@files)}
          ] do
        snapshot = Hub.download("org/name", options(hub, folder, more))

        found =
          for path <- Path.wildcard(snapshot <> "/**", match_dot: true),
              File.regular?(path),
              do: Path.relative_to(path, snapshot)

        assert Enum.sort(found) == Enum.sort(expected)
      end

      assert_raise Mlx.Error,
                   ~r/^Mlx.Hub.download: org\/name has none of the files that are asked for; it has .*README.md/,
                   fn ->
                     Hub.download("org/name", options(hub, folder, files: ["*.bin"]))
                   end
    end

    test "takes a GGUF file where it is the only one, and asks to choose among several", %{tmp_dir: folder} do
      hub = HubServer.start(%{"config.json" => "{}", "a.gguf" => {:lfs, "GGUF a"}})
      assert File.exists?(Path.join(Hub.download("org/name", options(hub, folder)), "a.gguf"))

      hub = HubServer.start(%{"a.gguf" => {:lfs, "GGUF a"}, "b.gguf" => {:lfs, "GGUF b"}})

      assert_raise Mlx.Error,
                   ~s(Mlx.Hub.download: org/name has several GGUF files: a.gguf, b.gguf; choose by files: ["a.gguf"], ) <>
                     ~s(or by the name "org/name/a.gguf"),
                   fn -> Hub.download("org/name", options(hub, Path.join(folder, "several"))) end

      path = Hub.resolve("org/name/b.gguf", options(hub, Path.join(folder, "several"), files: ["*.json"]))
      assert File.read!(path) == "GGUF b"
    end

    test "knows revisions, also those with slashes", %{tmp_dir: folder} do
      hub = HubServer.start(@files)
      snapshot = Hub.download("org/name@refs/pr/1", options(hub, folder))
      assert File.read!(Path.join(cache(folder), "refs/refs/pr/1")) == HubServer.commit()
      assert Hub.path("org/name@refs/pr/1", options(hub, folder)) == snapshot
      assert Hub.path("org/name", options(hub, folder)) == nil
      assert Hub.download("org/name", options(hub, folder, revision: "v1.0")) == snapshot
      assert {:hub, "GET", "/api/models/org/name/revision/refs%2Fpr%2F1"} in paths(hub)

      assert_raise ArgumentError, ~r/^Mlx.Hub.download: the name says the revision "v1.0", and :revision "main"/, fn ->
        Hub.download("org/name@v1.0", options(hub, folder, revision: "main"))
      end
    end

    test "reads a list of many pages", %{tmp_dir: folder} do
      files = for index <- 1..25, into: %{}, do: {"part/#{index}.json", "#{index}"}
      hub = HubServer.start(files, page: 4)
      snapshot = Hub.download("org/name", options(hub, folder, parallel: 8))
      assert length(File.ls!(Path.join(snapshot, "part"))) == 25
    end

    test "tells of its progress", %{tmp_dir: folder} do
      hub = HubServer.start(@files)
      me = self()
      Hub.download("org/name", options(hub, folder) |> Keyword.put(:progress, &send(me, {:progress, &1})))
      total = byte_size(@weights) + byte_size(@files["config.json"]) + 2
      assert_received {:progress, %{name: "org/name", of_files: 4, of_bytes: ^total}}

      assert ExUnit.CaptureIO.capture_io(:stderr, fn ->
               Hub.download("org/name", options(hub, Path.join(folder, "bar")) |> Keyword.put(:progress, true))
             end) =~ ~r"\rorg/name: \[####################\] 100 %, 4/4 files, 0\.3 of 0\.3 MB.*\n\z"

      # Nobody waits for what is here.
      assert ExUnit.CaptureIO.capture_io(:stderr, fn ->
               Hub.download("org/name", options(hub, Path.join(folder, "bar")) |> Keyword.put(:progress, true))
             end) == ""
    end
  end

  describe "file" do
    test "brings one file, and asks only for its head when it is there", %{tmp_dir: folder} do
      hub = HubServer.start(@files)
      path = Hub.file("org/name", "model.safetensors", options(hub, folder))
      assert path == Path.join([cache(folder), "snapshots", HubServer.commit(), "model.safetensors"])
      assert File.read!(path) == @weights
      assert Hub.file("org/name", "model.safetensors", options(hub, folder)) == path
      assert Hub.file("org/name", "model.safetensors", options(hub, folder, offline: true)) == path
      resolve = "/org/name/resolve/main/model.safetensors"
      by_commit = "/org/name/resolve/#{HubServer.commit()}/model.safetensors"
      cdn = "/cdn/#{HubServer.hex(:sha256, @weights)}"

      assert paths(hub) == [
               {:hub, "HEAD", resolve},
               {:hub, "GET", by_commit},
               {:cdn, "GET", cdn},
               {:hub, "HEAD", resolve}
             ]
    end

    test "needs no size", %{tmp_dir: folder} do
      text = @files["config.json"]

      answer = fn
        %{method: "HEAD"} ->
          &HubServer.send_bytes(
            &1,
            HubServer.head(200, [{"x-repo-commit", HubServer.commit()}, {"etag", ~s(W/"#{HubServer.git(text)}")}])
          )

        _get ->
          &HubServer.send_bytes(&1, [HubServer.head(200, []), text])
      end

      hub = HubServer.start(@files, answer: answer)
      assert File.read!(Hub.file("org/name", "config.json", options(hub, folder))) == text
    end
  end

  describe "what cannot be had" do
    # status, headers, token, what is said
    @refusals [
      {401, [{"x-error-code", "RepoNotFound"}], false,
       "URL has no repository org/name without a token: the name is wrong, or the repository is private or gated, for which " <>
         "set HF_TOKEN to a token of URL/settings/tokens and accept the terms at URL/org/name"},
      {401, [], "hf_sesame",
       "URL has no repository org/name for this token: the name is wrong, the repository is private, or the token of HF_TOKEN " <>
         "is not valid"},
      {403, [{"x-error-code", "GatedRepo"}], "hf_sesame",
       "org/name is gated: accept its terms at URL/org/name, and give a token of that account that may read it as HF_TOKEN"},
      {403, [{"x-error-code", "GatedRepo"}], false,
       "org/name is gated: accept its terms at URL/org/name, and set HF_TOKEN to a token of URL/settings/tokens"},
      {403, [], "hf_sesame",
       "the Hub forbids org/name: look at URL/org/name whether its terms have to be accepted, and give a token of that " <>
         "account that may read it as HF_TOKEN"},
      {404, [{"x-error-code", "RevisionNotFound"}], false, ~s(org/name has no revision "main")},
      {404, [], false, "URL has no repository org/name, or not this revision"},
      {418, [], false, "URL/api/models/org/name/revision/main answered with the status 418"}
    ]

    for {{status, headers, token, said}, index} <- Enum.with_index(@refusals) do
      test "is told of a status #{status} (#{index})", %{tmp_dir: folder} do
        hub = HubServer.start(@files, answer: fn _request -> {unquote(status), unquote(headers), "no"} end)
        message = "Mlx.Hub.download: " <> String.replace(unquote(said), "URL", hub.url)
        options = hub |> options(folder) |> Keyword.put(:token, unquote(token))
        assert_raise Mlx.Error, message, fn -> Hub.download("org/name", options) end
        assert length(paths(hub)) == 1
      end
    end

    test "is told of repositories, revisions and files", %{tmp_dir: folder} do
      hub = HubServer.start(@files)
      options = options(hub, folder)

      for {call, said} <- [
            {fn -> Hub.download("org/other", options) end, "#{hub.url} has no repository org/other without a token"},
            {fn -> Hub.download("org/name@v2", options) end, ~s(org/name has no revision "v2")},
            {fn -> Hub.file("org/name", "none.json", options) end,
             ~s(org/name has no file "none.json" in the revision "main")},
            {fn -> Hub.file("org/name@v2", "none.json", options) end, ~s(org/name has no revision "v2")}
          ] do
        error = assert_raise Mlx.Error, call
        assert error.message =~ said
      end
    end

    test "is told of names, paths and options that are none", %{tmp_dir: folder} do
      for name <- [
            "",
            "/",
            "a/b/c",
            "../../x",
            "/etc",
            "a//b",
            "a\\b",
            "a\0b",
            "a--b/c",
            "a..b",
            ".a",
            "-a",
            "a.git",
            "a b",
            "a/b@",
            "ä"
          ] do
        assert_raise ArgumentError, ~r/^Mlx.Hub.download: expected /, fn -> Hub.download(name, cache: folder) end
      end

      for revision <- ["../x", "/x", "a\\b", "a\0", "a?b", "a/../b", "", 1, :main] do
        assert_raise ArgumentError, ~r/^Mlx.Hub.path: expected a revision to be a branch, a tag or a commit/, fn ->
          Hub.path("org/name", cache: folder, revision: revision)
        end
      end

      for path <- ["", "/etc/passwd", "../x", "a/../../x", "a\\b", "a\0b", "C:x", "a//b", "./a", "a\n"] do
        assert_raise ArgumentError, ~r/^Mlx.Hub.file: expected the path of a file/, fn -> Hub.file("org/name", path) end
      end

      for {option, wrong} <- [
            files: 1,
            files: [:a],
            files: [<<255>>],
            ignore: :all,
            token: 1,
            cache: 1,
            cache: "a\0",
            endpoint: "ftp://x",
            endpoint: "http://user:pass@x",
            endpoint: 1,
            offline: "yes",
            progress: 1,
            parallel: 0,
            timeout: 1.5,
            connect_timeout: nil,
            attempts: 0,
            backoff: -1
          ] do
        assert_raise ArgumentError, ~r/^Mlx.Hub.download: expected :#{option} to be /, fn ->
          Hub.download("a/b", [{option, wrong}])
        end
      end

      error = assert_raise ArgumentError, fn -> Hub.download("a/b", token: "hf_sesame\r\nx: y") end
      refute error.message =~ "sesame"
    end

    test "is told of a hub that is not there, or asks nobody", %{tmp_dir: folder} do
      {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
      {:ok, port} = :inet.port(listener)
      :gen_tcp.close(listener)
      hub = %{url: "http://127.0.0.1:#{port}"}

      assert_raise Mlx.Error,
                   ~r/^Mlx.Hub.download: cannot reach 127.0.0.1 \(connection refused\), so this machine may be offline, and org\/name in the revision "main" is not in the cache/,
                   fn ->
                     Hub.download("org/name", options(hub, folder))
                   end

      assert_raise Mlx.Error,
                   ~r/^Mlx.Hub.resolve: cannot reach .* is not in the cache .*; no file or folder of this machine has the path nowhere$/,
                   fn -> Hub.resolve("nowhere", options(hub, folder)) end

      assert_raise Mlx.Error,
                   ~r/^Mlx.Hub.file: the Hub is not asked \(offline\), and a.json of org\/name in the revision "main" is not in the cache/,
                   fn ->
                     Hub.file("org/name", "a.json", options(hub, folder, offline: true))
                   end
    end

    test "is taken from the cache where the hub cannot be reached", %{tmp_dir: folder} do
      hub = HubServer.start(@files)
      snapshot = Hub.download("org/name", options(hub, folder))
      gone = %{url: "http://127.0.0.1:1"}

      log =
        ExUnit.CaptureLog.capture_log(fn ->
          assert Hub.download("org/name", options(gone, folder)) == snapshot
          assert Hub.file("org/name", "config.json", options(gone, folder)) == Path.join(snapshot, "config.json")
        end)

      assert log =~ "cannot reach 127.0.0.1"

      File.rm!(Path.join(snapshot, "config.json"))

      assert_raise Mlx.Error, ~r/and org\/name in the revision "main" lacks config.json in the cache/, fn ->
        Hub.download("org/name", options(gone, folder, offline: true))
      end

      # What the hub refuses is no reason to take what is cached.
      hub = HubServer.start(@files, answer: fn _request -> {403, [], ""} end)
      assert_raise Mlx.Error, ~r/forbids/, fn -> Hub.download("org/name", options(hub, folder)) end
    end
  end

  describe "the cache" do
    test "is listed and deleted", %{tmp_dir: folder} do
      hub = HubServer.start(@files)
      options = options(hub, folder)
      snapshot = Hub.download("org/name", options)
      cache = [cache: Path.join(folder, "hub")]
      size = byte_size(@weights) + byte_size(@files["config.json"]) + 2

      assert [%{name: "org/name", size: ^size, revisions: [revision], last_used: %DateTime{}, folder: place}] =
               Hub.models(cache)

      assert place == cache(folder)

      assert %{commit: commit, names: ["main"], files: 4, size: ^size, folder: ^snapshot, modified: %DateTime{}} =
               revision

      assert commit == HubServer.commit()

      # Another commit shares one of its files.
      other = String.duplicate("ab", 20)
      File.mkdir_p!(Path.join([place, "snapshots", other]))
      blob = HubServer.git(@files["config.json"])
      File.ln_s!("../../blobs/#{blob}", Path.join([place, "snapshots", other, "config.json"]))
      assert Hub.delete("org/name@main", cache) > byte_size(@weights)
      assert [%{revisions: [%{commit: ^other, names: []}]}] = Hub.models(cache)
      assert File.ls!(Path.join(place, "blobs")) == [blob]
      assert Hub.path("org/name", cache) == nil

      assert_raise Mlx.Error, ~r/^Mlx.Hub.delete: org\/name@main is not in the cache/, fn ->
        Hub.delete("org/name@main", cache)
      end

      assert Hub.delete("org/name", cache) == byte_size(@files["config.json"])
      assert Hub.models(cache) == []
    end

    test "of a damaged or foreign folder is listed without harm", %{tmp_dir: folder} do
      for path <- [
            "models--a--b/snapshots/x/y",
            "models--../refs",
            "datasets--a--b",
            "models--c",
            "models--d--e/refs/main"
          ] do
        File.mkdir_p!(Path.join(folder, path))
      end

      File.ln_s!("/", Path.join(folder, "models--a--b/snapshots/root"))
      names = for model <- Hub.models(cache: folder), do: model.name
      assert names == ["a/b", "c", "d/e"]
      assert Hub.path("d/e", cache: folder) == nil
    end
  end

  describe "resolve" do
    test "leaves what is there, and refuses paths that are not", %{tmp_dir: folder} do
      assert Hub.resolve(folder) == folder
      assert Hub.resolve(to_charlist(folder)) == folder

      for path <- [
            "nowhere.gguf",
            "./nowhere",
            "/nowhere",
            "../a/b",
            "models/a.gguf",
            "lib/nowhere",
            "a/b/../c",
            "a\0b",
            "~/x"
          ] do
        assert_raise Mlx.Error, ~r/^Mlx.Hub.resolve: cannot read .*: no such file or folder/s, fn ->
          Hub.resolve(path)
        end
      end
    end
  end
end
