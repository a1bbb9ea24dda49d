"""Takes the place of Python's MLX: every call goes to Elixir. See `mlx.core`."""
