defmodule Mlx.NN.DoctestTest do
  # The examples of layers, which Mlx.NN.CasesTest compares with Python.
  use ExUnit.Case, async: true

  doctest Mlx.NN
  doctest Mlx.NN.Activations
  doctest Mlx.NN.BatchNorm
  doctest Mlx.NN.Bilinear
  doctest Mlx.NN.CELU
  doctest Mlx.NN.Dropout
  doctest Mlx.NN.Dropout2d
  doctest Mlx.NN.Dropout3d
  doctest Mlx.NN.ELU
  doctest Mlx.NN.Embedding
  doctest Mlx.NN.GELU
  doctest Mlx.NN.GLU
  doctest Mlx.NN.GroupNorm
  doctest Mlx.NN.HardShrink
  doctest Mlx.NN.HardTanh
  doctest Mlx.NN.Hardswish
  doctest Mlx.NN.Identity
  doctest Mlx.NN.Init
  doctest Mlx.NN.InstanceNorm
  doctest Mlx.NN.Layer
  doctest Mlx.NN.LayerNorm
  doctest Mlx.NN.LeakyReLU
  doctest Mlx.NN.Linear
  doctest Mlx.NN.LogSigmoid
  doctest Mlx.NN.LogSoftmax
  doctest Mlx.NN.Losses
  doctest Mlx.NN.Mish
  doctest Mlx.NN.PReLU
  doctest Mlx.NN.QQLinear
  doctest Mlx.NN.QuantizedEmbedding
  doctest Mlx.NN.QuantizedLinear
  doctest Mlx.NN.RMSNorm
  doctest Mlx.NN.ReLU
  doctest Mlx.NN.ReLU2
  doctest Mlx.NN.ReLU6
  doctest Mlx.NN.SELU
  doctest Mlx.NN.Sequential
  doctest Mlx.NN.SiLU
  doctest Mlx.NN.Sigmoid
  doctest Mlx.NN.Softmax
  doctest Mlx.NN.Softmin
  doctest Mlx.NN.Softplus
  doctest Mlx.NN.Softshrink
  doctest Mlx.NN.Softsign
  doctest Mlx.NN.Step
  doctest Mlx.NN.Tanh
end
