defmodule Mlx.LM.Server.NodesTest do
  use ExUnit.Case, async: true

  alias Mlx.{Ring, TinyLlama}

  @moduletag :tmp_dir
  @moduletag timeout: 180_000

  test "a server answers the processes of another node, by its name and by its group", %{tmp_dir: folder} do
    path = Path.join(folder, "tiny.gguf")
    TinyLlama.save(path)
    lm = Mlx.LM.load(path, type: :f32)
    expected = Mlx.LM.generate(lm, "abc", max_tokens: 6, ignore_eos: true)

    code =
      quote do
        alias Mlx.LM.Server
        [first, second] = nodes
        connected = fn -> Node.ping(if(node() == first, do: second, else: first)) == :pong end
        Enum.find(Stream.repeatedly(fn -> Process.sleep(50) && connected.() end), & &1)

        if node() == first do
          {:ok, _server} =
            Server.start_link(model: unquote(path), load: [type: :f32], name: :served, group: :tiny, drain: 0)

          Process.register(self(), :first)
          receive do: (:done -> IO.puts("served"))
        else
          found = fn -> match?({:ok, _}, Server.generate({:group, :tiny}, "a", max_tokens: 1)) end
          Enum.find(Stream.repeatedly(fn -> Process.sleep(50) && found.() end), & &1)
          options = [max_tokens: 6, ignore_eos: true]
          {:ok, response} = Server.generate({:group, :tiny}, "abc", options)
          IO.inspect(response.ids, charlists: :as_lists)
          IO.puts({:served, first} |> Server.stream("abc", options) |> Enum.join() |> inspect())
          IO.puts(Server.model({:served, first}).name)
          {:error, error} = Server.generate({:served, first}, "", options)
          IO.puts(error.reason)
          {:ok, ref} = Server.submit({:served, first}, "abc", max_tokens: 590, ignore_eos: true)
          receive do: ({Server, ^ref, {:text, _text}} -> :ok)
          Server.cancel({:group, :tiny}, ref)

          last = fn last ->
            receive do: (
                      {Server, ^ref, {:text, _}} -> last.(last)
                      {Server, ^ref, event} -> event
                    )
          end

          {:error, error} = last.(last)
          IO.puts(error.reason)
          send({:first, first}, :done)
          Process.sleep(200)
        end
      end

    assert [served, asked] = Ring.run_nodes(2, code)
    assert is_binary(served) and is_binary(asked), inspect({served, asked})
    assert served =~ "served"
    ids = inspect(expected.ids, charlists: :as_lists)
    assert String.split(asked, "\n", trim: true) == [ids, inspect(expected.text), "tiny", "invalid", "cancelled"]
  end
end
