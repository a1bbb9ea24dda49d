Code.require_file("../models.exs", __DIR__)

defmodule Mlx.NxConformance.BumblebeeTest do
  @moduledoc "What models of Bumblebee compute with Mlx, beside what they compute with Nx's own backend and evaluator."

  use ExUnit.Case, async: true

  alias Mlx.NxConformance.Models
  alias Nx.BinaryBackend

  # Of numbers of f32 through some layers, relative to the greatest of a tensor.
  @tolerance 1.0e-5

  for {{module, architecture, _, _}, index} <- Enum.with_index(Models.all()) do
    @index index
    test "#{inspect(module)} #{architecture}" do
      row = Enum.at(Models.all(), @index)
      model = row |> Models.spec() |> Bumblebee.build_model()
      {inputs, state} = Models.values(row, model)
      {_init, predict} = Axon.build(model)
      {expected, computed} = both(predict, [state, inputs])
      assert_close(computed, expected, [])
    end
  end

  for {{module, architecture, _, _}, index} <- Enum.with_index(Models.generating()) do
    @index index
    test "#{inspect(module)} #{architecture} generates" do
      row = Enum.at(Models.generating(), @index)
      spec = Models.spec(row)
      model = Bumblebee.build_model(spec)
      {inputs, state} = Models.values(row, model)
      own = [max_new_tokens: 5, pad_token_id: 0, eos_token_id: 1, bos_token_id: 2, decoder_start_token_id: 2]
      config = Bumblebee.configure(Bumblebee.Text.GenerationConfig, own)
      generate = Bumblebee.Text.Generation.build_generate(model, spec, config)
      seeded = Map.put(inputs, "seed", Nx.tensor([1, 2], backend: BinaryBackend))
      {expected, computed} = both(generate, [state, seeded])
      assert Nx.to_list(computed.token_ids) == Nx.to_list(expected.token_ids)
    end
  end

  for {{module, architecture, _, _}, index} <- Enum.with_index(Models.quantized()) do
    @index index
    test "#{inspect(module)} #{architecture} with quantized kernels" do
      row = Enum.at(Models.quantized(), @index)
      model = row |> Models.spec() |> Bumblebee.build_model()
      {inputs, state} = Models.values(row, model)
      quantized = Models.with_quantized_kernels(state)
      {_init, predict} = Axon.build(model)
      plain = %{state | data: Nx.backend_copy(quantized.data, BinaryBackend)}
      expected = Models.by_reference(fn -> Nx.Defn.jit_apply(predict, [plain, inputs]) end)
      moved = Nx.backend_copy(inputs, Nx.default_backend())
      assert_close(Nx.Defn.jit_apply(predict, [quantized, moved]), expected, [])
    end
  end

  # The result with Nx's own backend and evaluator, and that with the defaults.
  defp both(fun, arguments) do
    moved = Nx.backend_copy(List.to_tuple(arguments), Nx.default_backend())
    {Models.by_reference(fn -> Nx.Defn.jit_apply(fun, arguments) end), Nx.Defn.jit_apply(fun, Tuple.to_list(moved))}
  end

  defp assert_close(%Nx.Tensor{} = computed, %Nx.Tensor{} = expected, path) do
    assert {computed.shape, computed.type} == {expected.shape, expected.type}

    Nx.with_default_backend(BinaryBackend, fn ->
      [computed, expected] = for tensor <- [computed, expected], do: Nx.backend_copy(tensor, BinaryBackend)
      difference = computed |> Nx.subtract(expected) |> Nx.abs() |> Nx.reduce_max() |> Nx.to_number()
      greatest = expected |> Nx.abs() |> Nx.reduce_max() |> Nx.to_number()
      assert difference <= @tolerance * greatest, "#{Enum.join(Enum.reverse(path), ".")} differs by #{difference}"
    end)
  end

  defp assert_close(%Axon.None{}, %Axon.None{}, _path), do: :ok

  defp assert_close(computed, expected, path) when is_map(computed) and not is_struct(computed) do
    for {name, expected} <- expected, do: assert_close(Map.fetch!(computed, name), expected, [name | path])
  end

  defp assert_close(computed, expected, path) when is_tuple(computed) do
    for {{computed, expected}, index} <-
          [computed, expected] |> Enum.map(&Tuple.to_list/1) |> Enum.zip() |> Enum.with_index(),
        do: assert_close(computed, expected, [index | path])
  end
end
