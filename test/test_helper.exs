# What tests read beside the repository: an environment variable that `bin/test` sets, the tag of the tests, and their subject.
data = [
  {"MLX_TEST_MODEL", :model, "a language model in a GGUF file"},
  {"MLX_TEST_GEMMA", :gemma, "a Q4_K_M file, which `bin/setup gemma` brings"},
  {"MLX_TEST_EMBEDDER", :embedder, "a model of embeddings"},
  {"MLX_TEST_TOKENIZERS", :tokenizers, "tokenizers of models, which come with npm"}
]

missing =
  for {variable, tag, subject} <- data, not File.exists?(System.get_env(variable, "")) do
    IO.puts("#{variable} names nothing: the tests that read #{subject} are left out.")
    tag
  end

oracle =
  if Mlx.Oracle.available?() do
    {:ok, _pid} = Mlx.Oracle.start_link()
    []
  else
    IO.puts("MLX_ORACLE_PYTHON is not set: the tests that compare with Python MLX are left out.")
    [:oracle]
  end

# Some tests call native functions, which leave this to their callers; MLX decides once.
# With kernels that come in the background, the last digits of results would change between two calls.
Application.put_env(:mlx, :kernels, :wait)
Mlx.Transforms.KernelMaking.allow()

# A busy neighbour on two cores makes a test of many files fifty times slower, as each call of a dirty scheduler waits for
# a core. A test that hangs still ends.
ExUnit.start(exclude: oracle ++ missing, timeout: 600_000, formatters: [ExUnit.CLIFormatter, Mlx.FailureReport])
