"""Takes the place of Python's MLX: every call of `mlx.core` goes to Elixir (see `mlx.core`), and what computes in `mlx.nn`
and `mlx.optimizers` is answered by Elixir, too (see `mlx.nn._layers`).

What else MLX has is written in Python on these. It is what is installed.
"""

import pathlib
import sysconfig

__path__.append(str(pathlib.Path(sysconfig.get_path("platlib")) / "mlx"))
