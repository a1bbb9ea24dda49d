defmodule Mix.Tasks.MlxServerTest do
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO
  import Mlx.HTTPClient

  alias Mix.Tasks.Mlx.Server
  alias Mlx.TinyLlama

  @moduletag :tmp_dir

  setup %{tmp_dir: folder} do
    path = Path.join(folder, "tiny.gguf")
    TinyLlama.save(path)
    %{path: path}
  end

  # What the task says on standard error when it ends with exit status 1.
  defp refusal(arguments) do
    capture_io(:stderr, fn -> capture_io(fn -> assert catch_exit(Server.run(arguments)) == {:shutdown, 1} end) end)
  end

  test "serves models under their names, with a key", %{path: path} do
    Mix.shell(Mix.Shell.Process)
    on_exit(fn -> Mix.shell(Mix.Shell.IO) end)
    test = self()

    task =
      spawn(fn ->
        # Messages of the shell come to the process of the task.
        spawn_link(fn ->
          Server.run(
            ["tiny=#{path}", "other=#{path}", "--port", "0", "--key", "secret", "--max-tokens", "9"] ++
              ["--draft", path]
          )
        end)
        |> then(&send(test, {:task, &1}))

        Process.sleep(:infinity)
      end)

    on_exit(fn -> Process.exit(task, :shutdown) end)
    assert_receive {:task, pid}
    port = port_of(pid)
    key = {"authorization", "Bearer secret"}
    assert {401, _headers, _body} = get(port, "/v1/models")
    assert {200, _headers, body} = get(port, "/v1/models", [key])
    assert for(%{"id" => id} <- JSON.decode!(body)["data"], do: id) == ["tiny", "other"]
    fields = %{model: "other", messages: [%{role: "user", content: "Hello"}], ignore_eos: true}
    assert {400, _headers, _body} = post(port, "/v1/chat/completions", fields, [key])
    fields = %{model: "other", prompt: "Hello", ignore_eos: true}
    assert {200, _headers, body} = post(port, "/v1/completions", fields, [key])
    assert %{"model" => "other", "usage" => %{"completion_tokens" => 9}} = JSON.decode!(body)
    assert {200, _headers, figures} = get(port, "/metrics", [key])

    for {name, drafted} <- [{"other", 6}, {"tiny", 0}], kind <- ["drafted", "accepted"] do
      # All are accepted, because the same model drafts: 4, and as many as are left but for the last token.
      assert figures =~ ~s(mlx_server_#{kind}_tokens_total{model="#{name}"} #{drafted}\n)
    end
  end

  # The task says where it listens to the process that it runs in.
  defp port_of(pid, tries \\ 600) do
    {:messages, messages} = Process.info(pid, :messages)

    text =
      Enum.find_value(messages, fn
        {:mix_shell, :info, ["Listening on" <> _rest = text]} -> text
        _other -> nil
      end)

    cond do
      text ->
        [_all, port] = Regex.run(~r/http:\/\/127\.0\.0\.1:(\d+);/, text)
        String.to_integer(port)

      tries == 0 ->
        flunk("the task has said #{inspect(messages)}")

      true ->
        Process.sleep(100)
        port_of(pid, tries - 1)
    end
  end

  test "says what is wrong", %{path: path, tmp_dir: tmp} do
    assert refusal(["--prot", "1"]) =~
             "unknown option or missing value: --prot; did you mean --port?\n\nUsage: mix mlx.server"

    assert refusal(["--port", "x"]) =~ "--port does not take the value"
    assert refusal(["--host", "300.1.1.1", path]) =~ ~s(expected :ip to be an address, such as {127, 0, 0, 1})
    assert refusal(["--host", "300.1.1.1", path]) =~ ~s(got: "300.1.1.1")
    assert refusal(["--port", "70000", path]) =~ "expected :port to be an integer from 0 to 65535, got: 70000"
    assert refusal(["--host", "nowhere", path]) =~ "expected :ip to be an address"
    assert refusal(["--host", "0.0.0.0", path]) =~ "--host 0.0.0.0 lets others ask: give a --key, or --open"
    assert refusal(["--key", "", path]) =~ "--key is empty"
    assert refusal([path, "--draft-tokens", "3"]) =~ "expected :draft with :draft_tokens"
    assert refusal([path, "--draft", Path.join(tmp, "nothing.gguf")]) =~ "no such file"
    assert refusal([Path.join(tmp, "nothing.gguf")]) =~ "no such file"
    assert refusal([path, "--port", "0", "--embedder", tmp]) =~ "config.json"
  end

  test "says that the port is taken", %{path: path} do
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(socket)
    assert refusal([path, "--port", "#{port}"]) =~ "cannot listen on 127.0.0.1, port #{port}: address already in use"
  end

  test "lists its options" do
    help = capture_io(fn -> Server.run(["--help"]) end)
    for option <- ~w(--port --host --key --origin --embedder --max-tokens --time-limit), do: assert(help =~ option)
  end
end
