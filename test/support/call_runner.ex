defmodule Mlx.CallRunner do
  @moduledoc """
  Runs generated calls (`Mlx.GeneratedCalls`) in a child virtual machine and evaluates what they give.

  Before each call its number is written to a file, so that the parent knows which one ended the child.
  """

  alias Mlx.{Argument, GeneratedCalls, Native}

  @array_limit 64 * 1024 * 1024
  # Address space: the virtual machine reserves much more than it uses.
  @most_megabytes 8_000
  @longest_call 15_000
  @stuck_status 77
  # A call can make as many arrays as its input has elements.
  @most_results_read 64

  @type complaint :: {name :: atom(), arguments :: [term()], what :: String.t()}

  @doc "The status of a child in which a call did not return in time."
  def stuck_status, do: @stuck_status

  @doc "The calls of functions, numbered."
  def calls(names, seed),
    do: names |> Stream.flat_map(&Stream.map(GeneratedCalls.of(&1, seed), fn a -> {&1, a} end)) |> Stream.with_index()

  @doc """
  Makes the calls of `names` in child virtual machines, a new one after each that ends early, and gives up after
  `:most_crashes` of these.

  Returns the number of calls, and what was wrong: with the call that was made when a child ended.
  """
  @spec run_in_children([atom()], integer(), keyword()) :: {non_neg_integer(), [complaint()]}
  def run_in_children(names, seed, options \\ []) do
    folder = Path.join(System.tmp_dir!(), "mlx_calls_#{System.unique_integer([:positive])}_#{System.pid()}")
    File.mkdir_p!(folder)

    try do
      run_from(names, seed, 0, folder, Keyword.get(options, :most_crashes, 5), Keyword.get(options, :timeout, 120_000))
    after
      File.rm_rf!(folder)
    end
  end

  defp run_from(_names, _seed, first, _folder, 0, _timeout), do: {first, []}

  defp run_from(names, seed, first, folder, most_crashes, timeout) do
    code = quote do: unquote(__MODULE__).run(unquote(names), unquote(seed), unquote(first), unquote(folder))
    ended = Mlx.ChildVM.run(code, timeout: timeout, megabytes: @most_megabytes)

    case File.read(Path.join(folder, "result")) do
      {:ok, result} ->
        {count, complaints} = :erlang.binary_to_term(result)
        {first + count, complaints}

      # The status says little: LAPACK ends a process with 0 when it does not like an argument.
      {:error, :enoent} ->
        last = last_call(Path.join(folder, "progress"), ended)
        File.rm!(Path.join(folder, "progress"))
        {{name, arguments}, _index} = names |> calls(seed) |> Enum.at(last)
        {count, complaints} = run_from(names, seed, last + 1, folder, most_crashes - 1, timeout)
        {count, [{name, arguments, describe(ended)} | complaints]}
    end
  end

  defp last_call(progress, ended) do
    case File.read(progress) do
      {:ok, <<index::64>>} -> index
      _ -> raise "a child virtual machine ended before its first call: #{describe(ended)}"
    end
  end

  defp describe({:exit, @stuck_status, _output}), do: "did not return"
  defp describe({:exit, status, output}), do: "ended the virtual machine with status #{status}: #{tail(output)}"
  defp describe({:timeout, output}), do: "was the last call before the child's time was over: #{tail(output)}"

  defp tail(output), do: output |> String.trim() |> String.slice(-300..-1//1)

  @doc """
  Makes the calls of `names` from number `first` on, in `folder`: writes the current number to `progress` there, and in
  the end the number of calls and the complaints to `result`.
  """
  @spec run([atom()], integer(), non_neg_integer(), Path.t()) :: :ok
  def run(names, seed, first, folder) do
    prepare(folder)
    {:ok, progress} = :file.open(Path.join(folder, "progress"), [:write, :raw, :binary])
    watch = start_watch()

    {count, complaints} =
      names
      |> calls(seed)
      |> Stream.drop(first)
      |> Enum.reduce({0, []}, fn {{name, arguments}, index}, {count, complaints} ->
        :ok = :file.pwrite(progress, 0, <<index::64>>)
        :counters.add(watch, 1, 1)
        {count + 1, complain(name, arguments, call(name, arguments, folder)) ++ complaints}
      end)

    File.write!(Path.join(folder, "result"), :erlang.term_to_binary({count, complaints}))
  end

  defp prepare(folder) do
    # Files with made-up names.
    File.cd!(folder)
    array = Native.from_binary(<<1, 2, 3, 4, 5, 6>>, {2, 3}, :u8)
    Mlx.IO.save(Path.join(folder, "example.npy"), array)
    Mlx.IO.save(Path.join(folder, "example.safetensors"), %{"a" => array}, metadata: %{"k" => "v"})

    Native.export_functions(
      Path.join(folder, "example.mlxfn"),
      [Argument.build({:special, :example_call}, folder)],
      false,
      ""
    )

    Native.set_array_limit(@array_limit)
  end

  # Ends the virtual machine when the counter stands still.
  defp start_watch do
    counter = :counters.new(1, [])
    spawn_link(fn -> watch(counter, -1) end)
    counter
  end

  defp watch(counter, last) do
    Process.sleep(@longest_call)

    case :counters.get(counter, 1) do
      ^last -> :erlang.halt(@stuck_status, flush: false)
      current -> watch(counter, current)
    end
  end

  defp call(name, arguments, folder) do
    result = apply(Native, name, Enum.map(arguments, &Argument.build(&1, folder)))
    # It changes what the next calls may do.
    if name == :set_array_limit, do: Native.set_array_limit(@array_limit)
    read(name, result)
  rescue
    error -> error
  catch
    kind, reason -> {kind, reason}
  end

  # Most of MLX's crashes happen when values are computed.
  defp read(name, results) do
    arrays = arrays(results)
    Native.eval(arrays)
    Enum.each(arrays, &read_array(name, &1))
    results
  end

  defp read_array(name, %Mlx.Array{shape: shape, type: type} = array) do
    bytes = byte_size(Native.to_binary(array))
    expected = Tuple.product(shape) * Mlx.Type.bytes(type)
    if bytes != expected, do: raise("#{name} gave #{bytes} bytes for #{inspect(shape)} of #{type}")
  end

  defp arrays(%Mlx.Array{} = array), do: [array]
  defp arrays([_ | tail]) when not is_list(tail), do: []
  defp arrays(list) when is_list(list), do: list |> Enum.take(@most_results_read) |> Enum.flat_map(&arrays/1)
  defp arrays(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> arrays()
  defp arrays(%{} = map), do: map |> Map.values() |> arrays()
  defp arrays(_other), do: []

  defp complain(name, arguments, outcome) do
    case outcome do
      %Mlx.Error{message: message} -> complain_of_message(name, arguments, message)
      %ArgumentError{message: message} -> complain_of_message(name, arguments, message)
      %{__exception__: true} = error -> [{name, arguments, "raised " <> Exception.format_banner(:error, error)}]
      {kind, reason} when kind in [:throw, :exit, :error] -> [{name, arguments, inspect({kind, reason})}]
      _result -> []
    end
  end

  # A message names a function and has no path in it.
  defp complain_of_message(name, arguments, message) do
    if message =~ ~r/^Mlx\.[\w.]+\??: ./ and not (message =~ ~r/\.(cpp|h):\d/),
      do: [],
      else: [{name, arguments, "raised: " <> message}]
  end
end
