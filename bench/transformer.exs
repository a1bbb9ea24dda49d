defmodule Bench.Transformer do
  @moduledoc false
  # The sizes of the transformer that train_step.py has, too.

  def layers, do: 4
  def width, do: 256
  def heads, do: 4
  def vocabulary, do: 512

  @doc "The shapes of the parameters of a layer."
  def layer_shapes do
    [
      attention_norm: {width()},
      query: {width(), width()},
      key: {width(), width()},
      value: {width(), width()},
      output: {width(), width()},
      norm: {width()},
      up: {width(), 4 * width()},
      down: {4 * width(), width()}
    ]
  end
end
