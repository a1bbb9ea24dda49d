defmodule Mlx.LM.FineTuning.Start do
  @moduledoc false
  # A decoder that is ready to be trained: with layers of an adapter that change nothing yet.

  alias Mlx.{NN, Random}
  alias Mlx.LM.Adapter.Change
  alias Mlx.LM.Decoder
  alias Mlx.LM.Decoder.Matrix
  alias Mlx.LM.FineTuning.Places

  @doc """
  The decoder with new adapters over the layers of these paths: `a` from a uniform distribution, `b` zeros, and for DoRA the
  lengths that rows have. Random numbers come from the sequence of the process.
  """
  @spec adapters(Decoder.t(), [String.t()], :lora | :dora, keyword()) :: Decoder.t()
  def adapters(decoder, paths, kind, settings) do
    wanted = MapSet.new(paths)

    mapped(decoder, fn path, layer ->
      if MapSet.member?(wanted, path),
        do: layer |> Change.beside(change(layer, kind, settings)) |> with_dropout(settings[:dropout]),
        else: layer
    end)
  end

  defp change(layer, kind, settings) do
    role = Change.role(layer)
    {a, b, inputs} = sizes(role, Matrix.shape(layer), settings[:rank])
    most = 1 / :math.sqrt(inputs)
    magnitude = if kind == :dora, do: Matrix.lengths(layer |> Matrix.dense() |> Mlx.as_type(:f32))
    a = Random.uniform(a, low: -most, high: most)
    %Change{a: a, b: Mlx.zeros(b), scale: settings[:scale] * 1.0, magnitude: magnitude}
  end

  defp sizes(:linear, {outputs, inputs}, rank), do: {{inputs, rank}, {rank, outputs}, inputs}
  defp sizes(:embedding, {tokens, width}, rank), do: {{tokens, rank}, {rank, width}, tokens}

  defp sizes(:switch, {experts, outputs, inputs}, rank) do
    {{experts, rank, inputs}, {experts, outputs, rank}, inputs}
  end

  @doc "A layer of an adapter with dropout of the probability `p`."
  @spec with_dropout(struct(), number()) :: struct()
  def with_dropout(layer, p) when p == 0, do: layer
  def with_dropout(layer, p), do: %{layer | dropout: NN.Dropout.new(p: p)}

  @doc "The decoder with the dropout of all layers of adapters."
  @spec with_dropouts(Decoder.t(), number()) :: Decoder.t()
  def with_dropouts(decoder, p) do
    mapped(decoder, fn _path, layer -> if Change.taken(layer), do: with_dropout(layer, p), else: layer end)
  end

  @doc "The decoder with the layers that were there before their adapters."
  @spec without_adapters(Decoder.t()) :: Decoder.t()
  def without_adapters(decoder) do
    mapped(decoder, fn _path, layer ->
      with {base, _change} <- Change.taken(layer), do: base, else: (_ -> layer)
    end)
  end

  @doc "The decoder with each layer replaced."
  @spec mapped(Decoder.t(), (String.t(), struct() -> struct())) :: Decoder.t()
  def mapped(decoder, fun), do: Map.merge(decoder, NN.map_layers(Places.parts(decoder), fun))
end
