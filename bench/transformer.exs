defmodule Bench.Transformer do
  @moduledoc false
  # The sizes of the transformer that models.py has, too.

  @head_size 64

  def layers, do: 4
  def width, do: 256
  def vocabulary, do: 512

  @doc "How many heads of attention a layer of a width has."
  def heads(width \\ width()), do: div(width, @head_size)

  @doc "The shapes of the parameters of a layer."
  def layer_shapes(width \\ width()) do
    [
      attention_norm: {width},
      query: {width, width},
      key: {width, width},
      value: {width, width},
      output: {width, width},
      norm: {width},
      up: {width, 4 * width},
      down: {4 * width, width}
    ]
  end
end
