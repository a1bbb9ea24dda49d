defmodule Mlx.HubServer do
  @moduledoc """
  A hub of models on the loopback, with one repository `org/name`, that can break, truncate, redirect and lie.

      hub = Mlx.HubServer.start(%{"config.json" => "{}", "model.safetensors" => {:lfs, bytes}})
      Mlx.Hub.download("org/name", endpoint: hub.url)
      Mlx.HubServer.requests(hub)

  Large files (`:lfs`) are redirected to a second server, as the Hub does it. Options:

    * `:answer` - a function of a request, which returns `:hub` for the usual answer, `{status, headers, body}`, or a function
      of the socket
    * `:page` - how many files a page of the list has
    * `:listed` - what the list has in place of the files: maps as the Hub sends them
  """

  @commit "0123456789abcdef0123456789abcdef01234567"

  defstruct [:url, :cdn, :log, :files, :answer, :page, :listed, :options]

  @doc "The commit of the branch `main`."
  def commit, do: @commit

  @doc "Starts a hub, which ends with the calling process."
  def start(files, options \\ []) do
    {:ok, log} = Agent.start_link(fn -> [] end)
    {listener, url} = listen(options)
    {cdn_listener, cdn} = listen(options)

    hub = %__MODULE__{
      url: url,
      cdn: cdn,
      log: log,
      files: Map.new(files, fn {path, content} -> {path, file(content)} end),
      answer: Keyword.get(options, :answer, fn _request -> :hub end),
      page: Keyword.get(options, :page, 1000),
      listed: options[:listed],
      options: options
    }

    for {listener, name} <- [{listener, :hub}, {cdn_listener, :cdn}], do: accept(listener, name, hub)
    hub
  end

  @doc "The requests until now, the first one first: maps of the server, the method, the path, the query and the headers."
  def requests(hub), do: hub.log |> Agent.get(& &1) |> Enum.reverse()

  @doc "A hub that has these files and is not started, for `usual/2`."
  def files(files) do
    %__MODULE__{url: "", cdn: "", files: Map.new(files, fn {path, content} -> {path, file(content)} end), page: 1000}
  end

  defp file({:lfs, content}), do: %{content: content, lfs: true, etag: hex(:sha256, content), id: git(content)}
  defp file(content), do: %{content: content, lfs: false, etag: git(content), id: git(content)}

  @doc "The SHA-1 that Git gives a file."
  def git(content), do: hex(:sha, ["blob #{byte_size(content)}\0", content])

  @doc "A checksum in hexadecimal digits."
  def hex(kind, content), do: kind |> :crypto.hash(content) |> Base.encode16(case: :lower)

  defp listen(options) do
    common = [:binary, active: false, packet: :raw, reuseaddr: true, backlog: 100, ip: {127, 0, 0, 1}]

    case options[:tls] do
      nil ->
        {:ok, listener} = :gen_tcp.listen(0, common)
        {:ok, port} = :inet.port(listener)
        {{:gen_tcp, listener}, "http://127.0.0.1:#{port}"}

      tls ->
        {:ok, listener} = :ssl.listen(0, common ++ tls ++ [log_level: :none])
        {:ok, {_address, port}} = :ssl.sockname(listener)
        {{:ssl, listener}, "https://localhost:#{port}"}
    end
  end

  # The listener belongs to the caller, and closes with it.
  defp accept({:gen_tcp, listener} = socket, name, hub) do
    pid = spawn(fn -> loop(fn -> :gen_tcp.accept(listener) end, socket, name, hub) end)
    :ok = :gen_tcp.controlling_process(listener, self())
    pid
  end

  defp accept({:ssl, listener} = socket, name, hub) do
    spawn(fn ->
      loop(
        fn -> with {:ok, transport} <- :ssl.transport_accept(listener), do: handshake(transport) end,
        socket,
        name,
        hub
      )
    end)
  end

  defp handshake(transport) do
    with {:error, reason} when reason != :closed <- :ssl.handshake(transport, 5000), do: {:failed, reason}
  end

  defp loop(accept, {module, _listener} = socket, name, hub) do
    case accept.() do
      {:ok, client} ->
        pid = spawn(fn -> serve({module, client}, name, hub) end)
        module.controlling_process(client, pid)
        send(pid, :yours)
        loop(accept, socket, name, hub)

      {:failed, _reason} ->
        loop(accept, socket, name, hub)

      {:error, _closed} ->
        :ok
    end
  end

  defp serve({module, client} = socket, name, hub) do
    receive do
      :yours -> :ok
    end

    with {:ok, request} <- read(socket, "") do
      request = Map.put(request, :server, name)
      Agent.update(hub.log, &[request | &1])
      answer = with :hub <- hub.answer.(request), do: usual(request, hub)
      write(socket, answer, request)
    end

    # What the client still sends would reset the connection, and the answer with it.
    if module == :gen_tcp, do: :gen_tcp.shutdown(client, :write)
    module.recv(client, 0, 500)
    module.close(client)
  catch
    # The agent ends with its test.
    :exit, _reason -> module.close(client)
  end

  defp read({module, client} = socket, bytes) do
    case String.split(bytes, "\r\n\r\n", parts: 2) do
      [head, _body] -> {:ok, parse(head)}
      [_part] -> with {:ok, more} <- module.recv(client, 0, 10_000), do: read(socket, bytes <> more)
    end
  end

  defp parse(head) do
    [line | headers] = String.split(head, "\r\n")
    [method, target, _version] = String.split(line, " ")
    uri = URI.parse(target)

    headers =
      for header <- headers, [name, value] = String.split(header, ":", parts: 2), into: %{} do
        {String.downcase(name), String.trim(value)}
      end

    %{method: method, path: uri.path, query: uri.query, headers: headers, target: target}
  end

  defp write(socket, fun, _request) when is_function(fun, 1), do: fun.(socket)

  defp write(socket, {status, headers, body}, request) do
    body = IO.iodata_to_binary(body)
    headers = if has?(headers, "content-length"), do: headers, else: [{"content-length", byte_size(body)} | headers]
    send_bytes(socket, [head(status, headers), if(request.method == "HEAD", do: "", else: body)])
  end

  defp has?(headers, name), do: List.keymember?(headers, name, 0)

  @doc "The head of an answer."
  def head(status, headers), do: ["HTTP/1.1 #{status} X\r\n", for({n, v} <- headers, do: "#{n}: #{v}\r\n"), "\r\n"]

  @doc "Sends bytes as they are."
  def send_bytes({module, client}, bytes), do: module.send(client, bytes)

  @doc "Ends a connection as a crash does."
  def reset({:gen_tcp, client}) do
    :inet.setopts(client, linger: {true, 0})
    :gen_tcp.close(client)
  end

  @doc "The usual answer to a request."
  def usual(request, hub) do
    case String.split(request.path, "/", trim: true) do
      ["api", "models", "org", "name"] -> revision("main", hub)
      ["api", "models", "org", "name", "revision", revision] -> revision(URI.decode(revision), hub)
      ["api", "models", "org", "name", "tree", commit] -> tree(commit, request, hub)
      ["org", "name", "resolve", revision | path] -> resolve(URI.decode(revision), path, request, hub)
      ["cdn", etag] -> cdn(etag, request, hub)
      _other -> missing("RepoNotFound")
    end
  end

  defp missing(code), do: {404, [{"x-error-code", code}], "{}"}

  defp revision(revision, hub) when revision in ["main", @commit, "refs/pr/1", "v1.0"] do
    siblings = for {path, _file} <- hub.files, do: %{rfilename: path}

    json(%{
      id: "org/name",
      modelId: "org/name",
      sha: @commit,
      siblings: siblings,
      tags: [],
      private: false,
      gated: false
    })
  end

  defp revision(_other, _hub), do: missing("RevisionNotFound")

  defp json(value, headers \\ []), do: {200, [{"content-type", "application/json"} | headers], JSON.encode!(value)}

  defp tree(@commit, request, hub) do
    items = hub.listed || listed(hub)
    page = String.to_integer(URI.decode_query(request.query || "")["page"] || "0")
    link = "<#{hub.url}#{request.path}?recursive=true&expand=false&page=#{page + 1}>; rel=\"next\""
    headers = if length(items) > (page + 1) * hub.page, do: [{"link", link}], else: []
    items |> Enum.slice(page * hub.page, hub.page) |> json(headers)
  end

  defp tree(_other, _request, _hub), do: missing("RevisionNotFound")

  @doc "The list of the files as the Hub sends it."
  def listed(hub) do
    folders = for {path, _} <- hub.files, folder = Path.dirname(path), folder != ".", uniq: true, do: folder
    folders = for folder <- folders, do: %{type: "directory", path: folder, oid: git(folder), size: 0}

    files =
      for {path, file} <- Enum.sort(hub.files) do
        size = byte_size(file.content)
        item = %{type: "file", path: path, oid: file.id, size: size}
        if file.lfs, do: Map.put(item, :lfs, %{oid: file.etag, size: size, pointerSize: 134}), else: item
      end

    folders ++ files
  end

  defp resolve(revision, path, request, hub) do
    file = hub.files[path |> Enum.map_join("/", &URI.decode/1)]
    commit = [{"x-repo-commit", @commit}]

    cond do
      revision not in ["main", @commit, "refs/pr/1", "v1.0"] ->
        missing("RevisionNotFound")

      file == nil ->
        {404, [{"x-error-code", "EntryNotFound"} | commit], ""}

      file.lfs ->
        linked = [{"x-linked-etag", ~s("#{file.etag}")}, {"x-linked-size", byte_size(file.content)}]
        {302, [{"location", "#{hub.cdn}/cdn/#{file.etag}?signature=s3cret"} | linked] ++ commit, "Found"}

      true ->
        content(file, request, [{"etag", ~s("#{file.etag}")} | commit])
    end
  end

  defp cdn(etag, request, hub) do
    {_path, file} = Enum.find(hub.files, fn {_path, file} -> file.etag == etag end)
    content(file, request, [{"etag", ~s("#{etag}")}])
  end

  @doc "A file, or the part of it that is asked for."
  def content(%{content: content}, request, headers) do
    size = byte_size(content)

    case Regex.run(~r/\Abytes=(\d+)-\z/, request.headers["range"] || "") do
      [_, first] ->
        first = String.to_integer(first)

        if first < size do
          range = {"content-range", "bytes #{first}-#{size - 1}/#{size}"}
          {206, [range | headers], binary_part(content, first, size - first)}
        else
          {416, [{"content-range", "bytes */#{size}"} | headers], ""}
        end

      nil ->
        {200, headers, content}
    end
  end
end
