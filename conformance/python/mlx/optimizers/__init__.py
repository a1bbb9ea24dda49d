"""`mlx.optimizers` as it is installed, but what computes is `Mlx.Optimizers`: see `_optimizers`."""

import mlx

__path__.extend(f"{folder}/optimizers" for folder in mlx.__path__[1:])

from mlx.optimizers.optimizers import *
from mlx.optimizers.schedulers import *

from . import _optimizers

_optimizers.answer_by_elixir()
