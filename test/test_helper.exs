oracle =
  if Mlx.Oracle.available?() do
    {:ok, _pid} = Mlx.Oracle.start_link()
    []
  else
    IO.puts("MLX_ORACLE_PYTHON is not set: the tests that compare with Python MLX are left out.")
    [:oracle]
  end

ExUnit.start(exclude: oracle)
