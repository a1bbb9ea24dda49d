defmodule Mlx.Hub.FaultsTest do
  # A server that breaks, truncates, redirects and lies.
  use ExUnit.Case, async: true

  alias Mlx.{Hub, HubServer}

  @moduletag :tmp_dir

  @weights for index <- 1..60_000, into: "", do: <<index::32>>
  @path "model.safetensors"
  @files %{"config.json" => ~s({"a": 1}), @path => {:lfs, @weights}}

  defp options(hub, folder, more \\ []) do
    defaults = [endpoint: hub.url, cache: folder, token: false, progress: false, backoff: 1, attempts: 3]
    Keyword.merge(defaults ++ [timeout: 2_000, connect_timeout: 2_000], more)
  end

  # A hub whose answers for the weights are those of `fun`, which is called with the request and the number of its call.
  defp hub(fun, files \\ @files), do: HubServer.start(files, answer: numbered(fun))

  defp numbered(fun) do
    counter = :counters.new(1, [])

    fn
      %{server: :cdn} = request ->
        :counters.add(counter, 1, 1)
        fun.(request, :counters.get(counter, 1))

      _other ->
        :hub
    end
  end

  defp weights(hub, folder, more \\ []), do: Hub.file("org/name", @path, options(hub, folder, more))
  defp ranges(hub), do: for(%{server: :cdn} = request <- HubServer.requests(hub), do: request.headers["range"])
  defp blobs(folder), do: folder |> Path.join("models--org--name/blobs") |> File.ls!()

  defp said(fun), do: assert_raise(Mlx.Error, fun).message

  # An answer as if nothing was wrong, of which only so many bytes are sent.
  defp part(content, count, status \\ 200, headers \\ []) do
    fn socket ->
      length = {"content-length", byte_size(content)}
      HubServer.send_bytes(socket, [HubServer.head(status, [length | headers]), binary_part(content, 0, count)])
    end
  end

  describe "a download that breaks" do
    test "goes on where it ended", %{tmp_dir: folder} do
      hub = hub(fn _request, number -> if number == 1, do: part(@weights, 100_000), else: :hub end)
      assert File.read!(weights(hub, folder)) == @weights
      assert ranges(hub) == [nil, "bytes=100000-"]
      assert blobs(folder) == [HubServer.hex(:sha256, @weights)]
    end

    test "by a reset goes on as well", %{tmp_dir: folder} do
      reset = fn socket ->
        part(@weights, 100_000).(socket)
        Process.sleep(50)
        HubServer.reset(socket)
      end

      hub = hub(fn _request, number -> if number == 1, do: reset, else: :hub end)
      assert File.read!(weights(hub, folder)) == @weights
      assert [nil | _] = ranges(hub)
    end

    test "is given up after some attempts, and goes on with the next call", %{tmp_dir: folder} do
      hub = hub(fn _request, number -> if number <= 3, do: part(@weights, 1000, 200), else: :hub end)

      assert said(fn -> weights(hub, folder) end) =~
               ~r/closed the connection, after 3 attempts$|ends after .* bytes, after 3 attempts$/

      assert [unfinished] = blobs(folder)
      assert unfinished =~ ".incomplete"
      refute File.exists?(Path.join(folder, "models--org--name/snapshots/#{HubServer.commit()}/#{@path}"))
      assert File.read!(weights(hub, folder)) == @weights
    end

    test "begins anew where the server knows no ranges", %{tmp_dir: folder} do
      hub =
        hub(fn _request, number -> if number == 1, do: part(@weights, 100_000), else: {200, [], @weights} end)

      assert File.read!(weights(hub, folder)) == @weights
      assert ranges(hub) == [nil, "bytes=100000-"]
    end

    test "begins anew where the server sends another part", %{tmp_dir: folder} do
      size = byte_size(@weights)
      other = {206, [{"content-range", "bytes 5-#{size - 1}/#{size}"}], binary_part(@weights, 5, size - 5)}

      for {wrong, index} <- [
            {other, 0},
            {{206, [{"content-range", "bytes 100000-#{size}/#{size + 1}"}], "xx"}, 1},
            {{206, [{"content-range", "nonsense"}], "xx"}, 2},
            {{416, [], ""}, 3}
          ] do
        folder = Path.join(folder, "#{index}")

        hub =
          hub(fn
            _request, 1 -> part(@weights, 100_000)
            _request, 2 -> wrong
            _request, _more -> :hub
          end)

        assert File.read!(weights(hub, folder)) == @weights
        assert Enum.take(ranges(hub), 2) == [nil, "bytes=100000-"]
        assert List.last(ranges(hub)) == nil
      end
    end

    test "leaves what another file of that name would have left", %{tmp_dir: folder} do
      for {remains, index} <-
            Enum.with_index(["wrong bytes", String.duplicate("x", byte_size(@weights)), @weights <> "more"]) do
        folder = Path.join(folder, "#{index}")
        blobs = Path.join(folder, "models--org--name/blobs")
        File.mkdir_p!(blobs)
        File.write!(Path.join(blobs, HubServer.hex(:sha256, @weights) <> ".mlx.incomplete"), remains)
        assert File.read!(weights(HubServer.start(@files), folder)) == @weights
      end
    end

    test "replaces a blob of another size", %{tmp_dir: folder} do
      blobs = Path.join(folder, "models--org--name/blobs")
      File.mkdir_p!(blobs)
      File.write!(Path.join(blobs, HubServer.hex(:sha256, @weights)), "truncated")
      assert File.read!(weights(HubServer.start(@files), folder)) == @weights
    end
  end

  describe "a server that lies" do
    test "about the bytes is found out", %{tmp_dir: folder} do
      lie = String.duplicate("x", byte_size(@weights))
      hub = hub(fn _request, _number -> {200, [], lie} end)

      assert said(fn -> weights(hub, folder) end) =~
               ~r/^Mlx.Hub.file: .* has not the checksum [0-9a-f]{64} that the Hub tells, twice in a row$/

      assert blobs(folder) == []

      hub = hub(fn _request, number -> if number == 1, do: {200, [], lie}, else: :hub end)
      assert File.read!(weights(hub, folder)) == @weights
    end

    test "about a file of Git is found out", %{tmp_dir: folder} do
      hub =
        HubServer.start(@files,
          answer: fn request ->
            if request.path =~ "config.json" and request.method == "GET", do: {200, [], ~s({"a": 2})}, else: :hub
          end
        )

      assert said(fn -> Hub.download("org/name", options(hub, folder)) end) =~ ~r/config.json has not the checksum/
      refute Hub.path("org/name", cache: folder)
    end

    test "about the length is found out", %{tmp_dir: folder} do
      for {answer, said} <- [
            {{200, [], @weights <> "more"}, "sends more than 240000 bytes"},
            {{200, [], binary_part(@weights, 0, 1000)}, "ends after 1000 of 240000 bytes|closed"},
            {{200, [{"content-length", "-5"}], ""}, "a length that is none"},
            {{200, [{"content-length", "many"}], ""}, "a length that is none"},
            {&HubServer.send_bytes(&1, [HubServer.head(200, []), @weights, "more"]), "sends more than 240000 bytes"}
          ] do
        hub = hub(fn _request, _number -> answer end)

        assert said(fn -> weights(hub, Path.join(folder, "#{System.unique_integer()}")) end) =~
                 ~r/#{said}.*, after 3 attempts$/
      end
    end

    test "about what HTTP is gets a sentence", %{tmp_dir: folder} do
      for bytes <- [
            "\0\1\2\3\r\n\r\n",
            "",
            "HTTP/1.1 abc OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nZZZ\r\nabc",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-5\r\nabc",
            ["HTTP/1.1 200 OK\r\nx: ", String.duplicate("y", 100_000), "\r\n\r\n"],
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\nno gzip",
            "HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 1\r\n\r\nx",
            for(seed <- 1..1, do: Enum.map(1..500, &rem(&1 * 7919 * seed, 256)))
          ] do
        hub = hub(fn _request, _number -> &HubServer.send_bytes(&1, bytes) end)
        assert said(fn -> weights(hub, folder, attempts: 1, timeout: 500) end) =~ ~r/^Mlx.Hub.file: /
      end
    end

    test "in any byte gets a sentence or the right file", %{tmp_dir: folder} do
      text = ~s({"a": 1})

      answers = [
        [HubServer.head(200, [{"content-length", byte_size(text)}, {"content-range", "bytes 0-7/8"}]), text],
        [
          HubServer.head(200, [{"transfer-encoding", "chunked"}]),
          "4\r\n",
          ~s({"a"),
          "\r\n4;x=y\r\n",
          ~s(: 1}),
          "\r\n0\r\n\r\n"
        ],
        [HubServer.head(200, [{"content-encoding", "gzip"}]), :zlib.gzip(text)],
        HubServer.head(302, [{"location", "/org/name/resolve/main/other?a=b"}])
      ]

      # The same every time.
      :rand.seed(:exsss, {1, 2, 3})
      place = Path.join(folder, "models--org--name")

      for _ <- 1..50, answer <- answers do
        bytes = answer |> IO.iodata_to_binary() |> damaged()

        hub =
          HubServer.start(@files,
            answer: fn request ->
              if request.method == "GET" and request.path =~ "config.json",
                do: &HubServer.send_bytes(&1, bytes),
                else: :hub
            end
          )

        try do
          path = Hub.file("org/name", "config.json", options(hub, folder, attempts: 1, timeout: 1000))
          assert File.read!(path) == text, inspect(bytes)
          File.rm_rf!(place)
        rescue
          error in Mlx.Error -> assert error.message =~ ~r/^Mlx.Hub.file: [^\n]+$/
        end
      end
    end

    defp damaged(bytes) do
      at = :rand.uniform(byte_size(bytes)) - 1
      <<before::binary-size(at), byte, rest::binary>> = bytes

      case :rand.uniform(4) do
        1 -> [before, :rand.uniform(256) - 1, rest]
        2 -> [before, rest]
        3 -> before
        4 -> [before, byte, :rand.bytes(:rand.uniform(20)), rest]
      end
    end

    test "about the list of files is found out", %{tmp_dir: folder} do
      file = %{type: "file", path: "a.json", oid: HubServer.git("x"), size: 1}

      for {wrong, index} <-
            Enum.with_index([
              %{path: "../a.json"},
              %{path: "/a.json"},
              %{path: "b/../../a.json"},
              %{path: "a\\b.json"},
              %{path: "a\0.json"},
              %{path: "C:a.json"},
              %{path: ""},
              %{path: 1},
              %{oid: "../../x"},
              %{oid: ""},
              %{oid: nil},
              %{size: -1},
              %{size: "1"},
              %{lfs: %{oid: "../x", size: 1}},
              %{lfs: %{oid: "/etc/passwd", size: 1}}
            ]) do
        hub = HubServer.start(%{"a.json" => "x"}, listed: [Map.merge(file, wrong)])
        place = Path.join(folder, "#{index}/hub")

        assert said(fn -> Hub.download("org/name", options(hub, place)) end) =~
                 "the Hub lists a file of org/name that cannot be placed"

        assert Path.wildcard(Path.join(folder, "#{index}/**"), match_dot: true) |> Enum.filter(&File.regular?/1) == []
      end
    end

    test "about commits and tags is found out", %{tmp_dir: folder} do
      for {answer, said} <- [
            {{200, [], ~s({"sha": "../../x"})}, "does not answer as a hub of models does"},
            {{200, [], ~s([1])}, "does not answer as a hub of models does"},
            {{200, [], "<html>"}, "something that is not JSON"},
            {{200, [], String.duplicate("[", 100_000)}, "something that is not JSON"},
            {{204, [], ""}, "answered with the status 204"}
          ] do
        hub = HubServer.start(@files, answer: fn _request -> answer end)
        assert said(fn -> Hub.download("org/name", options(hub, folder)) end) =~ said
      end

      commit = {"x-repo-commit", HubServer.commit()}

      for {headers, said} <- [
            {[commit, {"etag", ~s("../../x")}], "no entity tag"},
            {[commit], "no entity tag"},
            {[{"etag", ~s("abc")}], "does not answer as a hub"},
            {[{"etag", ~s("abc")}, {"x-repo-commit", "../x"}], "does not answer as a hub"}
          ] do
        hub = HubServer.start(@files, answer: fn _request -> {200, headers, ""} end)
        assert said(fn -> weights(hub, folder) end) =~ said
      end
    end

    test "about the next page is found out", %{tmp_dir: folder} do
      for {link, said} <- [
            {"<http://localhost:1/x>; rel=\"next\"", "next page is on another server"},
            {"<file:///etc/passwd>; rel=\"next\"", "scheme \"file\""},
            {"<?page=again>; rel=\"next\"", "on more than 1000 pages"}
          ] do
        hub =
          HubServer.start(@files,
            answer: fn request -> if request.path =~ "/tree/", do: {200, [{"link", link}], "[]"}, else: :hub end
          )

        assert said(fn -> Hub.download("org/name", options(hub, folder)) end) =~ said
      end
    end
  end

  describe "redirects" do
    test "are bounded, and lead to servers only", %{tmp_dir: folder} do
      for {location, said} <- [
            {"/org/name/resolve/main/again", "is the end of 10 redirects"},
            {"file:///etc/passwd", ~s(redirects to an address of the scheme "file", which is not followed)},
            {"ftp://localhost/x", ~s(scheme "ftp")},
            {"http://", "not followed"},
            {"http://[bad", "to an address that cannot be read"},
            {"", "."}
          ] do
        hub = HubServer.start(@files, answer: fn _request -> {302, [{"location", location}], ""} end)
        message = said(fn -> weights(hub, folder) end)
        assert message =~ said
        assert length(HubServer.requests(hub)) <= 11
      end

      assert Mlx.Hub.Address.redirected("https://a/b", "http://a/c") == {:error, "from https to http"}
      assert Mlx.Hub.Address.redirected("https://a/b", "https://user:pass@c/d#e") == {:ok, "https://c/d"}
      assert Mlx.Hub.Address.redirected("https://a/b/c", "d?e=f") == {:ok, "https://a/b/d?e=f"}
    end

    test "do not take the token to another server", %{tmp_dir: folder} do
      hub = HubServer.start(@files)
      Hub.download("org/name", options(hub, folder, token: " hf_sesame\n"))
      requests = HubServer.requests(hub)
      assert Enum.any?(requests, &(&1.server == :cdn))

      for request <- requests do
        expected = if request.server == :hub, do: "Bearer hf_sesame"
        assert request.headers["authorization"] == expected
      end
    end

    test "appear without their signature and without a token in messages", %{tmp_dir: folder} do
      log =
        ExUnit.CaptureLog.capture_log(fn ->
          for status <- [500, 403, 404, 400], bytes <- [nil, "\0\0", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"] do
            answer = if bytes, do: &HubServer.send_bytes(&1, bytes), else: {status, [], "hf_sesame"}
            hub = hub(fn _request, _number -> answer end)
            message = said(fn -> weights(hub, folder, token: "hf_sesame", attempts: 1, timeout: 500) end)
            refute message =~ "sesame"
            refute message =~ "s3cret"
          end
        end)

      refute log =~ "sesame"
    end
  end

  describe "a server that is busy or slow" do
    test "is asked again", %{tmp_dir: folder} do
      for {status, headers} <- [{429, [{"retry-after", "0"}]}, {503, []}, {500, []}, {502, []}, {504, []}, {408, []}] do
        # Each address is busy once.
        {:ok, seen} = Agent.start_link(fn -> [] end)

        answer = fn %{path: path} ->
          known = Agent.get_and_update(seen, &{path in &1, [path | &1]})
          if known, do: :hub, else: {status, headers, "wait"}
        end

        hub = HubServer.start(@files, answer: answer)
        folder = Path.join(folder, "#{status}")
        assert File.read!(Path.join(Hub.download("org/name", options(hub, folder, parallel: 1)), @path)) == @weights
      end
    end

    test "is listened to about how long to wait", %{tmp_dir: folder} do
      hub = HubServer.start(@files, answer: fn _request -> {429, [{"retry-after", "3600"}], ""} end)

      assert said(fn -> weights(hub, folder) end) =~
               "answered with the status 429 (too many requests), and asks to wait for 3600 seconds"

      assert length(HubServer.requests(hub)) == 1
      date = "Mon, 01 Jan 2035 00:00:00 GMT"
      hub = HubServer.start(@files, answer: fn _request -> {503, [{"retry-after", date}], ""} end)
      assert said(fn -> weights(hub, folder) end) =~ ~r/and asks to wait for \d{6,} seconds/

      for nonsense <- ["soon", "-5", "so", "Mon, 99 Foo 2035 99:99:99 GMT"] do
        hub = HubServer.start(@files, answer: fn _request -> {503, [{"retry-after", nonsense}], ""} end)
        assert said(fn -> weights(hub, folder) end) =~ "answered with the status 503, after 3 attempts"
      end
    end

    test "that says nothing is given up", %{tmp_dir: folder} do
      hang = fn _socket -> Process.sleep(3_000) end

      for answer <- [fn _request -> hang end, fn request -> if request.server == :cdn, do: hang, else: :hub end] do
        hub = HubServer.start(@files, answer: answer)

        assert said(fn -> weights(hub, folder, timeout: 300, connect_timeout: 300, attempts: 2) end) =~
                 ~r/sent nothing for too long, after 2 attempts/
      end

      stop_in_the_middle = fn socket ->
        part(@weights, 50_000).(socket)
        Process.sleep(2_000)
      end

      hub = hub(fn _request, number -> if number == 1, do: stop_in_the_middle, else: :hub end)
      assert File.read!(weights(hub, folder, timeout: 300)) == @weights
      assert ranges(hub) == [nil, "bytes=50000-"]
    end

    test "is read to the end, chunked, packed, or drop by drop", %{tmp_dir: folder} do
      chunks = fn sizes ->
        chunk = fn bytes -> [Integer.to_string(byte_size(bytes), 16), "\r\n", bytes, "\r\n"] end
        pieces = for {from, size} <- sizes, do: chunk.(binary_part(@weights, from, size))
        [HubServer.head(200, [{"transfer-encoding", "chunked"}]), pieces, "0\r\n\r\n"]
      end

      slowly = fn socket ->
        HubServer.send_bytes(socket, HubServer.head(200, [{"content-length", byte_size(@weights)}]))

        for <<piece::binary-size(24_000) <- @weights>> do
          Process.sleep(20)
          HubServer.send_bytes(socket, piece)
        end
      end

      for {answer, index} <-
            Enum.with_index([
              &HubServer.send_bytes(&1, chunks.([{0, 1}, {1, 100_000}, {100_001, 139_999}])),
              &HubServer.send_bytes(&1, chunks.([{0, 240_000}])),
              {200, [{"content-encoding", "gzip"}], :zlib.gzip(@weights)},
              {200, [{"content-encoding", "deflate"}], :zlib.compress(@weights)},
              &HubServer.send_bytes(&1, [HubServer.head(200, []), @weights]),
              slowly
            ]) do
        hub = hub(fn _request, _number -> answer end)
        assert File.read!(weights(hub, Path.join(folder, "#{index}"))) == @weights
      end
    end

    test "that packs more than it should is stopped", %{tmp_dir: folder} do
      bomb = :zlib.gzip(:binary.copy(<<0>>, 50_000_000))
      hub = hub(fn _request, _number -> {200, [{"content-encoding", "gzip"}], bomb} end)
      assert said(fn -> weights(hub, folder) end) =~ "sends more than 240000 bytes"
    end

    test "that never ends an answer is stopped, in bounded memory", %{tmp_dir: folder} do
      piece = :binary.copy("x", 1_000_000)

      for head <- [
            HubServer.head(404, [{"content-length", 100_000_000_000}]),
            [HubServer.head(200, [{"transfer-encoding", "chunked"}]), "FFFFFFFFF\r\n"]
          ] do
        endless = fn socket ->
          HubServer.send_bytes(socket, head)
          Enum.find(1..100_000, fn _ -> HubServer.send_bytes(socket, piece) != :ok end)
        end

        hub = hub(fn _request, _number -> endless end)
        before = :erlang.memory(:total)
        message = said(fn -> weights(hub, folder, timeout: 20_000, attempts: 1) end)
        assert message =~ ~s(has no file "model.safetensors") or message =~ "sends more than 240000 bytes"
        assert :erlang.memory(:total) - before < 50_000_000
      end
    end
  end

  test "a file that cannot be written says so", %{tmp_dir: folder} do
    hub = HubServer.start(@files)
    File.write!(Path.join(folder, "models--org--name"), "in the way")

    assert said(fn -> Hub.download("org/name", options(hub, folder)) end) =~
             ~r/cannot write .*models--org--name.*: not a directory/
  end

  @tag skip: not File.exists?("/dev/full")
  test "a disk that is full says so", %{tmp_dir: folder} do
    hub = HubServer.start(@files)
    unfinished = Path.join(folder, "models--org--name/blobs/#{HubServer.hex(:sha256, @weights)}.mlx.incomplete")
    File.mkdir_p!(Path.dirname(unfinished))
    File.ln_s!("/dev/full", unfinished)

    assert said(fn -> Hub.download("org/name", options(hub, folder)) end) =~
             ~r/the disk is full: .*incomplete cannot grow; free some of it/
  end

  test "a download that does not fit on the disk is not begun", %{tmp_dir: folder} do
    huge = %{type: "file", path: "a.json", oid: HubServer.git("x"), size: 10 ** 18}
    hub = HubServer.start(%{"a.json" => "x"}, listed: [huge])

    assert said(fn -> Hub.download("org/name", options(hub, folder)) end) =~
             ~r/needs 1000000000000 MB, and the disk of .* has \d+ MB left/

    assert is_integer(Mlx.Hub.FreeSpace.free(folder))
  end

  test "one file that fails stops the others", %{tmp_dir: folder} do
    files = for index <- 1..20, into: %{}, do: {"#{index}.json", "#{index}"}

    answer = fn request ->
      cond do
        request.path =~ "/resolve/" and request.path =~ "/7.json" ->
          {403, [], ""}

        request.path =~ "/resolve/" ->
          fn socket -> Process.sleep(100) && HubServer.send_bytes(socket, HubServer.head(500, [])) end

        true ->
          :hub
      end
    end

    hub = HubServer.start(files, answer: answer)

    assert said(fn -> Hub.download("org/name", options(hub, folder, parallel: 20, backoff: 50)) end) =~
             "forbids org/name"

    assert Hub.path("org/name", cache: folder) == nil
  end

  test "a caller that is killed leaves no connection and no lock", %{tmp_dir: folder} do
    me = self()

    endless = fn socket ->
      part(@weights, 1000).(socket)
      send(me, :begun)
      {module, client} = socket
      send(me, {:ended, module.recv(client, 0, 10_000)})
    end

    hub = hub(fn _request, _number -> endless end)
    {pid, monitor} = spawn_monitor(fn -> weights(hub, folder, timeout: 60_000) end)
    assert_receive :begun, 5000
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, _, _, _}
    assert_receive {:ended, {:error, :closed}}, 5000
    assert File.read!(weights(HubServer.start(@files), folder)) == @weights
  end
end
