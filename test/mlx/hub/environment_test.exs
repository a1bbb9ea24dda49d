defmodule Mlx.Hub.EnvironmentTest do
  # The variables of the environment, which all processes share.
  use ExUnit.Case, async: false

  alias Mlx.{Hub, HubServer}
  alias Mlx.Hub.{Address, Settings}

  @moduletag :tmp_dir

  @names ~w(HF_HOME HF_HUB_CACHE HUGGINGFACE_HUB_CACHE XDG_CACHE_HOME HF_TOKEN HUGGING_FACE_HUB_TOKEN HF_TOKEN_PATH) ++
           ~w(HF_HUB_DISABLE_IMPLICIT_TOKEN HF_ENDPOINT HF_HUB_OFFLINE TRANSFORMERS_OFFLINE HF_HUB_DISABLE_SYMLINKS) ++
           ~w(http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY) ++
           ~w(SSL_CERT_FILE REQUESTS_CA_BUNDLE HEX_CACERTS_PATH HF_HUB_DISABLE_PROGRESS_BARS)

  setup do
    before = Map.new(@names, &{&1, System.get_env(&1)})
    System.put_env(Map.new(@names, &{&1, nil}))
    on_exit(fn -> System.put_env(before) end)
  end

  defp settings(variables) do
    System.put_env(Map.new(@names, &{&1, nil}))
    System.put_env(variables)
    Settings.new([], :"Hub.download")
  end

  test "say where the cache is" do
    home = System.user_home!()

    for {variables, cache} <- [
          {%{}, Path.join(home, ".cache/huggingface/hub")},
          {%{"XDG_CACHE_HOME" => "/xdg"}, "/xdg/huggingface/hub"},
          {%{"XDG_CACHE_HOME" => "/xdg", "HF_HOME" => "~/hf"}, Path.join(home, "hf/hub")},
          {%{"HF_HOME" => "$HOME/${HF_NONE}hf"}, Path.join(home, "${HF_NONE}hf/hub")},
          {%{"HF_HOME" => "/hf", "HUGGINGFACE_HUB_CACHE" => "/old"}, "/old"},
          {%{"HF_HOME" => "/hf", "HUGGINGFACE_HUB_CACHE" => "/old", "HF_HUB_CACHE" => "/new"}, "/new"},
          {%{"HF_HUB_CACHE" => ""}, Path.join(home, ".cache/huggingface/hub")}
        ] do
      assert settings(variables).cache == cache
    end
  end

  test "say the token, the address and whether to ask", %{tmp_dir: folder} do
    File.write!(Path.join(folder, "token"), "hf_file\n")
    File.write!(Path.join(folder, "other"), "hf_other")
    home = %{"HF_HOME" => folder}

    for {variables, token} <- [
          {%{"HF_HOME" => "/nowhere"}, nil},
          {home, "hf_file"},
          {Map.put(home, "HF_TOKEN_PATH", Path.join(folder, "other")), "hf_other"},
          {Map.put(home, "HUGGING_FACE_HUB_TOKEN", "hf_old"), "hf_old"},
          {Map.merge(home, %{"HUGGING_FACE_HUB_TOKEN" => "hf_old", "HF_TOKEN" => " hf_new\r\n"}), "hf_new"},
          {Map.put(home, "HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"), nil}
        ] do
      assert settings(variables).token == token
    end

    for {value, offline} <- [{"1", true}, {"true", true}, {"ON", true}, {"0", false}, {"no", false}, {"", false}] do
      assert settings(%{"HF_HUB_OFFLINE" => value}).offline == offline
      assert settings(%{"TRANSFORMERS_OFFLINE" => value}).offline == offline
    end

    assert settings(%{}).endpoint == "https://huggingface.co"
    assert settings(%{"HF_ENDPOINT" => "http://localhost:1/mirror/"}).endpoint == "http://localhost:1/mirror"

    error = assert_raise ArgumentError, fn -> settings(%{"HF_TOKEN" => "hf_se same"}) end
    assert error.message == "the token of the environment variable HF_TOKEN has characters that no token has"
  end

  test "lead a download", %{tmp_dir: folder} do
    hub = HubServer.start(%{"config.json" => "{}"})

    System.put_env(%{
      "HF_HOME" => folder,
      "HF_ENDPOINT" => hub.url,
      "HF_TOKEN" => "hf_sesame",
      "HF_HUB_DISABLE_SYMLINKS" => "1"
    })

    snapshot = Hub.download("org/name")
    assert snapshot == Path.join([folder, "hub/models--org--name/snapshots", HubServer.commit()])
    assert Enum.all?(HubServer.requests(hub), &(&1.headers["authorization"] == "Bearer hf_sesame"))
    assert File.lstat!(Path.join(snapshot, "config.json")).type == :regular
    System.put_env(%{"HF_ENDPOINT" => "http://127.0.0.1:1", "HF_HUB_OFFLINE" => "1"})
    assert Hub.download("org/name") == snapshot
    assert [%{size: 2, revisions: [%{files: 1, size: 2}]}] = Hub.models()
  end

  test "name proxies and the hosts that need none", %{tmp_dir: folder} do
    for {variables, address, proxy} <- [
          {%{}, "http://a", nil},
          {%{"HTTP_PROXY" => "http://p:1"}, "http://a", {"p", 1, nil}},
          {%{"HTTP_PROXY" => "http://p:1"}, "https://a", nil},
          {%{"HTTPS_PROXY" => "p:1"}, "https://a", {"p", 1, nil}},
          {%{"ALL_PROXY" => "http://u:w@p:1"}, "https://a", {"p", 1, "u:w"}},
          {%{"https_proxy" => "http://q:2", "HTTPS_PROXY" => "http://p:1"}, "https://a", {"q", 2, nil}},
          {%{"ALL_PROXY" => "http://p:1", "NO_PROXY" => "b, .c,d:80"}, "http://a.c", nil},
          {%{"ALL_PROXY" => "http://p:1", "NO_PROXY" => "b, .c,d:80"}, "http://ac", {"p", 1, nil}},
          {%{"ALL_PROXY" => "http://p:1", "NO_PROXY" => "b, .c,d:80"}, "http://D", nil},
          {%{"ALL_PROXY" => "http://p:1", "NO_PROXY" => "*"}, "http://a", nil}
        ] do
      settings(variables)
      assert Address.proxy(address) == proxy
    end

    System.put_env(%{"ALL_PROXY" => "socks5://p:1", "NO_PROXY" => nil})

    assert_raise ArgumentError, ~r/^expected the environment variable HTTP_PROXY to be an address/, fn ->
      Address.proxy("http://a")
    end

    System.delete_env("ALL_PROXY")

    # A proxy of http is asked for the whole address.
    text = "{}"

    proxy =
      HubServer.start(%{},
        answer: fn %{target: "http://nowhere.invalid/" <> path} = request ->
          %{request | path: "/" <> path}
          |> Map.put(:server, :hub)
          |> HubServer.usual(HubServer.files(%{"config.json" => text}))
        end
      )

    System.put_env("HTTP_PROXY", String.replace(proxy.url, "http://", "http://user:pass%20word@"))
    path = Hub.file("org/name", "config.json", endpoint: "http://nowhere.invalid", cache: folder, token: false)
    assert File.read!(path) == text
    authorization = "Basic " <> Base.encode64("user:pass word")
    assert Enum.all?(HubServer.requests(proxy), &(&1.headers["proxy-authorization"] == authorization))
    assert Enum.all?(HubServer.requests(proxy), &(&1.headers["host"] == "nowhere.invalid"))
  end

  describe "a hub by https" do
    setup %{tmp_dir: folder} do
      [server, authority] = certificates()
      path = Path.join(folder, "authority.pem")
      File.write!(path, :public_key.pem_encode([{:Certificate, authority, :not_encrypted}]))
      hub = HubServer.start(%{"config.json" => "{}", "model.safetensors" => {:lfs, "weights"}}, tls: server)
      %{hub: hub, authority: path}
    end

    test "is trusted by its certificate", %{hub: hub, authority: authority, tmp_dir: folder} do
      options = [endpoint: hub.url, cache: Path.join(folder, "hub"), token: "hf_sesame", attempts: 1]
      error = assert_raise Mlx.Error, fn -> Hub.download("org/name", options) end

      assert error.message =~
               ~r/^Mlx.Hub.download: no secure connection with localhost \(unknown ca\): its certificate or/

      assert HubServer.requests(hub) == []

      System.put_env("SSL_CERT_FILE", "/nowhere.pem")

      assert_raise ArgumentError, ~r/SSL_CERT_FILE names no file of certificates: \/nowhere.pem/, fn ->
        Hub.download("org/name", options)
      end

      System.put_env("SSL_CERT_FILE", authority)
      assert File.read!(Path.join(Hub.download("org/name", options), "model.safetensors")) == "weights"

      # The certificate is that of another name.
      other = String.replace(hub.url, "localhost", "127.0.0.1")
      options = [endpoint: other, cache: Path.join(folder, "other"), token: false, attempts: 1]

      assert_raise Mlx.Error, ~r/no secure connection with 127.0.0.1/, fn ->
        Hub.download("org/name", options)
      end
    end

    test "is reached through a proxy", %{hub: hub, authority: authority, tmp_dir: folder} do
      System.put_env("SSL_CERT_FILE", authority)
      proxy = HubServer.start(%{}, answer: fn %{method: "CONNECT", target: target} -> &tunnel(&1, target) end)
      System.put_env("HTTPS_PROXY", proxy.url)
      options = [endpoint: hub.url, cache: Path.join(folder, "hub"), token: "hf_sesame", attempts: 1]
      assert File.read!(Path.join(Hub.download("org/name", options), "model.safetensors")) == "weights"
      requests = HubServer.requests(proxy)
      assert requests != [] and Enum.all?(requests, &(&1.headers["authorization"] == nil))

      refusing = HubServer.start(%{}, answer: fn _request -> {407, [], "no"} end)
      System.put_env("HTTPS_PROXY", refusing.url)
      options = Keyword.put(options, :cache, Path.join(folder, "refused"))

      assert_raise Mlx.Error, ~r/the proxy refuses https:\/\/localhost.* \(status 407\)/, fn ->
        Hub.download("org/name", options)
      end
    end
  end

  # What a proxy does: it carries bytes in both directions.
  defp tunnel({:gen_tcp, client}, target) do
    [_host, port] = String.split(target, ":")
    {:ok, server} = :gen_tcp.connect({127, 0, 0, 1}, String.to_integer(port), [:binary, active: true])
    :gen_tcp.send(client, "HTTP/1.1 200 Connection established\r\n\r\n")
    :inet.setopts(client, active: true)
    carry(client, server)
  end

  defp carry(client, server) do
    receive do
      {:tcp, ^client, bytes} -> :gen_tcp.send(server, bytes) && carry(client, server)
      {:tcp, ^server, bytes} -> :gen_tcp.send(client, bytes) && carry(client, server)
      {:tcp_closed, _socket} -> :gen_tcp.close(server)
    end
  end

  # The options of a server named localhost, and the certificate that its own is signed by.
  defp certificates do
    Application.ensure_all_started(:ssl)
    name = {:Extension, {2, 5, 29, 17}, false, [{:dNSName, ~c"localhost"}]}
    key = [key: {:namedCurve, :secp256r1}, digest: :sha256]

    %{server_config: server, client_config: client} =
      :public_key.pkix_test_data(%{
        server_chain: %{root: key, intermediates: [], peer: [{:extensions, [name]} | key]},
        client_chain: %{root: key, intermediates: [], peer: key}
      })

    [Keyword.take(server, [:cert, :key, :cacerts]), hd(client[:cacerts])]
  end
end
