defmodule Mlx.Oracle do
  @moduledoc """
  Python MLX, which says what a result has to be.

  `test/oracle/server.py` runs under the interpreter named by the environment variable `MLX_ORACLE_PYTHON`, for the
  whole test run. Tests that need it have the tag `:oracle`.

      assert_oracle Mlx.sum(a, axes: [0]), "mx.sum(a, axis=0)", a: a
  """

  use GenServer

  import ExUnit.Assertions

  @variable "MLX_ORACLE_PYTHON"
  @timeout 120_000

  @doc "Whether an interpreter is given."
  def available?, do: System.get_env(@variable) not in [nil, ""]

  def start_link(_options \\ []), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc """
  The value of a Python expression in which the names of `arrays` stand for these arrays: an array, or a list of
  arrays where the value is a list or a tuple of them.
  """
  def eval(expression, arrays \\ []) do
    case ask(expression, arrays) do
      {:ok, value} -> value
      {:error, message} -> raise "the oracle could not evaluate #{expression}: #{message}"
    end
  end

  defp ask(expression, arrays) do
    case GenServer.call(__MODULE__, {:eval, request(expression, arrays)}, @timeout) do
      "ok\n" <> reply -> {:ok, reply |> decode() |> unwrap()}
      "error\n" <> message -> {:error, message}
      {:exited, status} -> raise "the oracle died of #{expression} (exit status #{status})"
    end
  end

  @doc """
  Asserts that `fun` gives what the Python expression gives (see `assert_oracle/4`), or raises where that raises.
  """
  def assert_oracle_or_raise(fun, expression, arrays \\ [], options \\ []) do
    case ask(expression, arrays) do
      {:ok, expected} ->
        assert_equal(fun.(), expected, expression, options)

      {:error, message} ->
        result =
          try do
            {:ok, Mlx.eval(fun.())}
          rescue
            error in [Mlx.Error, ArgumentError] -> {:error, error}
          end

        assert match?({:error, _}, result), "#{expression} raises in Python (#{message}), got: #{inspect(result)}"
    end
  end

  @doc """
  Asserts that `actual`, an array or a list or tuple of them, equals the value of a Python expression: the same shapes,
  types and values. Floating-point values may be `:ulps` apart, by default 0. Any NaN equals any other.
  """
  def assert_oracle(actual, expression, arrays \\ [], options \\ []) do
    assert_equal(actual, eval(expression, arrays), expression, options)
  end

  defp assert_equal(actual, expected, expression, options) do
    expected = List.wrap(expected)
    actual = if is_tuple(actual), do: Tuple.to_list(actual), else: List.wrap(actual)
    assert length(actual) == length(expected), "#{expression} has #{length(expected)} results, got #{length(actual)}"

    for {got, wanted} <- Enum.zip(actual, expected) do
      assert {got.type, got.shape} == {wanted.type, wanted.shape}, """
      #{expression}
      expected #{inspect({wanted.type, wanted.shape})}
      got      #{inspect({got.type, got.shape})}
      """

      assert distance(got, wanted) <= Keyword.get(options, :ulps, 0), """
      #{expression} (#{distance(got, wanted)} units in the last place apart)
      expected #{inspect(wanted)}
      got      #{inspect(got)}
      """
    end

    :ok
  end

  # The greatest distance of two elements: in units in the last place for floating-point types, else 0 or infinite.
  defp distance(got, wanted) do
    case {Mlx.to_binary(got), Mlx.to_binary(wanted)} do
      {same, same} -> 0
      {got_bytes, wanted_bytes} -> distance(layout(got.type), got_bytes, wanted_bytes)
    end
  end

  defp distance(:exact, _got, _wanted), do: :infinity

  defp distance({bits, exponent_bits}, got, wanted) do
    for {a, b} <- Enum.zip(ordinals(got, bits, exponent_bits), ordinals(wanted, bits, exponent_bits)), reduce: 0 do
      greatest -> if a == :nan or b == :nan, do: nan_distance(a, b, greatest), else: max(greatest, abs(a - b))
    end
  end

  # `:infinity` is greater than every number.
  defp nan_distance(same, same, greatest), do: greatest
  defp nan_distance(_a, _b, _greatest), do: :infinity

  defp layout(:f16), do: {16, 5}
  defp layout(:bf16), do: {16, 8}
  defp layout(:f32), do: {32, 8}
  defp layout(:c64), do: {32, 8}
  defp layout(:f64), do: {64, 11}
  defp layout(_type), do: :exact

  # Neighbouring floating-point numbers have neighbouring ordinals; both zeros have the ordinal 0.
  defp ordinals(bytes, bits, exponent_bits) do
    for <<word::native-size(bits) <- bytes>> do
      <<sign::1, magnitude::size(bits - 1)>> = <<word::size(bits)>>
      largest = Bitwise.bsl(Bitwise.bsl(1, exponent_bits) - 1, bits - 1 - exponent_bits)
      if magnitude > largest, do: :nan, else: if(sign == 1, do: -magnitude, else: magnitude)
    end
  end

  defp request(expression, arrays) do
    lines = for {name, array} <- arrays, do: "\n#{name} #{array.type} #{shape_text(array.shape)}"
    [expression, lines, "\n\n" | Enum.map(arrays, fn {_name, array} -> Mlx.to_binary(array) end)]
  end

  defp shape_text({}), do: "-"
  defp shape_text(shape), do: shape |> Tuple.to_list() |> Enum.join(",")

  defp decode(reply) do
    {header, payload} = split_reply(reply)

    {arrays, ""} =
      Enum.map_reduce(String.split(header, "\n"), payload, fn line, bytes ->
        [type, shape] = String.split(line, " ")
        {type, shape} = {String.to_existing_atom(type), parse_shape(shape)}
        size = Mlx.Type.bytes(type) * Tuple.product(shape)
        <<data::binary-size(size), rest::binary>> = bytes
        {Mlx.from_binary(data, shape, type), rest}
      end)

    arrays
  end

  defp split_reply(reply) do
    [header, payload] = :binary.split(reply, "\n\n")
    {header, payload}
  end

  defp parse_shape("-"), do: {}
  defp parse_shape(text), do: text |> String.split(",") |> Enum.map(&String.to_integer/1) |> List.to_tuple()

  defp unwrap([array]), do: array
  defp unwrap(arrays), do: arrays

  @impl GenServer
  def init(nil), do: {:ok, open()}

  @impl GenServer
  def handle_call({:eval, request}, _from, port) do
    Port.command(port, request)

    receive do
      {^port, {:data, reply}} -> {:reply, reply, port}
      {^port, {:exit_status, status}} -> {:reply, {:exited, status}, open()}
    end
  end

  defp open do
    script = Path.expand("../oracle/server.py", __DIR__)
    libraries = [{~c"MLX_ORACLE_LIBRARIES", to_charlist(Path.join(Mlx.NativeBuild.folder("MLX_DIR"), "lib"))}]
    options = [:binary, :exit_status, packet: 4, args: [script], env: libraries]
    Port.open({:spawn_executable, System.fetch_env!(@variable)}, options)
  end
end
