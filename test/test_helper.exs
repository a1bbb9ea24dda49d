oracle =
  if Mlx.Oracle.available?() do
    {:ok, _pid} = Mlx.Oracle.start_link()
    []
  else
    IO.puts("MLX_ORACLE_PYTHON is not set: the tests that compare with Python MLX are left out.")
    [:oracle]
  end

model =
  if System.get_env("MLX_TEST_MODEL") in [nil, ""] do
    IO.puts("MLX_TEST_MODEL is not set: the tests that read a model's GGUF file are left out.")
    [:model]
  else
    []
  end

tokenizers =
  if File.dir?(System.get_env("MLX_TEST_TOKENIZERS", "")) do
    []
  else
    IO.puts("MLX_TEST_TOKENIZERS is no folder: the tests that read tokenizers of models are left out.")
    [:tokenizers]
  end

# Some tests call native functions, which leave this to their callers; MLX decides once.
# With kernels that come in the background, the last digits of results would change between two calls.
Application.put_env(:mlx, :kernels, :wait)
Mlx.Transforms.KernelMaking.allow()

# A busy neighbour on two cores makes a test of many files fifty times slower, as each call of a dirty scheduler waits for
# a core. A test that hangs still ends.
ExUnit.start(exclude: oracle ++ model ++ tokenizers, timeout: 600_000)
