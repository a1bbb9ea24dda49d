"""`mlx.nn` as it is installed, but what computes is `Mlx.NN`: see `_layers`. `Module` and what walks it stays Python's."""

import mlx

__path__.extend(f"{folder}/nn" for folder in mlx.__path__[1:])

from mlx.nn import init, losses
from mlx.nn.layers import *
from mlx.nn.utils import average_gradients, value_and_grad

from . import _layers

_layers.answer_by_elixir()
