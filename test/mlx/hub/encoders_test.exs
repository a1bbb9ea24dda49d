defmodule Mlx.Hub.EncodersTest do
  # The variables of the environment are those of all processes.
  use ExUnit.Case, async: false

  alias Mlx.{HubServer, TinyEncoder}
  alias Mlx.LM.{Embedder, Ranker}

  @moduletag :tmp_dir

  @variables ~w(HF_ENDPOINT HF_HUB_CACHE HF_HUB_DISABLE_PROGRESS_BARS HF_HUB_OFFLINE HF_TOKEN)

  setup do
    before = Map.new(@variables, &{&1, System.get_env(&1)})
    on_exit(fn -> System.put_env(before) end)
  end

  test "embedders and rankers are loaded by their names", %{tmp_dir: folder} do
    source = TinyEncoder.save(Path.join(folder, "source"), %{"num_labels" => 1})
    modules = [%{"type" => "a.Transformer", "path" => ""}, %{"type" => "a.Pooling", "path" => "1_Pooling"}]
    TinyEncoder.write(source, "modules.json", modules)
    TinyEncoder.write(source, "1_Pooling/config.json", %{"pooling_mode_max_tokens" => true})

    files =
      for name <- ["config.json", "model.safetensors", "modules.json", "1_Pooling/config.json"],
          into: %{},
          do: {name, File.read!(Path.join(source, name))}

    hub = HubServer.start(files)

    System.put_env(%{
      "HF_ENDPOINT" => hub.url,
      "HF_HUB_CACHE" => Path.join(folder, "cache"),
      "HF_HUB_DISABLE_PROGRESS_BARS" => "1"
    })

    ids = [[2, 10, 11, 3], [2, 3]]
    [here, there] = for path <- [source, "org/name"], do: Embedder.load(path)
    assert there.pooling == [:max]
    assert Mlx.to_list(Embedder.embed_ids(there, ids)) == Mlx.to_list(Embedder.embed_ids(here, ids))
    assert %Ranker{labels: 1} = Ranker.load("org/name")

    assert_raise Mlx.Error, ~r/^Mlx.LM.Ranker.load: .*none/, fn -> Ranker.load("./none") end
  end
end
