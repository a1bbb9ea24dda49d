defmodule Mlx.LM.Server.ModelsTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.{Response, Server}
  alias Mlx.LM.Server.{Error, Models}
  alias Mlx.TinyLlama

  @moduletag :tmp_dir

  doctest Mlx.LM.Server.Models

  setup %{tmp_dir: folder} do
    models =
      for name <- ["a", "b", "c"], into: %{} do
        path = Path.join(folder, "#{name}.gguf")
        TinyLlama.save(path, %{"general.name" => name, "tokenizer.ggml.eos_token_id" => 257})
        {name, [model: path, load: [type: :f32]]}
      end

    %{models: models}
  end

  defp loaded(models), do: for({name, true} <- Models.names(models), do: name)

  test "models are loaded when they are asked for, and the one that was used the longest ago goes", %{models: models} do
    start_supervised!({Models, models: models, name: :some_models, most: 2})
    assert loaded(:some_models) == []
    answer = &Server.generate({:model, :some_models, &1}, "abc", max_tokens: 2)

    for {name, loaded} <- [{"a", ["a"]}, {"b", ["a", "b"]}, {"a", ["a", "b"]}, {"c", ["a", "c"]}, {"b", ["b", "c"]}] do
      assert {:ok, %Response{generated_tokens: count}} = answer.(name)
      assert count <= 2
      assert loaded(:some_models) == loaded
      assert Server.info({:model, :some_models, name}).model == name
      assert Server.model({:model, :some_models, name}).name == name
    end

    answers = for name <- ["a", "b", "c", "a", "b", "c"], do: Task.async(fn -> answer.(name) end)

    for result <- Task.await_many(answers, 60_000) do
      assert match?({:ok, %Response{}}, result) or match?({:error, %Error{reason: :queue_full}}, result)
    end
  end

  test "a model with requests is not put away", %{models: models} do
    start_supervised!({Models, models: models, name: :busy_models})
    {:ok, ref} = Server.submit({:model, :busy_models, "a"}, "abc", max_tokens: 590, ignore_eos: true)
    assert_receive {Server, ^ref, {:text, _text}}, 60_000
    assert {:error, %Error{reason: :queue_full, message: message}} = Server.generate({:model, :busy_models, "b"}, "abc")
    assert message =~ "Mlx.LM.Server.generate: as many models are loaded as may, and all of them have requests"
    assert Server.cancel({:model, :busy_models, "a"}, ref) == :ok
    assert_receive {Server, ^ref, {:error, %Error{reason: :cancelled}}}, 60_000
    assert {:ok, %Response{}} = Server.generate({:model, :busy_models, "b"}, "abc", max_tokens: 2)
  end

  test "a model that nobody uses for a while is put away", %{models: models} do
    start_supervised!({Models, models: models, name: :idle_models, idle: 50})
    assert {:ok, pid} = Models.server(:idle_models, "a")
    monitor = Process.monitor(pid)
    assert_receive {:DOWN, ^monitor, :process, _pid, :shutdown}, 60_000
    assert loaded(:idle_models) == []
    assert {:ok, %Response{}} = Server.generate({:model, :idle_models, "a"}, "abc", max_tokens: 2)
  end

  @tag :capture_log
  test "a server that was killed is started anew", %{models: models} do
    start_supervised!({Models, models: models, name: :killed_models})
    assert {:ok, pid} = Models.server(:killed_models, "a")
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, _pid, :killed}, 60_000
    assert {:ok, %Response{}} = Server.generate({:model, :killed_models, "a"}, "abc", max_tokens: 2)
  end

  @tag :capture_log
  test "names that are not there, models that cannot be loaded and wrong options are told of", %{models: models} do
    models = Map.put(models, "gone", model: "/nowhere/model.gguf")
    start_supervised!({Models, models: models, name: :told_models})

    assert {:error, %Error{reason: :invalid, message: message}} = Server.generate({:model, :told_models, "d"}, "abc")
    assert message =~ ~s(Mlx.LM.Server.generate: there is no model "d"; those that there are: "a", "b", "c", "gone")

    assert {:error, %Error{reason: :failed, message: message}} = Server.submit({:model, :told_models, "gone"}, "abc")
    assert message =~ ~s(Mlx.LM.Server.submit: the model "gone" could not be loaded: )
    assert {:error, %Error{reason: :shutdown}} = Server.generate({:model, :nobody, "a"}, "abc")

    assert_raise ArgumentError, ~r/^Mlx.LM.Server.Models.start_link: expected :models to be a map of names/, fn ->
      Models.start_link(models: [])
    end

    assert_raise ArgumentError, ~r/^Mlx.LM.Server.Models.child_spec: unknown option :slotts/, fn ->
      Models.child_spec(models: %{"a" => [model: "a", slotts: 1]})
    end
  end
end
