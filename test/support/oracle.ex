defmodule Mlx.Oracle do
  @moduledoc """
  Python MLX, which says what a result has to be.

  `test/oracle/server.py` runs under the interpreter named by the environment variable `MLX_ORACLE_PYTHON`, for the
  whole test run. Tests that need it have the tag `:oracle`.

      assert_oracle Mlx.sum(a, axes: [0]), "mx.sum(a, axis=0)", a: a
  """

  use GenServer

  import ExUnit.Assertions

  @typedoc "The type, shape and bytes of an array."
  @type value :: {Mlx.Type.t(), Mlx.Array.shape(), binary()}

  # What it computes of `:f64` with the digits of `:f32`, and Mlx does not: see Mlx.DoublePrecisionTest.
  @single_precision ~w(exp sin cos sigmoid erf erfinv logaddexp logsumexp logcumsumexp softmax)

  @variable "MLX_ORACLE_PYTHON"
  @timeout 60_000

  @doc "The types among these whose values Python's function has in full."
  @spec right_types(String.t(), [Mlx.Type.t()]) :: [Mlx.Type.t()]
  def right_types(python, types) when python in @single_precision, do: types -- [:f64]
  def right_types(_python, types), do: types

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

  @doc """
  The values of many expressions, each with the values that it mentions: `{expression, [{name, value}]}`. They are sent
  at once and answered in order, with the values of the result, with an error's message, or with the exit status of an
  oracle that died of the expression.
  """
  @spec ask_all([{String.t(), [{String.t() | atom(), value()}]}]) :: [
          {:ok, [value()]} | {:error, String.t()} | {:died, term()}
        ]
  def ask_all(questions) do
    requests = for {expression, values} <- questions, do: request(expression, values)

    for answer <- GenServer.call(__MODULE__, {:ask, requests}, @timeout) do
      case answer do
        "ok\n" <> reply -> {:ok, decode(reply)}
        "error\n" <> message -> {:error, message}
        {:exited, status} -> {:died, status}
      end
    end
  end

  defp ask(expression, arrays) do
    values = for {name, array} <- arrays, do: {name, {array.type, array.shape, Mlx.to_binary(array)}}

    case ask_all([{expression, values}]) do
      [{:ok, values}] -> {:ok, unwrap(for {type, shape, bytes} <- values, do: Mlx.from_binary(bytes, shape, type))}
      [{:error, message}] -> {:error, message}
      [{:died, status}] -> raise "the oracle died of #{expression} (exit status #{inspect(status)})"
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
  types and values. Floating-point values may be `:ulps` apart, by default 0, or a `:share` of the largest, as sums are whose
  order is another one. Any NaN equals any other.
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

      assert distance(got, wanted) <= Keyword.get(options, :ulps, 0) or
               Mlx.Ulps.within_share?(got, wanted, options[:share]),
             """
             #{expression} (#{distance(got, wanted)} units in the last place apart)
             expected #{inspect(wanted)}
             got      #{inspect(got)}
             """
    end

    :ok
  end

  defp distance(got, wanted), do: Mlx.Ulps.distance(got.type, Mlx.to_binary(got), Mlx.to_binary(wanted))

  defp request(expression, values) do
    lines = for {name, {type, shape, _bytes}} <- values, do: "\n#{name} #{type} #{shape_text(shape)}"
    [expression, lines, "\n\n" | for({_name, {_type, _shape, bytes}} <- values, do: bytes)]
  end

  defp shape_text({}), do: "-"
  defp shape_text(shape), do: shape |> Tuple.to_list() |> Enum.join(",")

  defp decode("\n"), do: []

  defp decode(reply) do
    {header, payload} = split_reply(reply)

    {values, ""} =
      Enum.map_reduce(String.split(header, "\n"), payload, fn line, bytes ->
        [type, shape] = String.split(line, " ")
        {type, shape} = {String.to_atom(type), parse_shape(shape)}
        size = Mlx.Type.bytes(type) * Tuple.product(shape)
        <<data::binary-size(size), rest::binary>> = bytes
        {{type, shape, data}, rest}
      end)

    values
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
  def init(nil) do
    Process.flag(:trap_exit, true)
    {:ok, open()}
  end

  @impl GenServer
  def handle_call({:ask, requests}, _from, port) do
    {answers, port} = answer_all(requests, port)
    {:reply, answers, port}
  end

  # All are sent at once. Where the oracle dies of one, a new one is asked the rest, one after the other.
  defp answer_all(requests, port) do
    for request <- requests, do: send(port, {self(), {:command, request}})

    case receive_all(requests, port, []) do
      {:alive, answers} ->
        {answers, port}

      {:dead, answers} ->
        {later, port} = requests |> Enum.drop(length(answers)) |> Enum.map_reduce(open(), &answer/2)
        {answers ++ later, port}
    end
  end

  defp receive_all([], _port, answers), do: {:alive, Enum.reverse(answers)}

  defp receive_all([_request | rest], port, answers) do
    case receive_one(port) do
      {:exited, _status} -> {:dead, Enum.reverse(answers)}
      reply -> receive_all(rest, port, [reply | answers])
    end
  end

  defp answer(request, port) do
    send(port, {self(), {:command, request}})

    case receive_one(port) do
      {:exited, status} -> {{:exited, status}, open()}
      reply -> {reply, port}
    end
  end

  # The port itself ends when it writes to an oracle that is gone.
  defp receive_one(port) do
    receive do
      {^port, {:data, reply}} -> reply
      {^port, {:exit_status, status}} -> {:exited, status}
      {:EXIT, ^port, reason} -> {:exited, reason}
    end
  end

  @impl GenServer
  def handle_info({:EXIT, _former_port, _reason}, port), do: {:noreply, port}
  def handle_info({_former_port, {:exit_status, _status}}, port), do: {:noreply, port}

  defp open do
    script = Path.expand("../oracle/server.py", __DIR__)
    libraries = [{~c"MLX_ORACLE_LIBRARIES", to_charlist(Path.join(Mlx.NativeBuild.fetch!("MLX_DIR"), "lib"))}]
    options = [:binary, :exit_status, packet: 4, args: [script], env: libraries]
    Port.open({:spawn_executable, System.fetch_env!(@variable)}, options)
  end
end
