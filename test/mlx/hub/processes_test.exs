defmodule Mlx.Hub.ProcessesTest do
  # Several processes and virtual machines that want the same files, and some that die of it.
  use ExUnit.Case, async: true

  alias Mlx.{ChildVM, Hub, HubServer}

  @moduletag :tmp_dir

  @weights for index <- 1..100_000, into: "", do: <<index::32>>
  @files %{"config.json" => "{}", "model.safetensors" => {:lfs, @weights}}
  @etag Base.encode16(:crypto.hash(:sha256, @weights), case: :lower)

  defp options(hub, folder) do
    [endpoint: hub.url, cache: folder, token: false, progress: false, backoff: 1, timeout: 60_000]
  end

  defp in_another_vm(hub, folder) do
    ChildVM.run(
      quote do
        File.write!(unquote(Path.join(folder, "pid")), System.pid())
        IO.write(Mlx.Hub.download("org/name", unquote(options(hub, folder))))
      end
    )
  end

  defp weights(folder), do: Path.join([folder, "models--org--name/snapshots", HubServer.commit(), "model.safetensors"])
  defp lock(folder), do: Path.join(folder, ".locks/models--org--name/#{@etag}.mlx.lock")
  defp blob(folder), do: Path.join(folder, "models--org--name/blobs/#{@etag}")

  defp downloads(hub), do: for(%{server: :cdn} = request <- HubServer.requests(hub), do: request.headers["range"])

  defp slowly(socket) do
    HubServer.send_bytes(socket, HubServer.head(200, [{"content-length", byte_size(@weights)}]))

    for <<piece::binary-size(20_000) <- @weights>> do
      Process.sleep(100)
      HubServer.send_bytes(socket, piece)
    end
  end

  test "a virtual machine that is killed leaves what it has, and another one goes on at once", %{tmp_dir: folder} do
    kill = fn socket ->
      HubServer.send_bytes(socket, [
        HubServer.head(200, [{"content-length", byte_size(@weights)}]),
        binary_part(@weights, 0, 150_000)
      ])

      # What was sent is written before the end.
      await(fn -> match?({:ok, %{size: 150_000}}, File.stat(blob(folder) <> ".mlx.incomplete")) end)
      System.cmd("kill", ["-KILL", File.read!(Path.join(folder, "pid"))])
    end

    hub =
      HubServer.start(@files,
        answer: fn request -> if request.server == :cdn and request.headers["range"] == nil, do: kill, else: :hub end
      )

    assert {:exit, 137, ""} = in_another_vm(hub, folder)
    assert File.exists?(lock(folder))
    refute File.exists?(blob(folder))

    assert {:exit, 0, snapshot} = in_another_vm(hub, folder)
    assert File.read!(Path.join(snapshot, "model.safetensors")) == @weights
    assert downloads(hub) == [nil, "bytes=150000-"]
    assert File.ls!(Path.dirname(lock(folder))) == []
  end

  test "two virtual machines download once", %{tmp_dir: folder} do
    hub = HubServer.start(@files, answer: fn request -> if request.server == :cdn, do: &slowly/1, else: :hub end)

    for task <- for(_ <- 1..2, do: Task.async(fn -> in_another_vm(hub, folder) end)) do
      assert {:exit, 0, snapshot} = Task.await(task, 60_000)
      assert snapshot == Path.dirname(weights(folder))
    end

    assert File.read!(weights(folder)) == @weights
    assert downloads(hub) == [nil]
  end

  test "many processes download once", %{tmp_dir: folder} do
    hub = HubServer.start(@files)
    tasks = for _ <- 1..10, do: Task.async(fn -> Hub.download("org/name", options(hub, folder)) end)
    assert tasks |> Task.await_many(60_000) |> Enum.uniq() == [Path.dirname(weights(folder))]
    assert downloads(hub) == [nil]
    assert File.read!(weights(folder)) == @weights
  end

  test "the lock of another machine is waited for, and taken when nobody touches it any more", %{tmp_dir: folder} do
    hub = HubServer.start(@files)
    File.mkdir_p!(Path.dirname(lock(folder)))
    File.write!(lock(folder), "another machine\n1\n1")
    task = Task.async(fn -> Hub.download("org/name", options(hub, folder)) end)
    assert Task.yield(task, 500) == nil
    assert downloads(hub) == []
    File.touch!(lock(folder), System.os_time(:second) - 3600)
    assert Task.await(task, 30_000) == Path.dirname(weights(folder))
    refute File.exists?(lock(folder))
  end

  test "without a lock each downloads for itself", %{tmp_dir: folder} do
    hub = HubServer.start(@files, answer: fn request -> if request.server == :cdn, do: &slowly/1, else: :hub end)
    File.write!(Path.join(folder, ".locks"), "no folder")
    tasks = for _ <- 1..2, do: Task.async(fn -> Hub.download("org/name", options(hub, folder)) end)
    assert tasks |> Task.await_many(60_000) |> Enum.uniq() == [Path.dirname(weights(folder))]
    assert downloads(hub) == [nil, nil]
    assert File.read!(weights(folder)) == @weights

    assert folder |> Path.join("models--org--name/blobs") |> File.ls!() |> Enum.sort() ==
             Enum.sort([HubServer.git("{}"), @etag])
  end

  test "a large file does not go through the memory", %{tmp_dir: folder} do
    megabyte = for index <- 1..131_072, into: "", do: <<index * 7919::64>>
    megabytes = 200
    hash = Enum.reduce(1..megabytes, :crypto.hash_init(:sha256), fn _, hash -> :crypto.hash_update(hash, megabyte) end)
    etag = Base.encode16(:crypto.hash_final(hash), case: :lower)
    size = megabytes * byte_size(megabyte)

    answer = fn request ->
      if request.server == :cdn or request.path =~ "/resolve/" do
        fn socket ->
          HubServer.send_bytes(socket, HubServer.head(200, [{"content-length", size}]))
          for _ <- 1..megabytes, do: HubServer.send_bytes(socket, megabyte)
        end
      else
        :hub
      end
    end

    listed = [
      %{type: "file", path: "model.safetensors", oid: HubServer.git("x"), size: size, lfs: %{oid: etag, size: size}}
    ]

    hub = HubServer.start(%{}, answer: answer, listed: listed)

    {:exit, 0, figures} =
      ChildVM.run(
        quote do
          before = :erlang.memory(:total)
          most = :atomics.new(1, [])

          # A progress is told ten times a second.
          look = fn _progress -> :atomics.put(most, 1, max(:atomics.get(most, 1), :erlang.memory(:total) - before)) end
          Mlx.Hub.download("org/name", Keyword.put(unquote(options(hub, folder)), :progress, look))
          IO.write(:atomics.get(most, 1))
        end,
        timeout: 120_000
      )

    assert File.stat!(weights(folder)).size == size
    # The code that is loaded meanwhile is some of it.
    assert String.to_integer(figures) < 30_000_000
  end

  defp await(done?) do
    if not done?.() do
      Process.sleep(20)
      await(done?)
    end
  end
end
