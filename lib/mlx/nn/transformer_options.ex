defmodule Mlx.NN.TransformerOptions do
  @moduledoc false
  # The options of the layers of transformers, which encoders, decoders and whole transformers hand on to them.

  alias Mlx.Arguments.{Arity, Options}
  alias Mlx.NN.Activations

  @doc "The options of a layer that were given to `new` of a module of this name, with their defaults, as a map."
  @spec of_layer(keyword(), String.t()) :: map()
  def of_layer(options, name) do
    options = Options.complete(options, :"NN.#{name}.new", defaults())
    Arity.check!(options[:activation], 1, "Mlx.NN.#{name}.new")
    Map.new(options)
  end

  @doc "The options of layers and the other ones that were given to `new` of a module of this name."
  @spec split(keyword(), String.t(), keyword()) :: {keyword(), keyword()}
  def split(options, name, others) do
    options
    |> Options.complete(:"NN.#{name}.new", defaults() ++ others)
    |> Keyword.split(Keyword.keys(defaults()))
  end

  defp defaults, do: [mlp_dims: nil, dropout: 0.0, activation: &Activations.relu/1, norm_first: true]
end
