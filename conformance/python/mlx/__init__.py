"""Takes the place of Python's MLX: every call of `mlx.core` goes to Elixir. See `mlx.core`.

What else MLX has, such as `mlx.nn`, is written in Python on `mlx.core`. It is what is installed, and runs on this one.
"""

import pathlib
import sysconfig

__path__.append(str(pathlib.Path(sysconfig.get_path("platlib")) / "mlx"))
