defmodule Mlx.Conformance.Server do
  @moduledoc """
  Runs the calls of Python's tests through `Mlx`.

  Frames come in and go out through two file descriptors. `conformance/python/mlx/core/_connection.py` says what they
  hold. A frame is answered with one frame, but while a call runs it may ask Python to call a function
  (`call_python/3`), and Python's function may make calls in turn: `serve/0` is entered again and left with the
  function's value.
  """

  alias Mlx.Conformance.{Call, Context, Failure, Handles, PythonError, Value}

  @doc "Serves until the other end closes. The arguments are the numbers of the file descriptors."
  def main([input, output]) do
    port = Port.open({:fd, String.to_integer(input), String.to_integer(output)}, [:binary, :eof, packet: 4])
    Process.put(:port, port)
    Handles.open()
    serve()
  end

  @doc "Has Python call one of its functions and returns what it returns."
  def call_python(id, arguments, keywords) do
    send_frame({:function, id, Value.to_python(arguments), Value.to_python(keywords)})

    case serve() do
      {:return, value} -> Value.from_python(value)
      {:raise, id} -> raise PythonError, kind: :raised, message: id
    end
  end

  # Answers requests until one comes that ends what is being answered: a reply of Python, or `leave`.
  defp serve do
    case receive_frame() do
      {:call, name, arguments, options, released} ->
        Handles.release(released)
        answer(fn -> Call.run(name, arguments, options) end)
        serve()

      {:enter, name, arguments, released} ->
        Handles.release(released)
        enter(name, arguments)
        serve()

      {:leave, released} ->
        Handles.release(released)
        :leave

      {reply, _value} = frame when reply in [:return, :raise] ->
        frame
    end
  end

  # A context of Python is the extent of a function here.
  defp enter(name, arguments) do
    answer(fn ->
      Context.run(name, Enum.map(arguments, &Value.from_python/1), fn ->
        send_frame({:ok, nil})
        :leave = serve()
      end)

      nil
    end)
  end

  defp answer(fun) do
    send_frame(
      try do
        {:ok, Value.to_python(fun.())}
      rescue
        error -> Failure.to_python(error, __STACKTRACE__)
      end
    )
  end

  defp receive_frame do
    port = Process.get(:port)

    receive do
      {^port, {:data, frame}} -> :erlang.binary_to_term(frame)
      {^port, :eof} -> System.halt(0)
    end
  end

  defp send_frame(term), do: Port.command(Process.get(:port), :erlang.term_to_binary(term))
end
